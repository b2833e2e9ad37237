"""Launcher by SkyPilot: any cloud, with spot machines and recovery."""
