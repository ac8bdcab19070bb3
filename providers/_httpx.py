"""httpx without its command line.

httpx imports its own command line (click, rich, pygments: 0.1 s) where those are installed. Nobody here runs it:
marked as missing during the import, httpx goes on without.
"""

import sys

_absent = "httpx._main" not in sys.modules
if _absent:
    sys.modules["httpx._main"] = None  # type: ignore[assignment]

import httpx  # noqa: E402

if _absent:
    del sys.modules["httpx._main"]

__all__ = ["httpx"]
