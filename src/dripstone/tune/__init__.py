"""The search for settings: trials of an update's settings on rows that it may learn from. Needs the extra ``tune``."""
