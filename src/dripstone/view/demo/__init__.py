"""The demos: the whole flow on real data, told step by step."""
