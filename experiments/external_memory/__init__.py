"""Attention over a memory outside of the sequence."""
