"""A market of emulated providers on loopback: the real adapters talk to it over real HTTP.

`world` holds what all emulators share (clock, ledger, faults, machines), `kit` what an emulator is made of,
`serve` the detached server that commands share, `machines` the SSH servers behind running instances.
"""
