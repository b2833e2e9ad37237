"""Launcher on this machine: one process, or several joined over loopback."""
