"""Google Cloud Compute Engine: an adapter, and its loopback twin."""
