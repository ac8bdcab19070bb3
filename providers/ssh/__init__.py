"""Own machines over SSH: an inventory file, and a lock on each machine that all installations respect."""
