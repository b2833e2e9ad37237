"""This machine: one process, or several that find each other on loopback."""
