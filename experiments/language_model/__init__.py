"""A decoder language model on real text; see README.md."""
