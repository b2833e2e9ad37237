"""The price of context: bytes and time against its length."""
