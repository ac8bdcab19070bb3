"""`orch ps` on an embedded store without the engine: stdlib SQLite, read-only, no SQLAlchemy and no settings class.

Only for the plain case. Whenever there is more to it (PostgreSQL, an old or missing store, anything that a dead command
left unfinished) `leases` returns None, and the caller opens the engine.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from orchestrator.models import Lease
from orchestrator.store.rows import AttemptRow, attempt_row, lease_row
from orchestrator.store.schema import MONEY, SCHEMA, TIMES
from orchestrator.view import lease_views
from providers.env import Env

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: A lease in one of these states, or with one of these attempts, may need finishing: not the plain case.
_UNFINISHED = """
SELECT EXISTS (SELECT 1 FROM lease WHERE state IN ('planned', 'launching', 'booting', 'ending')
                                      OR (wanted = 'down' AND state = 'running'))
    OR EXISTS (SELECT 1 FROM attempt WHERE state IN ('intent', 'ending') OR watch_until IS NOT NULL)
    OR EXISTS (SELECT 1 FROM debris WHERE gone_at IS NULL)
"""


def state_dir(given: str | None, env: Mapping[str, str] | None = None) -> Path | None:
    """The state folder by option or environment; None where `./.env` may have a say."""
    values = os.environ if env is None else env
    if given:
        return Path(given).expanduser()
    if Path(".env").exists() or values.get("ORCH_DATABASE_URL"):
        return None
    chosen = values.get("ORCH_STATE_DIR")
    base = Path(chosen) if chosen else Path(values.get("XDG_STATE_HOME") or "~/.local/state") / "orch"
    return base.expanduser()


def leases(file: Path, env: Env, *, everything: bool = False) -> list[Lease] | None:
    """Open leases, or all, oldest first; None if this is not the plain case."""
    if not file.is_file():
        return None
    collecting = gc.isenabled()
    gc.disable()  # tens of thousands of small objects that all live: nothing to collect, and a third of the time
    try:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=2.0)) as connection:
            return _read(connection, env, everything)
    except sqlite3.DatabaseError:
        return None
    finally:
        if collecting:
            gc.enable()


def _read(connection: sqlite3.Connection, env: Env, everything: bool) -> list[Lease] | None:
    [(schema,)] = connection.execute("SELECT version_num FROM alembic_version").fetchall() or [(None,)]
    [(unfinished,)] = connection.execute(_UNFINISHED).fetchall()
    if schema != SCHEMA or unfinished:
        return None
    which = "" if everything else "WHERE state NOT IN ('ended', 'failed')"
    # S608: the text put together here is our own.
    rows = [lease_row(row) for row in _rows(connection, f"SELECT * FROM lease {which} ORDER BY created_at, id")]  # noqa: S608
    attempts: dict[str, list[AttemptRow]] = {}
    of = "" if everything else f"WHERE lease IN (SELECT id FROM lease {which})"  # noqa: S608
    for row in _rows(connection, f"SELECT * FROM attempt {of} ORDER BY lease, n"):  # noqa: S608
        attempts.setdefault(row["lease"], []).append(attempt_row(row))
    return lease_views(rows, attempts, env)


def _rows(connection: sqlite3.Connection, query: str) -> list[dict[str, Any]]:
    cursor = connection.execute(query)
    names = [column[0] for column in cursor.description]
    times = [place for place, name in enumerate(names) if name in TIMES]
    money = [place for place, name in enumerate(names) if name in MONEY]
    found = []
    for values in cursor:
        row = list(values)
        for place in times:
            if (stamp := row[place]) is not None:
                row[place] = _EPOCH + timedelta(0, 0, stamp)
        for place in money:
            if (text := row[place]) is not None:
                row[place] = Decimal(text)
        found.append(dict(zip(names, row, strict=False)))
    return found
