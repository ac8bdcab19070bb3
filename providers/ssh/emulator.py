"""Own machines in the sandbox: two that are always on, with an inventory and a key for them.

There is no service to imitate: a client logs in to real SSH servers (`providers.sandbox.machines`) and runs its script
there, so what happens is what the script does. This module gives it machines, reads from their files what is allocated
(`emulator_machines`), and has things go wrong at their doors (`emulator_door`). Written from docs/providers/ssh.md.

What every cloud can do wrong and these cannot: a launch answers when everything is done, so nothing fails or gets stuck
after acceptance; a machine answers for itself, so no list lags; and one that is lost cannot be asked, which is no proof
of anything, so no allocation is ever gone that way.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from providers.sandbox.faults import TRANSPORT
from providers.sandbox.kit import Emulator, Record
from providers.sandbox.machines import SshMachines
from providers.sandbox.world import World
from providers.ssh.emulator_door import Door
from providers.ssh.emulator_machines import Kind, compute, held, hold, kinds

_ACCOUNT = "own"


@dataclass(slots=True)
class Seen:
    """One allocation, from when it was first seen on its machine."""

    machine: str
    token: str
    gpus: int
    alive: bool = True


class SshEmulator(Emulator):
    """The user's own machines, in the sandbox."""

    name: ClassVar[str] = "ssh"
    semantic: ClassVar[frozenset[str]] = frozenset(
        {"sold_out", "wrong_gpu", "unknown_code", "price_changed", "bad_key", "ignore_terminate"}
    )
    cannot: ClassVar[frozenset[str]] = frozenset({"fail_after_accept", "boot_stuck", "list_lag", "host_lost"})
    transport: ClassVar[frozenset[str]] = TRANSPORT - {"rate_limit", "redirect"}
    needs_machines: ClassVar[bool] = True

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.kinds = {kind.name: kind for kind in kinds(world.market.get(self.name))}
        self.addresses: dict[str, str] = {}
        self.seen: dict[str, Seen] = {}
        self.locals: dict[str, list[str]] = {}
        self.factors: dict[str, Decimal] = {}
        self.down: set[str] = set()
        self._folder: Path | None = None
        self._admin = ""

    # -- machines -----------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Switch on what is not on, and read from the machines what is allocated."""
        for kind in self.kinds.values():
            self._switch_on(kind)
            home = self._home(kind.name)
            if home is None:
                continue
            there = {one.token: one for one in held(home)}
            for token, one in there.items():
                if token not in self.seen:
                    self._opened(kind, token, len(one.gpus))
            for seen in self.seen.values():
                if seen.machine == kind.name and seen.alive and seen.token not in there:
                    seen.alive = False
                    self.world.ledger.close(self.name, f"{kind.name}/{seen.token}", at=self.world.now())

    def moved(self) -> None:
        """After a session: what it did is seen at once, and kept."""
        self.advance()
        self.world.changed()

    def _switch_on(self, kind: Kind) -> None:
        if kind.name not in self.addresses:
            self.addresses[kind.name] = self.world.address()
        machines = self.world.machines
        self.world.machines.start(
            kind.key,
            host=self.addresses[kind.name],
            port=22,
            user=",".join(kind.users),
            authorized_keys=[self._public_key()],
            gpu=kind.device,
            memory_mib=kind.device_mib,
            count=kind.count,
        )
        if isinstance(machines, SshMachines) and kind.key not in machines.gates:
            home = machines.folder(kind.key)
            machines.gates[kind.key] = Door(self, kind, home)
            compute(home, self.busy(kind.name))

    def _home(self, name: str) -> Path | None:
        machines = self.world.machines
        return machines.folder(self.kinds[name].key) if isinstance(machines, SshMachines) else None

    def _opened(self, kind: Kind, token: str, gpus: int) -> None:
        self.seen[token] = Seen(kind.name, token, gpus)
        self.world.ledger.open(
            self.name,
            f"{kind.name}/{token}",
            at=self.world.now(),
            usd_per_hour=kind.share(gpus, self._factor(kind.name)),
            name=token,
            account=_ACCOUNT,
        )

    # -- what the doors ask -------------------------------------------------------------------------------

    def busy(self, name: str) -> list[str]:
        """GPUs on which somebody computes who is none of ours."""
        return self.locals.get(name, [])

    def is_down(self, name: str) -> bool:
        """Whether the machine is lost."""
        return name in self.down

    def reprice(self, name: str, factor: Decimal) -> None:
        """The machine costs *factor* times as much from now on; what is allocated keeps its price."""
        self.factors[name] = self._factor(name) * factor
        self._write_inventory()

    def _factor(self, name: str) -> Decimal:
        return self.factors.get(name, Decimal(1))

    # -- files for clients --------------------------------------------------------------------------------

    def environment(self, base_url: str) -> dict[str, str]:
        """The inventory; nothing is served over HTTP."""
        self.advance()
        return {"ORCH_SSH_INVENTORY": str(self._write_inventory())}

    def _files(self) -> Path:
        """The folder of the inventory and the key, only for its user."""
        if self._folder is None:
            if self.world.folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="orch-own-"))
                weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            else:
                self._folder = self.world.folder.resolve() / "own"
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._folder

    def _public_key(self) -> str:
        """The key that opens the machines; made once for the folder. Without real machines there is none."""
        if not isinstance(self.world.machines, SshMachines):
            return ""
        if not self._admin:
            from providers.sandbox.sshd import new_host_key, public_line

            file = self._files() / "admin"
            if not file.exists():
                with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                    out.write(new_host_key())
            self._admin = public_line(file.read_text(encoding="utf-8"))
        return self._admin

    def _write_inventory(self) -> Path:
        file = self._files() / "machines.toml"
        admin = self._files() / "admin"
        if not admin.exists():
            admin.touch(mode=0o600)
        tables = [kind.entry(self.addresses[name], admin, self._factor(name)) for name, kind in self.kinds.items()]
        text = "# Written by the sandbox.\n" + "\n".join(tables)
        draft = file.with_name("machines.new")
        draft.write_text(text, encoding="utf-8")
        draft.replace(file)
        return file

    # -- what the kit and tests ask -----------------------------------------------------------------------

    async def handle(self, request: Request) -> Response:
        return PlainTextResponse("own machines answer SSH, not HTTP", 404)

    def verb(self, method: str, path: str) -> str:
        return "other"

    def records(self) -> list[Record]:
        ours = [
            Record(f"{one.machine}/{one.token}", one.token, one.alive, one.alive, self.kinds[one.machine].gpu)
            for one in self.seen.values()
        ]
        others = [
            Record(f"{name}/local-{number}", "", alive=True, billing=False, offer=self.kinds[name].gpu)
            for name, gpus in self.locals.items()
            for number in range(len(gpus))
        ]
        return ours + others

    def plant(self, name: str, owner: str | None = None) -> str:
        """Another installation's record, or, without an owner, a process of the machine's own people."""
        self.advance()
        machine, gpu = self._free_gpu()
        home = self._home(machine)
        if owner is None:
            self.locals.setdefault(machine, []).append(gpu)
            if home is not None:
                compute(home, self.busy(machine))
            return f"{machine}/local-{len(self.locals[machine]) - 1}"
        if home is None:
            self._opened(self.kinds[machine], name, 1)
        else:
            hold(home, name, owner, [gpu], self.world.now().strftime("%Y-%m-%dT%H:%M:%SZ"))
            self.advance()
        return f"{machine}/{name}"

    def _free_gpu(self) -> tuple[str, str]:
        """A GPU that nobody has, or the last one: several processes may share it."""
        last = ("", "")
        for name, kind in self.kinds.items():
            home = self._home(name)
            taken = {gpu for one in (held(home) if home else []) for gpu in one.gpus} | set(self.busy(name))
            for gpu in kind.uuids:
                last = (name, gpu)
                if gpu not in taken:
                    return last
        return last

    def lose(self, instance: str) -> None:
        """Its machine answers nobody any more. What it holds stays held."""
        self.down.add(instance.partition("/")[0])

    def rate_limited(self, retry_after: float | None) -> Response:
        return PlainTextResponse("own machines answer SSH, not HTTP", 404)

    def broken(self) -> Response:
        return PlainTextResponse("own machines answer SSH, not HTTP", 404)

    def dump(self) -> dict[str, Any]:
        return {
            "addresses": self.addresses,
            "seen": [asdict(one) for one in self.seen.values()],
            "locals": self.locals,
            "factors": {name: str(factor) for name, factor in self.factors.items()},
            "down": sorted(self.down),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.addresses = dict(state["addresses"])
        self.seen = {row["token"]: Seen(**row) for row in state["seen"]}
        self.locals = {name: list(gpus) for name, gpus in state["locals"].items()}
        self.factors = {name: Decimal(factor) for name, factor in state["factors"].items()}
        self.down = set(state["down"])
