"""A published transformer of reactions, run through our modules."""
