"""A language model that meets one domain after another."""
