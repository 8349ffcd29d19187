"""Dripstone keeps a deployed PyTorch model learning, drop by drop."""

__version__ = "0.1.0"
