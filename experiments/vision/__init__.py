"""Images as sequences of patches: attention beside convolution."""
