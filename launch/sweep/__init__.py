"""Sweeps: one experiment with many values, here, as an array, or in a cloud."""
