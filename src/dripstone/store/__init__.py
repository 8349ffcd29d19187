"""Versions as deltas in one folder: format, objects, refs, ledger, repository. Never imports torch."""
