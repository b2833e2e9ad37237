"""Two heads for two questions."""
