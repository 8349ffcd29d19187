"""How they move."""
