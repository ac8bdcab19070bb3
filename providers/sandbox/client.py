"""How a command talks to a running sandbox: its control API, spoken with the standard library alone.

All calls block for a few milliseconds; the sandbox is a process on this computer.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass, field
from typing import Any

from providers.env import ScaledEnv, SystemEnv

HOST = "127.0.0.1"
PREFIX = "/_sandbox"
_TIMEOUT_S = 10.0
# A machine's port never changes while it runs; what may change soon is whether there is one.
_MAP_LASTS_S = 1.0
_MISS_LASTS_S = 0.1


class SandboxError(Exception):
    """The sandbox cannot do that, or cannot be started; the message says why."""


class NoAnswer(SandboxError):
    """Nobody answers there, or not this sandbox."""


def call(port: int, token: str, method: str, path: str, body: Any = None) -> Any:
    """Ask the control API at loopback *port*; returns the JSON answer.

    Raises:
        NoAnswer: nobody listens there, or somebody who is not this sandbox, or it is just ending.
        SandboxError: it refused, or it took longer than 10 s.
    """
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT_S)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    try:
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, PREFIX + path, data, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
    except TimeoutError:
        raise SandboxError(f"the sandbox on port {port} runs but does not answer") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswer(f"no sandbox answers on port {port}: {error!r}") from None
    finally:
        connection.close()
    if response.status in (401, 404) and "sandbox" not in answer:
        raise NoAnswer(f"on port {port} answers somebody who is not this sandbox")
    if response.status == 503:
        raise NoAnswer(str(answer.get("error", answer)))
    if response.status >= 400:
        raise SandboxError(str(answer.get("error", answer)))
    return answer


@dataclass(slots=True)
class Running:
    """A sandbox that runs, and what a client needs of it.

    Attributes:
        base_url: where it serves, for example ``http://127.0.0.1:4711``.
        settings: the environment that makes the real adapters talk to it: keys and `ORCH_..._URL`.
        epoch, speed: of its clock, see `providers.env.ScaledEnv`.
        scenario: the name of the faults that it was started with.
    """

    pid: int
    port: int
    token: str = field(repr=False)
    epoch: float
    speed: float
    scenario: str
    settings: dict[str, str] = field(repr=False)
    _map: dict[tuple[str, int], int] = field(default_factory=dict, repr=False)
    _mapped_at: float = field(default=float("-inf"), repr=False)

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def faults(self) -> FaultControl:
        """What is to go wrong."""
        return FaultControl(self)

    def env(self) -> ScaledEnv:
        """The sandbox's clock, and its dials."""
        return ScaledEnv(epoch=self.epoch, speed=self.speed, dial=self.dial)

    def dial(self, host: str, port: int) -> tuple[str, int]:
        """Where a connection to that sandbox address goes. Addresses of no machine stay as they are.

        The map is asked for at most once a second (ten times while an address is missing), and the last one known
        is used while the sandbox does not answer.
        """
        age = SystemEnv().monotonic() - self._mapped_at
        known = (host, port) in self._map
        if age > (_MAP_LASTS_S if known else _MISS_LASTS_S):
            try:
                rows = self.call("GET", "/dial")["addresses"]
                self._map = {(row["host"], row["port"]): row["loopback_port"] for row in rows}
            except SandboxError:
                pass
            self._mapped_at = SystemEnv().monotonic()
        found = self._map.get((host, port))
        return (host, port) if found is None else (HOST, found)

    def bill(self) -> dict[str, Any]:
        """What every provider would bill by now: `now`, `total_usd` and `lines`, money as strings."""
        return self._object("GET", "/bill")

    def instances(self) -> list[dict[str, Any]]:
        """Every instance there ever was: provider, id, name, alive, billing, offer."""
        found: list[dict[str, Any]] = self.call("GET", "/instances")["instances"]
        return found

    def lose(self, provider: str, instance: str) -> None:
        """Let the host of *instance* be lost."""
        self.call("POST", "/lose", {"provider": provider, "instance": instance})

    def clock(self) -> dict[str, Any]:
        """The sandbox's time: `now`, `epoch`, `speed`."""
        return self._object("GET", "/clock")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the control API; see `call`."""
        return call(self.port, self.token, method, path, body)

    def _object(self, method: str, path: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.call(method, path)
        return answer


@dataclass(frozen=True, slots=True)
class FaultControl:
    """The faults of a running sandbox."""

    running: Running

    def list(self) -> dict[str, Any]:
        """What is `waiting`, and what has `happened`."""
        answer: dict[str, Any] = self.running.call("GET", "/faults")
        return answer

    def add(
        self,
        kind: str,
        provider: str = "*",
        *,
        verb: str = "*",
        subject: str = "",
        times: int = 1,
        **args: Any,
    ) -> None:
        """Ask for a fault, as `providers.sandbox.faults.Faults.add` does.

        Raises:
            SandboxError: there is no such fault or provider.
        """
        fault = {"kind": kind, "provider": provider, "verb": verb, "subject": subject, "times": times, "args": args}
        self.running.call("POST", "/faults", fault)

    def scenario(self, name: str) -> None:
        """Add the faults of a scenario. A path is read by the sandbox, so it must be absolute."""
        self.running.call("POST", "/faults", {"scenario": name})

    def clear(self) -> None:
        """Nothing more goes wrong."""
        self.running.call("DELETE", "/faults")
