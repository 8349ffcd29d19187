"""What does not get dearer with age, and what several processes save."""
