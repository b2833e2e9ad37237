"""How fast attention is, beside the peers; see README.md."""
