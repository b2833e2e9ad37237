"""Attention over an external store of key-value pairs."""
