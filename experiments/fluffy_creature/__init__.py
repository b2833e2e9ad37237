"""A fluffy blue creature roamed the verdant forest."""
