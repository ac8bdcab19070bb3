"""Fluence: containers, virtual machines and bare metal with GPUs, resold from third-party data centres."""
