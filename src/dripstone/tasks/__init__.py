"""What an example means."""
