"""Launcher for SLURM: one batch script a job, requeued when preempted."""
