"""Experiments: short programs, `python -m experiments.<name>`."""
