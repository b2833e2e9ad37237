"""Timing of contenders side by side: rounds, processes, records and tables.

Not an experiment: `attention_speed` and `memory_speed` measure with it.
"""
