"""Translation of Bible verses, with attention and with a fixed vector."""
