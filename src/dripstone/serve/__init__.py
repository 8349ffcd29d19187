"""The live version over HTTP, swapped without a dropped request."""
