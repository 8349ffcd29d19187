"""What a gate lets through on a real stream: attacks among honest updates, the harm they do, and what comes back."""
