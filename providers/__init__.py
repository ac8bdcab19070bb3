"""Providers: one launch/terminate/price contract over every GPU cloud `orch` can rent from.

`base` is the contract, `errors` the typed failures, `gpus` the table of GPU models, `http` the one way out,
`registry` the list of who there is. One folder per cloud holds its adapter and its loopback emulator, which
never import each other.
"""

#: Read by `orchestrator` at import, because `providers` is a common top-level name.
__orch__ = "gpu-orch"
