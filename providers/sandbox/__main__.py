"""``python -m providers.sandbox``: the process behind `detach`. People use ``orch sandbox serve`` instead."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
from pathlib import Path
from typing import Any

from providers.sandbox.client import SandboxError
from providers.sandbox.detach import Setup


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m providers.sandbox", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the sandbox keeps everything")
    parser.add_argument("--tell", type=int, help="detach, and tell through this file descriptor how the start went")
    parser.add_argument("--speed", type=float)
    parser.add_argument("--boot-scale", type=float)
    parser.add_argument("--scenario")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--emulator", action="append", default=[], help="module:Class; all registered ones if absent")
    parser.add_argument("--idle-s", type=float)
    return parser.parse_args()


class _Teller:
    """The pipe to whoever started this process."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        os.set_inheritable(pipe, False)  # machines' processes must not keep it open

    def tell(self, line: str) -> None:
        # The starter may have been killed; whoever comes next finds us by `server.json`.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._pipe, f"{line}\n".encode())

    def close(self) -> None:
        os.close(self._pipe)


def main() -> int:
    """Serve until stopped, killed or idle; returns the exit status."""
    asked = _arguments()
    setup = Setup(
        speed=asked.speed,
        boot_scale=asked.boot_scale,
        scenario=asked.scenario,
        seed=asked.seed,
        emulators=tuple(asked.emulator),
        idle_s=asked.idle_s,
    )
    if asked.tell is None:
        return _serve(asked.folder, setup, lambda told: print(told["base_url"], flush=True))
    if os.fork():  # the child has init for a parent, and is no session leader that could get a terminal
        os._exit(0)
    teller = _Teller(asked.tell)
    teller.tell(f"pid {os.getpid()}")

    def announce(told: dict[str, Any]) -> None:
        teller.tell("ok")
        teller.close()

    return _serve(asked.folder, setup, announce, teller)


def _serve(folder: Path, setup: Setup, announce: Any, teller: _Teller | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    try:
        asyncio.run(_until_signal(folder, setup, announce))
    except SandboxError as error:
        logging.error("%s", error)
        if teller is not None:
            teller.tell(f"error {json.dumps(str(error))}")
        return 1
    return 0


async def _until_signal(folder: Path, setup: Setup, announce: Any) -> None:
    from providers.sandbox import host

    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await host.run(folder, setup, announce, stopping=stopping)


if __name__ == "__main__":
    raise SystemExit(main())
