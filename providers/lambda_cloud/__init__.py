"""Lambda Cloud: GPU virtual machines on demand, through its public API (``lambda`` itself is a keyword)."""
