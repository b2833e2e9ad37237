"""A value told once in a long haystack, asked for at its end."""
