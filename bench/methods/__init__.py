"""Every way to move a small part, side by side."""
