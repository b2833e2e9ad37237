"""The context decides where to look: the seed's network; see README.md."""
