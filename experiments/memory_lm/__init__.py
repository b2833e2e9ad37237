"""Every architecture of memory on real text, far beyond the trained length."""
