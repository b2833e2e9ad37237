"""Heads of a published model that continue what was said before."""
