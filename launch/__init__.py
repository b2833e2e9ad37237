"""Launchers of experiments: local, SLURM, Open MPI, TPU VMs, GKE, SkyPilot."""
