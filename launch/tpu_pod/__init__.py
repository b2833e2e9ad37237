"""TPU VMs: one slice rented by `gcloud`, and the command on all its hosts."""
