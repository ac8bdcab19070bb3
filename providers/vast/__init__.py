"""Vast.ai: containers on other people's GPU machines, each offer with its own price, traffic price and end date.

`client` is the wire, `errors` its refusals, `search`, `offers` and `instances` read the market and the machines,
`request` writes the create body, and `adapter` is the contract.
"""
