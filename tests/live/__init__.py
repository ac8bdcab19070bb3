"""Smoke tests against the real providers. They cost money, so they run only where somebody says so:

    ORCH_LIVE=1 .venv/bin/python -m pytest tests/live -m live

A provider without credentials is skipped. `ORCH_LIVE_MAX_USD` (default 2) is the most that one launch may cost by its
own expectation. Records lie in `.orch/live` (or `ORCH_LIVE_STATE_DIR`) and outlive the tests: if a run is cut off,
`orch --state-dir .orch/live down --all` and then `orch --state-dir .orch/live gc` end and find what is left. With
`ORCH_SANDBOX=1` the same tests rent from the emulated providers; `test_rehearsal.py` does that.
"""
