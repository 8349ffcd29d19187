"""``python -m dripstone``."""

from dripstone.view.cli import main

main()
