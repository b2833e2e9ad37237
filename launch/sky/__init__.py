"""SkyPilot: whichever cloud has the chips, spot too, recovered when lost."""
