"""Pairs told at the beginning, asked for long after the window has passed."""
