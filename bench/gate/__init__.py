"""What the gate promises, tried on simulated lives of a store whose truth is known."""
