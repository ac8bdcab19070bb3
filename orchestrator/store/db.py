"""One connection layer for both databases: async outside, and for SQLite synchronous inside.

SQLite answers in microseconds, so its statements run inline in the event loop: no thread, and virtual time in
the simulation stays deterministic. PostgreSQL goes through SQLAlchemy's async engine. Nobody awaits anything but the
database inside a transaction.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

from orchestrator.errors import ConfigError
from orchestrator.store.tables import SCHEMA

#: Less than a claim lasts (`store.CLAIM_S`): a process that waits for the file must not lose its claims by it.
BUSY_S = 10.0
_NETWORK_FS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "afs", "glusterfs", "fuse.glusterfs"})


class Tx(Protocol):
    """One open transaction."""

    async def rows(self, statement: sa.Executable) -> list[dict[str, Any]]:
        """Run *statement* and return its rows."""

    async def run(self, statement: sa.Executable) -> int:
        """Run *statement* and return how many rows it changed."""

    async def lock(self, *what: str) -> None:
        """Be the only transaction that looks at *what* and then writes it, until this one ends.

        A row that is not there yet cannot be locked, so on PostgreSQL this is an advisory lock on the name.
        """


class Database(Protocol):
    """Opens transactions."""

    dialect: str

    def begin(self, *, write: bool) -> contextlib.AbstractAsyncContextManager[Tx]:
        """A transaction that commits at the end of the block and rolls back if it raises."""

    async def close(self) -> None:
        """Close all connections."""


class _SyncTx:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    async def rows(self, statement: sa.Executable) -> list[dict[str, Any]]:
        return _dicts(self._connection.execute(statement))

    async def run(self, statement: sa.Executable) -> int:
        return int(self._connection.execute(statement).rowcount)

    async def lock(self, *what: str) -> None:
        """Nothing to do: a writer has the whole file since BEGIN IMMEDIATE."""


class SqliteDatabase:
    """SQLite with a write-ahead log, and every commit on the disk before it counts."""

    dialect = "sqlite"

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            refuse_network_folder(path.parent)
        url = sa.URL.create("sqlite", database=str(path) if path else None)
        self._engine = sa.create_engine(
            url,
            connect_args={"check_same_thread": False, "timeout": BUSY_S, "isolation_level": None},
            poolclass=sa.pool.StaticPool if path is None else sa.pool.QueuePool,
        )
        sa.event.listen(self._engine, "connect", _prepare)

    @contextlib.asynccontextmanager
    async def begin(self, *, write: bool) -> AsyncIterator[Tx]:
        with self._engine.connect() as connection:
            # The driver is in autocommit mode: we say BEGIN ourselves, and IMMEDIATE for writers, so that two
            # processes queue for the lock at the start instead of failing in the middle.
            connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield _SyncTx(connection)
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")

    def migrate(self) -> None:
        """Bring the schema to `SCHEMA`.

        Raises:
            ConfigError: the store is of a newer version, or is no store of ours.
        """
        with self._engine.connect() as connection:
            found = _schema_of(connection)
            if found == SCHEMA:
                return
            # Two commands may open a new store at once: the second waits here and then finds it done.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                found = _schema_of(connection)
                if found != SCHEMA:
                    upgrade(connection, found)
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")

    async def close(self) -> None:
        self._engine.dispose()


class _AsyncTx:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def rows(self, statement: sa.Executable) -> list[dict[str, Any]]:
        return _dicts(await self._connection.execute(statement))

    async def run(self, statement: sa.Executable) -> int:
        return int((await self._connection.execute(statement)).rowcount)

    async def lock(self, *what: str) -> None:
        name = sa.func.hashtextextended("orch:" + ":".join(what), 0)
        await self._connection.execute(sa.select(sa.func.pg_advisory_xact_lock(name)))


class PostgresDatabase:
    """PostgreSQL through psycopg 3, for several daemons on one store (extra ``postgres``)."""

    dialect = "postgresql"

    def __init__(self, url: str) -> None:
        from sqlalchemy.ext.asyncio import create_async_engine

        self._engine = create_async_engine(url, pool_pre_ping=True)

    @contextlib.asynccontextmanager
    async def begin(self, *, write: bool) -> AsyncIterator[Tx]:
        async with self._engine.begin() as connection:
            yield _AsyncTx(connection)

    async def migrate(self) -> None:
        """Bring the schema to `SCHEMA`; see `SqliteDatabase.migrate`."""
        async with self._engine.begin() as connection:
            # One migrator at a time; the number is arbitrary but ours.
            await connection.execute(sa.text("SELECT pg_advisory_xact_lock(712004011)"))
            found = await connection.run_sync(_schema_of)
            if found != SCHEMA:
                await connection.run_sync(upgrade, found)

    async def close(self) -> None:
        await self._engine.dispose()


def upgrade(connection: sa.Connection, found: str | None) -> None:
    """Run the migrations after *found* on an open connection.

    Raises:
        ConfigError: *found* is newer than this program.
    """
    if found is not None and found > SCHEMA:
        raise ConfigError(
            f"the store has schema {found}, this orch knows {SCHEMA}: it was made by a newer version",
            hint="install the newer gpu-orch, or use another state folder (--state-dir)",
        )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, SCHEMA)


def refuse_network_folder(folder: Path) -> None:
    """SQLite's write-ahead log breaks on network file systems.

    Raises:
        ConfigError: *folder* lies on one.
    """
    kind = filesystem_of(folder)
    if kind in _NETWORK_FS:
        raise ConfigError(
            f"the state folder {folder} lies on a network file system ({kind}), where SQLite loses data",
            hint="use a local folder (--state-dir or ORCH_STATE_DIR), or PostgreSQL (ORCH_DATABASE_URL)",
        )


def filesystem_of(folder: Path, mounts: str = "/proc/self/mounts") -> str | None:
    """The type of the file system that holds *folder*, or None where the system does not say."""
    try:
        lines = Path(mounts).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    target = os.path.realpath(folder)
    best, kind = "", None
    for line in lines:
        _, point, fstype, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fstype
    return kind


def _dicts(result: sa.Result[Any]) -> list[dict[str, Any]]:
    keys = list(result.keys())
    return [dict(zip(keys, row, strict=True)) for row in result.fetchall()]


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _schema_of(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)
