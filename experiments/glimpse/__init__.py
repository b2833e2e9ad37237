"""The context decides where to look: a network of one layer; see README.md."""
