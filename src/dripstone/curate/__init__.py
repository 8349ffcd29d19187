"""Which examples, with what weight, each policy one file."""
