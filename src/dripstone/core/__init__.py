"""The nouns that every stage shares. Imports nothing of ours."""
