"""Sweeps of settings: run locally, as a SLURM array, or by SkyPilot."""
