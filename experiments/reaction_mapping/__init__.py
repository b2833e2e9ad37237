"""RXNMapper's published ALBERT on our modules: token recovery, atom mapping."""
