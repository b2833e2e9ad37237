"""Kubernetes, as GKE has it: a JobSet of TPU slices or of hosts of GPUs."""
