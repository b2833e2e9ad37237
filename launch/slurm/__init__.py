"""A cluster with SLURM: one batch script a job, requeued when preempted."""
