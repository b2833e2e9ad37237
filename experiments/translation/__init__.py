"""English verses in Spanish, with attention and with a fixed vector."""
