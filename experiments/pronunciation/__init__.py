"""Grapheme-to-phoneme conversion: attention against a fixed vector."""
