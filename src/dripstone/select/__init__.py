"""Which parameters may move, each selector one file."""
