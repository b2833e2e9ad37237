"""Speed of memories: beside PyTorch, against length, chunk by chunk."""
