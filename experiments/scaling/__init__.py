"""Loss against parameters, tokens and compute, and the law that they keep."""
