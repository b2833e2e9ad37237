"""How a word is said: attention against a fixed vector."""
