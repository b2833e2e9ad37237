"""Glimpse networks: one layer whose context selects parts of the input."""
