"""Paperspace: GPU virtual machines ("Machines") on demand, through its API v1."""
