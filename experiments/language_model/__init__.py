"""A decoder language model on real text."""
