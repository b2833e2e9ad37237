"""Launcher for TPU VMs: `gcloud` rents a slice and runs on all its hosts."""
