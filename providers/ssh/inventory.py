"""The inventory: which machines there are, how to get in, what they hold and what an hour of them costs.

A TOML file (`ORCH_SSH_INVENTORY`, else ``~/.config/orch/machines.toml``); docs/providers/ssh.md describes it. It is
read anew at every use, so that a daemon sees changes. A mistake is told with file, line, and what was meant.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from providers import gpus
from providers.ssh.price import PARTS, usd_per_hour

SETTING = "ORCH_SSH_INVENTORY"
DEFAULT = ".config/orch/machines.toml"
LOCK_DIR = "/var/lib/orch"
AUTHORIZED_KEYS = "~/.ssh/authorized_keys"
RELIABILITY = 0.97

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_LOGIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_%-]{0,254}")
# These stand in shell scripts and in authorized_keys, where quotes and spaces would have a meaning.
_REMOTE_PATH = re.compile(r"(?:~/|/)[A-Za-z0-9._/+-]+")
_HOST_KEY = re.compile(r"(?:ssh|ecdsa|sk-)[A-Za-z0-9@.-]* [A-Za-z0-9+/]+=*(?: .*)?")

_TEXTS = {
    *("name", "host", "user", "key_file", "gpu", "region", "country", "arch"),
    *("lock_dir", "work_dir", "authorized_keys"),
}
_COUNTS = {"port", "gpu_count"}
_NUMBERS = {"vcpus", "memory_gib", "disk_gib", "reliability"}
_MONEY = {
    *("usd_per_hour", "purchase_usd", "write_off_months", "hours_per_month", "watts", "usd_per_kwh"),
    *("egress_usd_per_gb", "ingress_usd_per_gb"),
}
_FLAGS = {"share", "dedicated", "retired"}
_LISTS = {"users", "compliance", "host_key"}
KEYS = _TEXTS | _COUNTS | _NUMBERS | _MONEY | _FLAGS | _LISTS


class BadInventory(ValueError):
    """The inventory cannot be used; the message names file, line and key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine, or the GPUs of one model in it.

    Attributes:
        users: the logins; each holds one allocation at a time. The first one is asked for the machine's state.
        host_keys: pinned host keys, or none: then the first contact pins.
        share: whether single GPUs are rented, too, or the whole machine only.
        authorized_keys: the file of a login; ``%u`` stands for the login's name.
        dedicated: the logins serve nothing else, so at an end every process of theirs is ended.
        retired: it is gone for good, and so is all that ran there, says the user.
        usd_per_hour: for the whole machine with its `gpu_count` GPUs.
    """

    name: str
    host: str = ""
    port: int = 22
    users: tuple[str, ...] = ()
    key_file: Path = Path()
    host_keys: tuple[str, ...] = ()
    gpu: str = ""
    gpu_count: int = 1
    vcpus: float | None = None
    memory_gib: float | None = None
    disk_gib: float | None = None
    region: str | None = None
    country: str | None = None
    arch: str = "x86_64"
    usd_per_hour: Decimal = Decimal(0)
    egress_usd_per_gb: Decimal | None = None
    ingress_usd_per_gb: Decimal | None = None
    reliability: float = RELIABILITY
    reliability_source: str = "assumed by tier"
    compliance: tuple[str, ...] = ()
    share: bool = True
    dedicated: bool = False
    retired: bool = False
    lock_dir: str = LOCK_DIR
    work_dir: str = ""
    authorized_keys: str = AUTHORIZED_KEYS


@dataclass(frozen=True, slots=True)
class Inventory:
    """All machines by name, and the folder in which first contacts pin host keys."""

    file: Path
    machines: dict[str, Machine]
    pins: Path

    @property
    def live(self) -> list[Machine]:
        """The machines that are not retired."""
        return [machine for machine in self.machines.values() if not machine.retired]


def path_of(settings: Mapping[str, str]) -> Path:
    """Where the inventory lies, by *settings*."""
    return _local(settings.get(SETTING) or f"~/{DEFAULT}", settings)


def load(settings: Mapping[str, str]) -> Inventory:
    """Read the inventory.

    Raises:
        BadInventory: something in it is wrong.
        OSError: it cannot be read.
    """
    file = path_of(settings)
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInventory(f"{file}: is not UTF-8: {error}") from None
    return _Reader(file, text, settings).read()


def _local(path: str, settings: Mapping[str, str]) -> Path:
    home = Path(settings.get("HOME") or Path.home())
    return home / path[2:] if path.startswith("~/") else Path(path)


class _Reader:
    """Reads one file; knows where its lines are."""

    def __init__(self, file: Path, text: str, settings: Mapping[str, str]) -> None:
        self._file, self._lines, self._text, self._settings = file, text.splitlines(), text, settings
        self._at: tuple[str, int] = ("", 0)

    def read(self) -> Inventory:
        try:
            data = tomllib.loads(self._text, parse_float=Decimal)
        except tomllib.TOMLDecodeError as error:
            raise BadInventory(f"{self._file}: {error}") from None
        for key in data.keys() - {"machine", "defaults", "pins"}:
            self._fail(key, f"unknown key{_nearest(key, ['machine', 'defaults', 'pins'])}")
        rows, defaults = data.get("machine"), data.get("defaults", {})
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            self._fail("machine", "there is no [[machine]] table: each machine is one")
        if not isinstance(defaults, dict):
            self._fail("defaults", "must be a table")
        self._at = ("[defaults]", 1)
        self._check_keys(defaults)
        found: dict[str, Machine] = {}
        for number, row in enumerate(rows, 1):
            self._at = ("[[machine]]", number)
            self._check_keys(row)
            machine = self._machine(_over(defaults, row))
            if machine.name in found:
                self._fail("name", f"there are two machines called {machine.name!r}")
            found[machine.name] = machine
        self._at = ("", 0)
        pins = data.get("pins", str(self._file.with_suffix(".pins")))
        if not isinstance(pins, str):
            self._fail("pins", "must be a text: the folder for host keys pinned at first contact")
        return Inventory(self._file, found, self._file.parent / _local(pins, self._settings))

    def _machine(self, row: dict[str, Any]) -> Machine:
        name = row.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            self._fail("name", "is needed: up to 40 of a-z, 0-9 and hyphens")
        if row.get("retired"):
            return Machine(name=name, retired=True)
        for key in ("host", "gpu", "key_file"):
            if key not in row:
                self._fail(key, f"is missing for {name}")
        users = self._users(row)
        if row.get("dedicated") and "root" in users:
            self._fail("dedicated", "root serves the whole machine: a dedicated login must be another one")
        for key in ("lock_dir", "work_dir", "authorized_keys"):
            plain = row.get(key, "/x").replace("%u", "") if key == "authorized_keys" else row.get(key, "/x")
            if not _REMOTE_PATH.fullmatch(plain):
                self._fail(key, "must begin with / or ~/ and hold letters, digits and . _ + - only")
        # Logins that share one home are told apart by %u in it; all others have each their own.
        shared_home = "%u" in row.get("authorized_keys", "")
        if len(users) > 1 and row.get("lock_dir", "").startswith("~/") and not shared_home:
            self._fail(
                "lock_dir", "must begin with / for several users: each has another ~, and would see another lock"
            )
        if not _HOST.fullmatch(row["host"]):
            self._fail("host", "is no host name or address")
        reliability = _float(row, "reliability")
        if reliability is not None and not 0 < reliability <= 1:
            self._fail("reliability", "must be above 0, and 1 at most")
        return Machine(
            name=name,
            host=row["host"],
            port=self._port(row),
            users=users,
            key_file=self._key_file(row["key_file"]),
            host_keys=self._host_keys(row),
            gpu=gpus.canonical(row["gpu"]) or gpus.slug(row["gpu"]),
            gpu_count=self._gpu_count(row),
            country=self._country(row),
            usd_per_hour=self._price(row, name),
            egress_usd_per_gb=row.get("egress_usd_per_gb"),
            ingress_usd_per_gb=row.get("ingress_usd_per_gb"),
            vcpus=_float(row, "vcpus"),
            memory_gib=_float(row, "memory_gib"),
            disk_gib=_float(row, "disk_gib"),
            reliability=RELIABILITY if reliability is None else reliability,
            reliability_source="assumed by tier" if reliability is None else "inventory",
            compliance=tuple(row.get("compliance", ())),
            share=row.get("share", True),
            dedicated=row.get("dedicated", False),
            region=row.get("region"),
            arch=row.get("arch", "x86_64"),
            lock_dir=row.get("lock_dir", LOCK_DIR),
            work_dir=row.get("work_dir", ""),
            authorized_keys=row.get("authorized_keys", AUTHORIZED_KEYS),
        )

    def _check_keys(self, row: dict[str, Any]) -> None:
        """Known keys with values of the right kind; money becomes Decimal in place."""
        for key, value in row.items():
            if key not in KEYS:
                self._fail(key, f"unknown key{_nearest(key, KEYS)}")
            number = isinstance(value, int | Decimal) and not isinstance(value, bool)
            if key in _MONEY | _NUMBERS:
                if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?", value):
                    value, number = Decimal(value), True
                if not number or not Decimal(value).is_finite() or not 0 <= value < 10**9:
                    self._fail(key, "must be a number, 0 or more")
                row[key] = Decimal(value)
            elif key in _COUNTS and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                self._fail(key, "must be a whole number, 1 or more")
            elif key in _FLAGS and not isinstance(value, bool):
                self._fail(key, "must be true or false")
            elif key in _TEXTS and (not isinstance(value, str) or not value.strip()):
                self._fail(key, "must be a text")
            elif key in _LISTS:
                row[key] = [value] if isinstance(value, str) else value
                if not isinstance(row[key], list) or not all(isinstance(one, str) and one for one in row[key]):
                    self._fail(key, "must be a list of texts")

    def _users(self, row: dict[str, Any]) -> tuple[str, ...]:
        if ("user" in row) == ("users" in row):
            self._fail("user", "give either user (one login) or users (several, each for one lease at a time)")
        users = tuple(row["users"] if "users" in row else (row["user"],))
        if not users or len(set(users)) != len(users) or not all(_LOGIN.fullmatch(user) for user in users):
            self._fail("users" if "users" in row else "user", "must be Unix login names, each once")
        return users

    def _key_file(self, text: str) -> Path:
        path = _local(text, self._settings)
        path = path if path.is_absolute() else self._file.parent / path
        if not path.is_file():
            self._fail("key_file", f"there is no file {path}")
        return path

    def _host_keys(self, row: dict[str, Any]) -> tuple[str, ...]:
        for line in row.get("host_key", ()):
            if not _HOST_KEY.fullmatch(line.strip()):
                self._fail("host_key", "must be as in /etc/ssh/ssh_host_ed25519_key.pub, e.g. 'ssh-ed25519 AAAA...'")
        return tuple(" ".join(line.split()[:2]) for line in row.get("host_key", ()))

    def _port(self, row: dict[str, Any]) -> int:
        port: int = row.get("port", 22)
        if port > 65535:
            self._fail("port", "must be 65535 at most")
        return port

    def _gpu_count(self, row: dict[str, Any]) -> int:
        count: int = row.get("gpu_count", 1)
        if count > 64:
            self._fail("gpu_count", "must be 64 at most")
        return count

    def _country(self, row: dict[str, Any]) -> str | None:
        country = row.get("country")
        if country is not None and not re.fullmatch(r"[A-Z]{2}", country):
            self._fail("country", "must be two capital letters (ISO 3166), e.g. DE")
        return country

    def _price(self, row: dict[str, Any], name: str) -> Decimal:
        try:
            return usd_per_hour(row)
        except ValueError as error:
            key = "usd_per_hour" if "usd_per_hour" in row else "purchase_usd"
            self._fail(key if key in row else "name", f"{name}: {error}")

    def _fail(self, key: str, why: str) -> NoReturn:
        raise BadInventory(f"{self._file}:{self._line(key)}: {key}: {why}")

    def _line(self, key: str) -> int:
        """The line of *key* in the table that is being read, or of the table."""
        header, number = self._at
        start, seen = 0, 0
        for index, line in enumerate(self._lines):
            if header and line.strip().startswith(header):
                seen += 1
                if seen == number:
                    start = index
                    break
        for index in range(start + (1 if header else 0), len(self._lines)):
            line = self._lines[index].strip()
            if header and line.startswith("["):
                break
            if re.match(rf"[\"']?{re.escape(key)}[\"']?\s*[=.]|\[+{re.escape(key)}", line):
                return index + 1
        return start + 1


def _over(defaults: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """*row* over *defaults*, where one way to say something replaces the other way to say it."""
    dropped: set[str] = set()
    for one, other in (({"user"}, {"users"}), ({"usd_per_hour"}, set(PARTS))):
        dropped |= other if one & row.keys() else set()
        dropped |= one if other & row.keys() else set()
    return {**{key: value for key, value in defaults.items() if key not in dropped}, **row}


def _float(row: Mapping[str, Any], key: str) -> float | None:
    return float(row[key]) if key in row else None


def _nearest(key: str, known: Any) -> str:
    close = difflib.get_close_matches(key, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(known))}"
