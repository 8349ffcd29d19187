"""Arriving examples, each source one file."""
