"""A published model through our modules: text, bits per byte, speed, heads."""
