"""The own machines of the sandbox: what they are, what an hour costs, and what their own files say.

Written from docs/providers/ssh.md: the inventory's keys, the formula of the price, and the records on a machine
(`LOCK/alloc/TOKEN`, lines of ``key=value``).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from providers.sandbox import nvidia

#: Below the home of the machines' logins, which share one home here.
LOCK = "orch-own"
#: A process that cannot exist: above the kernel's largest id.
NOBODY = 9_999_999
_STEP = Decimal("0.000001")
_PURCHASE = ("purchase_usd", "write_off_months", "hours_per_month", "watts", "usd_per_kwh")
_FILED = ("vcpus", "memory_gib", "disk_gib", "region", "country", "egress_usd_per_gb", "ingress_usd_per_gb")


@dataclass(frozen=True, slots=True)
class Kind:
    """One machine of the market file; `row` is its table."""

    name: str
    users: tuple[str, ...]
    gpu: str
    count: int
    device: str
    device_mib: int
    row: dict[str, Any]

    @property
    def key(self) -> str:
        """Its key among the sandbox's machines."""
        return f"own-{self.name}"

    @property
    def uuids(self) -> list[str]:
        """Its GPUs."""
        return nvidia.uuids(self.key, self.count)

    def subject(self) -> str:
        """What a fault's `subject` is looked for in."""
        return f"{self.gpu} {self.name} {self.gpu.lower().replace(' ', '-')}"

    def usd_per_hour(self, factor: Decimal) -> Decimal:
        """USD for an hour of the whole machine, *factor* times what the file says."""
        row = self.row
        if "usd_per_hour" in row:
            return Decimal(str(row["usd_per_hour"])) * factor
        purchase, months, hours, watts, kwh = (Decimal(str(row[part])) for part in _PURCHASE)
        total = purchase * factor / (months * hours) + watts / 1000 * (kwh * factor)
        return total.quantize(_STEP, ROUND_HALF_UP)

    def share(self, gpus: int, factor: Decimal) -> Decimal:
        """USD for an hour of *gpus* of its GPUs."""
        whole = self.usd_per_hour(factor)
        return whole if gpus == self.count else (whole * gpus / self.count).quantize(_STEP, ROUND_HALF_UP)

    def entry(self, address: str, key_file: Path, factor: Decimal) -> str:
        """Its table in an inventory."""
        lines = [
            "[[machine]]",
            f'name = "{self.name}"',
            f'host = "{address}"',
            "users = [" + ", ".join(f'"{user}"' for user in self.users) + "]",
            f'key_file = "{key_file}"',
            f'gpu = "{self.gpu}"',
            f"gpu_count = {self.count}",
            f'lock_dir = "~/{LOCK}"',
            'authorized_keys = "~/.ssh/authorized_keys.%u"',
        ]
        for part in _FILED:
            if part in self.row:
                lines.append(f"{part} = {_toml(self.row[part])}")
        if "usd_per_hour" in self.row:
            lines.append(f'usd_per_hour = "{self.usd_per_hour(factor)}"')
        else:
            priced = {part: Decimal(str(self.row[part])) for part in _PURCHASE}
            priced["purchase_usd"] *= factor
            priced["usd_per_kwh"] *= factor
            lines += [f'{part} = "{value:f}"' for part, value in priced.items()]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Held:
    """One allocation by the machine's own record."""

    token: str
    owner: str
    gpus: tuple[str, ...]


def kinds(market: dict[str, Any] | None) -> list[Kind]:
    """The machines of *market*, or of the file beside this one."""
    rows = (market or tomllib.loads(Path(__file__).with_name("market.toml").read_text(encoding="utf-8")))["machines"]
    return [
        Kind(
            row["name"],
            tuple(row["users"]),
            row["gpu"],
            row["gpu_count"],
            row["device"],
            row["device_mib"],
            dict(row),
        )
        for row in rows
    ]


def held(home: Path) -> list[Held]:
    """What is allocated on the machine with that home, oldest name first."""
    found = []
    for file in sorted((home / LOCK / "alloc").glob("orch-*")):
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except OSError:  # it has just ended
            continue
        record = dict(line.split("=", 1) for line in lines if "=" in line)
        found.append(Held(file.name, record.get("owner", ""), tuple(record.get("gpus", "").split())))
    return found


def hold(home: Path, token: str, owner: str, gpus: list[str], created: str) -> None:
    """Write the record of an allocation that somebody else has made, on a machine that never saw one perhaps."""
    for part in ("alloc", "ended", "work"):
        (home / LOCK / part).mkdir(parents=True, exist_ok=True)
    fields = {
        "token": token,
        "owner": owner,
        "lease": "",
        "login": "somebody",
        "uid": "4294967294",
        "gpus": " ".join(gpus),
        "created": created,
        "ends": "-",
        "phase": "ready",
        "dir": f"/nonexistent/{token}",
        "keys": "/nonexistent",
        "dedicated": "no",
    }
    text = "".join(f"{name}={value}\n" for name, value in fields.items())
    (home / LOCK / "alloc" / token).write_text(text, encoding="utf-8")


def compute(home: Path, gpus: list[str]) -> None:
    """Make processes that are none of ours compute on *gpus*, and on no other GPU of the machine."""
    file = home / "bin" / "nvidia-smi.processes"
    if not gpus:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{gpu} {NOBODY} python3 4096\n" for gpu in gpus), encoding="utf-8")


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
