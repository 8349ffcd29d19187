"""One update, composed of the stages."""
