"""Put on PYTHONPATH by the tests: this interpreter, and those that it starts, reach nothing but this computer.

What is refused is written to the file that LOOPBACK_ONLY_LOG names, as is the fact that the guard stands.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import Any

_LOG = os.environ["LOOPBACK_ONLY_LOG"]


def _say(word: str, what: object) -> None:
    with open(_LOG, "a", encoding="utf-8") as log:
        log.write(f"{word} {what}\n")


def _is_local(host: object) -> bool:
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        address = ipaddress.ip_address(str(host))
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _guard(event: str, args: tuple[Any, ...]) -> None:
    host: object = None
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):
        host = args[1][0]
    if not _is_local(host):
        _say("refused", f"{event} {host}")
        raise OSError(f"the tests reach loopback only, not {host}")


sys.addaudithook(_guard)
_say("guarded", " ".join(sys.argv[:2]) or sys.executable)
