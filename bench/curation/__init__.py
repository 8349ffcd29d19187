"""What curation is worth: each policy against uniform training and replay, on streams that are spoilt in known ways."""
