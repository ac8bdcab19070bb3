"""The checks of `orch doctor`. Each looks at one thing, changes nothing that stays, and says what to do."""

from __future__ import annotations

import ctypes
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Literal

from orchestrator import settings as settings_module
from orchestrator.errors import ConfigError

OLDEST_PYTHON = (3, 11)
#: The first SQLite with RETURNING; WAL is much older.
OLDEST_SQLITE = (3, 35, 0)
#: What `adjtimex` returns when the kernel's clock follows no time server (Linux, sys/timex.h: TIME_ERROR).
_UNSYNCHRONISED = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `fix` is what to do unless `result` is ``ok``."""

    name: str
    result: Literal["ok", "warn", "fail"]
    detail: str
    fix: str | None = None


def all_checks(state_dir: str | None, *, sandbox: bool = False) -> list[Check]:
    """Every check of this computer, in the order in which things are needed; the sandbox needs no credentials."""
    found = [python(), packages(), ssh_client()]
    try:
        values = settings_module.environment()
        if state_dir:
            values["ORCH_STATE_DIR"] = state_dir
        loaded = settings_module.load(values)
    except ConfigError as error:
        return [*found, Check("settings", "fail", error.message, error.hint)]
    folder = loaded.state_dir
    key = Path(loaded.orch_ssh_key_file).expanduser() if loaded.orch_ssh_key_file else folder / "ssh" / "id_ed25519"
    found += [state_folder(folder), sqlite(), ssh_key(key), clock()]
    return found if sandbox or loaded.orch_sandbox else [*found, *providers(values)]


def configured(found: list[Check]) -> bool:
    """Whether there is any provider to ask: `providers` found credentials, or the sandbox stands in for all."""
    said = next((check for check in found if check.name == "providers"), None)
    return said is None or said.result == "ok"


def asked(rows: Sequence[Mapping[str, Any]]) -> list[Check]:
    """What `Orchestrator.check` found, a line for each provider that has credentials."""
    found = []
    for row in rows:
        if row["ok"] is None:
            continue
        if not row["ok"]:
            said = row["detail"].get("error", "cannot be used")
            found.append(Check(row["provider"], "fail", said, row["hint"] or "orch providers check"))
            continue
        detail = f"account {row['account']}, {row['offers']} offers, {row['available']} to be had"
        detail += f", clock {row['clock_skew']} apart" if row["clock_skew"] not in (None, "unknown") else ""
        found.append(Check(row["provider"], "warn" if row["hint"] else "ok", detail, row["hint"]))
    return found


def python() -> Check:
    """The interpreter's version."""
    text = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return Check("python", "fail", text, "orch needs Python 3.11 or newer")
    return Check("python", "ok", f"{text} ({sys.executable})")


def packages() -> Check:
    """Everything that the base installation needs, and the sandbox's extra."""
    missing = [name for name in _requirements(None) if not _installed(name)]
    if missing:
        return Check("packages", "fail", f"missing: {', '.join(missing)}", "pip install --force-reinstall gpu-orch")
    absent = [name for name in _requirements("sandbox") if not _installed(name)]
    if absent:
        return Check("packages", "warn", f"no sandbox: {', '.join(absent)} missing", "pip install 'gpu-orch[sandbox]'")
    return Check("packages", "ok", f"gpu-orch {version('gpu-orch')} with the sandbox")


def _requirements(extra: str | None) -> Iterator[str]:
    for line in requires("gpu-orch") or []:
        wanted, _, marker = line.partition(";")
        if ("extra" in marker) != (extra is not None) or (extra and extra not in marker):
            continue
        name = wanted.strip()
        for sign in "[<>=!~ (":
            name = name.partition(sign)[0]
        yield name


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def ssh_client() -> Check:
    """OpenSSH's client and its key generator."""
    absent = [program for program in ("ssh", "ssh-keygen") if shutil.which(program) is None]
    if absent:
        return Check("ssh", "fail", f"no {' and no '.join(absent)}", "apt-get install openssh-client")
    answer = subprocess.run(["ssh", "-V"], capture_output=True, text=True)  # noqa: S607 - the user's own ssh
    return Check("ssh", "ok", (answer.stderr or answer.stdout).strip().partition(",")[0])


def state_folder(folder: Path) -> Check:
    """Whether the store can be written where it would be. The folder itself is made at first use."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Check("state folder", "fail", f"{place}: {error.strerror}", "use --state-dir or ORCH_STATE_DIR")
    from orchestrator.store.db import refuse_network_folder

    try:
        refuse_network_folder(place)
    except ConfigError as error:
        return Check("state folder", "fail", error.message, error.hint)
    free_gib = shutil.disk_usage(place).free / 2**30
    if free_gib < 0.1:
        return Check("state folder", "warn", f"{folder}: {free_gib:.2f} GiB free", "make some room")
    if folder.exists() and folder.stat().st_mode & 0o077:
        return Check("state folder", "warn", f"{folder}: others can read it", f"chmod 700 {folder}")
    return Check("state folder", "ok", f"{folder}{'' if folder.exists() else ' (made at first use)'}")


def sqlite() -> Check:
    """SQLite's version, and that it can keep a write-ahead log."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        return Check("sqlite", "fail", sqlite3.sqlite_version, "orch needs SQLite 3.35 or newer")
    return Check("sqlite", "ok", sqlite3.sqlite_version)


def ssh_key(file: Path) -> Check:
    """The installation's key pair: absent is fine, open to others is not (ssh would refuse it)."""
    if not file.exists():
        return Check("ssh key", "ok", f"{file} (made at first use)")
    if file.stat().st_mode & 0o077:
        return Check("ssh key", "fail", f"{file}: others can read it", f"chmod 600 {file}")
    if not file.with_name(file.name + ".pub").exists():
        return Check("ssh key", "fail", f"{file}: no .pub beside it", f"ssh-keygen -y -f {file} > {file}.pub")
    if not os.access(file, os.R_OK):
        return Check("ssh key", "fail", f"{file}: cannot be read", "ORCH_SSH_KEY_FILE names another one")
    return Check("ssh key", "ok", str(file))


def providers(values: Mapping[str, str]) -> list[Check]:
    """Which providers have credentials. Whether those work is not asked here."""
    from providers.registry import entries

    known = entries()
    found = {name: entry.configured(values) for name, entry in known.items()}
    configured = [f"{name} ({where})" for name, where in found.items() if where]
    if not configured:
        names = ", ".join(entry.keys[0] for entry in known.values() if entry.keys)
        return [Check("providers", "warn", "none has credentials", f"set one of {names}, or try orch --sandbox")]
    missing = [
        Check("providers", "warn", f"{name} needs the extra {entry.extra!r}", f"pip install 'gpu-orch[{entry.extra}]'")
        for name, entry in known.items()
        if found[name] and entry.extra and not all(map(_installed, _requirements(entry.extra)))
    ]
    return [Check("providers", "ok", ", ".join(configured)), *missing]


def clock(adjtimex: Callable[[], int | None] | None = None) -> Check:
    """Whether the system clock follows a time server: signatures and token lifetimes depend on it."""
    answer = (adjtimex or _adjtimex)()
    if answer is None:
        return Check("clock", "ok", "not checked on this system")
    if answer == _UNSYNCHRONISED:
        return Check(
            "clock", "warn", "the kernel's clock follows no time server", "timedatectl set-ntp true (or run chrony)"
        )
    return Check("clock", "ok", "follows a time server")


def _adjtimex() -> int | None:
    """The kernel clock's state (0 to 5), or None where there is no such call. Reads only: modes is 0."""
    try:
        call = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    # struct timex is 208 bytes on 64-bit Linux; a larger zeroed buffer is harmless.
    answer = int(call(ctypes.create_string_buffer(512)))
    return None if answer < 0 else answer
