"""Sharded attention: memory, work and what is sent, a device."""
