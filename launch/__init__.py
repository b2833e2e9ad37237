"""Where experiments run: planned here first, then started."""
