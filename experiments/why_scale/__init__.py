"""Attention with and without the scale 1/√D: saturation and training."""
