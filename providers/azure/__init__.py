"""Microsoft Azure: the adapter behind the provider contract, and its loopback twin."""
