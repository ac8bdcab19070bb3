"""The store: every durable record and every rule about writing it.

Each method is one transaction. A lease is written only by whoever holds its claim: `claim` hands out a fence
number, and a later write with an older fence raises `LostClaim`. Wanting a lease gone (`want_down`) is an
intent that anybody may record.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from orchestrator.errors import ConfigError, NoSuchLease
from orchestrator.models import Event
from orchestrator.store import holder
from orchestrator.store import tables as t
from orchestrator.store.db import Database, PostgresDatabase, SqliteDatabase, Tx
from orchestrator.store.rows import (
    OPEN_ATTEMPT,
    OPEN_LEASE,
    AttemptRow,
    Debris,
    HoldRow,
    LeaseRow,
    attempt_row,
    attempt_values,
    lease_row,
    lease_values,
)
from providers.env import Env

CLAIM_S = 15.0
_json = msgspec.json.encode


class LostClaim(Exception):
    """Somebody else has taken the lease over; the caller's result is thrown away."""


async def open_store(target: Path | str | None, env: Env) -> Store:
    """Open the store, making or migrating it as needed.

    Args:
        target: a file for SQLite, a ``postgresql`` URL, or None for one in memory.

    Raises:
        ConfigError: unusable folder, newer schema, unknown kind of URL.
    """
    if isinstance(target, str) and target.startswith(("postgresql", "postgres:")):
        scheme, _, rest = target.partition(":")
        del scheme
        postgres = PostgresDatabase(f"postgresql+psycopg:{rest}")
        await postgres.migrate()
        return Store(postgres, env)
    path = _sqlite_path(target)
    try:
        sqlite = SqliteDatabase(path)
        sqlite.migrate()
    except sa.exc.DatabaseError as error:
        raise ConfigError(
            f"the store {path} cannot be opened: {error.orig}",
            hint="check that its folder is writable and its disk not full, or use --state-dir",
        ) from None
    return Store(sqlite, env)


def _sqlite_path(target: Path | str | None) -> Path | None:
    if target is None or isinstance(target, Path):
        return target
    if target.startswith("sqlite:///"):
        return Path(target.removeprefix("sqlite:///"))
    raise ConfigError(
        f"ORCH_DATABASE_URL={target.split('@')[-1]!r} is neither sqlite:///FILE nor postgresql://...",
        hint="leave it unset to keep the store in the state folder",
    )


class Store:
    """All records of one installation."""

    def __init__(self, database: Database, env: Env) -> None:
        self._db = database
        self._env = env
        self.holder = holder.new(env)
        #: Leases that a task of this process works on right now: not to be claimed by another task beside it.
        self._held: set[str] = set()

    async def close(self) -> None:
        """Close all connections."""
        await self._db.close()

    # -- the installation ---------------------------------------------------------------------------------

    async def owner_id(self) -> str:
        """The installation's id, 128 random bits as 32 hexadecimal digits, made at first use."""
        async with self._db.begin(write=True) as tx:
            await tx.lock("owner")
            found = await tx.rows(sa.select(t.meta.c.value).where(t.meta.c.key == "owner"))
            if found:
                return str(found[0]["value"])
            # The id must be unguessable and unique across installations, so it does not come from Env.
            fresh = secrets.token_hex(16)
            await tx.run(t.meta.insert().values(key="owner", value=fresh))
            return fresh

    # -- leases -------------------------------------------------------------------------------------------

    async def add_lease(self, row: LeaseRow) -> None:
        """Save a new lease, claimed by this process.

        Raises:
            ConfigError: an open lease has that name already.
        """
        row.owner, row.owner_until, row.fence = self.holder, self._until(), 1
        async with self._db.begin(write=True) as tx:
            await tx.lock("lease-name", row.name)
            clash = sa.select(t.lease.c.id).where(t.lease.c.name == row.name, t.lease.c.state.in_(OPEN_LEASE))
            if await tx.rows(clash):
                raise ConfigError(
                    f"there is an open lease named {row.name!r} already",
                    hint=f"choose another --name, or end that one: orch down {row.name}",
                )
            await tx.run(t.lease.insert().values(**lease_values(row)))
        self._held.add(row.id)

    async def find_lease(self, ref: str) -> LeaseRow:
        """The lease with that id, name (the newest, open ones first) or unique id prefix.

        Raises:
            NoSuchLease: there is none, or the prefix fits several.
        """
        async with self._db.begin(write=False) as tx:
            wanted = sa.select(t.lease).where(sa.or_(t.lease.c.id == ref, t.lease.c.name == ref))
            rows = [lease_row(row) for row in await tx.rows(wanted)]
            if not rows and len(ref) >= 3:
                prefix = sa.select(t.lease).where(t.lease.c.id.startswith(ref, autoescape=True)).limit(2)
                rows = [lease_row(row) for row in await tx.rows(prefix)]
                if len(rows) > 1:
                    raise NoSuchLease(f"{ref!r} fits several leases", hint="give more of the id")
        if not rows:
            raise NoSuchLease(f"there is no lease {ref!r}", hint="`orch ps --all` lists them")
        return max(rows, key=lambda row: (row.state in OPEN_LEASE, row.created_at))

    async def leases(self, *, everything: bool = False) -> list[LeaseRow]:
        """Open leases, or all, oldest first."""
        query = sa.select(t.lease).order_by(t.lease.c.created_at, t.lease.c.id)
        if not everything:
            query = query.where(t.lease.c.state.in_(OPEN_LEASE))
        async with self._db.begin(write=False) as tx:
            return [lease_row(row) for row in await tx.rows(query)]

    async def lease(self, lease_id: str) -> LeaseRow:
        """The lease with exactly that id."""
        async with self._db.begin(write=False) as tx:
            rows = await tx.rows(sa.select(t.lease).where(t.lease.c.id == lease_id))
        if not rows:
            raise NoSuchLease(f"there is no lease {lease_id!r}")
        return lease_row(rows[0])

    async def want_down(self, lease_id: str) -> None:
        """Record that this lease is wanted gone."""
        async with self._db.begin(write=True) as tx:
            await tx.run(
                t.lease.update().where(t.lease.c.id == lease_id).values(wanted="down", version=t.lease.c.version + 1)
            )

    async def wanted(self, lease_id: str) -> str:
        """What is wanted of a lease now: "up" or "down"."""
        async with self._db.begin(write=False) as tx:
            rows = await tx.rows(sa.select(t.lease.c.wanted).where(t.lease.c.id == lease_id))
        return str(rows[0]["wanted"]) if rows else "down"

    async def claim(self, lease_id: str) -> LeaseRow | None:
        """Take a lease over if nobody works on it; None if somebody does.

        A claim ends by release, by its time (`CLAIM_S`), or at once when its holder was a process of this
        computer that is no more.
        """
        if lease_id in self._held:
            return None
        now = self._env.now()
        async with self._db.begin(write=True) as tx:
            query = sa.select(t.lease).where(t.lease.c.id == lease_id)
            if self._db.dialect == "postgresql":
                query = query.with_for_update(skip_locked=True)
            rows = await tx.rows(query)
            if not rows:
                return None
            row = lease_row(rows[0])
            taken = row.owner not in (None, self.holder) and row.owner_until is not None
            if taken and row.owner_until > now and not holder.is_dead(row.owner):  # type: ignore[operator]
                return None
            row.owner, row.owner_until = self.holder, self._until()
            row.fence += 1
            await tx.run(
                t.lease.update()
                .where(t.lease.c.id == lease_id)
                .values(owner=row.owner, owner_until=row.owner_until, fence=row.fence)
            )
        self._held.add(lease_id)
        return row

    async def renew(self) -> None:
        """Extend every claim of this process."""
        async with self._db.begin(write=True) as tx:
            await tx.run(
                t.lease.update()
                .where(t.lease.c.owner == self.holder, t.lease.c.owner_until.is_not(None))
                .values(owner_until=self._until())
            )

    async def release(self, lease_id: str) -> None:
        """Give a claim up, so that anybody may go on."""
        self._held.discard(lease_id)
        async with self._db.begin(write=True) as tx:
            await tx.run(
                t.lease.update()
                .where(t.lease.c.id == lease_id, t.lease.c.owner == self.holder)
                .values(owner=None, owner_until=None)
            )

    async def save_lease(self, row: LeaseRow) -> None:
        """Write a lease whose claim we hold. `wanted` is never overwritten.

        Raises:
            LostClaim: somebody else has taken it over.
        """
        values = lease_values(row)
        for kept in ("id", "wanted", "owner", "owner_until", "fence", "version"):
            values.pop(kept)
        async with self._db.begin(write=True) as tx:
            changed = await tx.run(
                t.lease.update()
                .where(t.lease.c.id == row.id, t.lease.c.fence == row.fence)
                .values(**values, version=t.lease.c.version + 1)
            )
            if changed != 1:
                self._held.discard(row.id)
                raise LostClaim(row.id)

    # -- attempts -----------------------------------------------------------------------------------------

    async def add_attempt(self, row: AttemptRow, lease: LeaseRow) -> None:
        """Save the intent, before the provider is asked. Raises LostClaim."""
        async with self._db.begin(write=True) as tx:
            await self._fenced(tx, lease)
            await tx.run(t.attempt.insert().values(**attempt_values(row)))
            await tx.run(
                t.lease.update()
                .where(t.lease.c.id == lease.id)
                .values(attempt_n=row.n, state=lease.state, version=t.lease.c.version + 1)
            )

    async def save_attempt(self, row: AttemptRow, lease: LeaseRow) -> None:
        """Write an attempt of a lease whose claim we hold. Raises LostClaim."""
        async with self._db.begin(write=True) as tx:
            await self._fenced(tx, lease)
            await tx.run(t.attempt.update().where(t.attempt.c.token == row.token).values(**attempt_values(row)))

    async def attempts(self, lease_ids: Iterable[str] | None = None) -> dict[str, list[AttemptRow]]:
        """Attempts by lease, in order; of all leases if None."""
        query = sa.select(t.attempt).order_by(t.attempt.c.lease, t.attempt.c.n)
        if lease_ids is not None:
            ids = list(lease_ids)
            # Databases limit the number of parameters; past that a full read is faster anyway.
            if len(ids) <= 500:
                query = query.where(t.attempt.c.lease.in_(ids))
        async with self._db.begin(write=False) as tx:
            rows = await tx.rows(query)
        found: dict[str, list[AttemptRow]] = {}
        for row in rows:
            found.setdefault(row["lease"], []).append(attempt_row(row))
        return found

    async def watched(self) -> list[AttemptRow]:
        """Closed attempts whose outcome stayed unknown and that may still turn up."""
        query = sa.select(t.attempt).where(t.attempt.c.state == "closed", t.attempt.c.watch_until > self._env.now())
        async with self._db.begin(write=False) as tx:
            return [attempt_row(row) for row in await tx.rows(query)]

    async def open_attempts(self) -> list[AttemptRow]:
        """Every attempt that is not closed, of any lease."""
        query = sa.select(t.attempt).where(t.attempt.c.state.in_(OPEN_ATTEMPT))
        async with self._db.begin(write=False) as tx:
            return [attempt_row(row) for row in await tx.rows(query)]

    # -- debris -------------------------------------------------------------------------------------------

    async def add_debris(self, items: Sequence[Debris]) -> None:
        """Save what a failed call left behind; what is known already stays as it is."""
        async with self._db.begin(write=True) as tx:
            for item in sorted(items, key=lambda one: (one.provider, one.account, one.instance_id)):
                await tx.lock("debris", item.provider, item.account, item.instance_id)
                same = sa.and_(
                    t.debris.c.provider == item.provider,
                    t.debris.c.account == item.account,
                    t.debris.c.instance_id == item.instance_id,
                )
                if not await tx.rows(sa.select(t.debris.c.id).where(same)):
                    values = msgspec.structs.asdict(item)
                    values.pop("id")
                    values["handle"] = _json(item.handle).decode()
                    await tx.run(t.debris.insert().values(**values))

    async def debris(self, token: str | None = None) -> list[Debris]:
        """What was left behind and is not gone yet, of one attempt or of all."""
        query = sa.select(t.debris).where(t.debris.c.gone_at.is_(None))
        if token is not None:
            query = query.where(t.debris.c.token == token)
        async with self._db.begin(write=False) as tx:
            rows = await tx.rows(query)
        return [Debris(**{**row, "handle": msgspec.json.decode(row["handle"])}) for row in rows]

    async def debris_gone(self, item: Debris) -> None:
        """Record that it is gone."""
        async with self._db.begin(write=True) as tx:
            await tx.run(t.debris.update().where(t.debris.c.id == item.id).values(gone_at=self._env.now()))

    # -- events -------------------------------------------------------------------------------------------

    async def add_event(
        self,
        kind: str,
        message: str,
        *,
        lease: str | None = None,
        attempt: int | None = None,
        provider: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Event:
        """Append one event and return it."""
        now = self._env.now()
        values = {
            "at": now,
            "kind": kind,
            "lease": lease,
            "attempt": attempt,
            "provider": provider,
            "message": message,
        }
        body = dict(data or {})
        async with self._db.begin(write=True) as tx:
            text = _json(body).decode()
            rows = await tx.rows(t.event.insert().values(**values, data=text).returning(t.event.c.id))
        return Event(id=rows[0]["id"], data=body, **values)  # type: ignore[arg-type]

    async def events(self, lease: str | None = None, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """Events after number *after*, of one lease or of all, oldest first."""
        query = sa.select(t.event).where(t.event.c.id > after).order_by(t.event.c.id).limit(limit)
        if lease is not None:
            query = query.where(t.event.c.lease == lease)
        async with self._db.begin(write=False) as tx:
            rows = await tx.rows(query)
        return [Event(**{**row, "data": msgspec.json.decode(row["data"])}) for row in rows]

    # -- holds --------------------------------------------------------------------------------------------

    async def place_hold(self, row: HoldRow, seconds: float) -> HoldRow:
        """Hold a place back for *seconds*; twice as long with every repeat, and at most a day.

        A place that stayed quiet for as long as it had been held starts afresh.
        """
        now = self._env.now()
        async with self._db.begin(write=True) as tx:
            await tx.lock("hold", row.key)
            rows = await tx.rows(sa.select(t.hold).where(t.hold.c.key == row.key))
            repeats = 1
            if rows:
                old = rows[0]
                quiet_for = now - old["until"]
                if quiet_for < old["until"] - old["placed_at"]:
                    repeats = int(old["repeats"]) + 1
            row.repeats, row.placed_at = repeats, now
            row.until = now + timedelta(seconds=min(seconds * 2 ** min(repeats - 1, 16), 86_400.0))
            values = {
                "body": _json(row).decode(),
                "until": row.until,
                "repeats": repeats,
                "placed_at": now,
            }
            if rows:
                await tx.run(t.hold.update().where(t.hold.c.key == row.key).values(**values))
            else:
                await tx.run(t.hold.insert().values(key=row.key, **values))
        return row

    async def holds(self) -> list[HoldRow]:
        """Every hold that is in force."""
        async with self._db.begin(write=False) as tx:
            rows = await tx.rows(sa.select(t.hold.c.body).where(t.hold.c.until > self._env.now()))
        return [msgspec.json.decode(row["body"], type=HoldRow) for row in rows]

    # -- pacing -------------------------------------------------------------------------------------------

    async def take_turn(self, key: str, spacing_s: float) -> float:
        """Reserve the next turn under *key*, *spacing_s* after the one before; returns seconds to wait."""
        now = self._env.now()
        async with self._db.begin(write=True) as tx:
            await tx.lock("pace", key)
            rows = await tx.rows(sa.select(t.pace.c.next_at).where(t.pace.c.key == key))
            turn = max(now, rows[0]["next_at"]) if rows else now
            values = {"next_at": turn + timedelta(seconds=spacing_s)}
            if rows:
                await tx.run(t.pace.update().where(t.pace.c.key == key).values(**values))
            else:
                await tx.run(t.pace.insert().values(key=key, **values))
        return float((turn - now).total_seconds())

    # -- market memory ------------------------------------------------------------------------------------

    async def save_offers(self, key: str, account: str, offers: bytes) -> None:
        """Remember a source's last good answer."""
        async with self._db.begin(write=True) as tx:
            await tx.lock("offers", key)
            await tx.run(t.offer_cache.delete().where(t.offer_cache.c.key == key))
            await tx.run(t.offer_cache.insert().values(key=key, account=account, at=self._env.now(), offers=offers))

    async def cached_offers(self, key: str) -> tuple[datetime, str, bytes] | None:
        """A source's last good answer: when, which account, offers as JSON."""
        async with self._db.begin(write=False) as tx:
            rows = await tx.rows(sa.select(t.offer_cache).where(t.offer_cache.c.key == key))
        return (rows[0]["at"], rows[0]["account"], rows[0]["offers"]) if rows else None

    async def note_boot(self, key: str, *, booted: bool) -> None:
        """Count a boot that worked or failed at a place."""
        async with self._db.begin(write=True) as tx:
            await tx.lock("place", key)
            rows = await tx.rows(sa.select(t.place).where(t.place.c.key == key))
            old = rows[0] if rows else {"booted": 0.0, "failed": 0.0}
            values = {
                "booted": old["booted"] + (1.0 if booted else 0.0),
                "failed": old["failed"] + (0.0 if booted else 1.0),
                "updated_at": self._env.now(),
            }
            if rows:
                await tx.run(t.place.update().where(t.place.c.key == key).values(**values))
            else:
                await tx.run(t.place.insert().values(key=key, **values))

    async def boots(self) -> dict[str, tuple[float, float]]:
        """(booted, failed) by place."""
        async with self._db.begin(write=False) as tx:
            rows = await tx.rows(sa.select(t.place))
        return {row["key"]: (row["booted"], row["failed"]) for row in rows}

    # -- inside -------------------------------------------------------------------------------------------

    def _until(self) -> datetime:
        return self._env.now() + timedelta(seconds=CLAIM_S)

    async def _fenced(self, tx: Tx, lease: LeaseRow) -> None:
        query = sa.select(t.lease.c.id).where(t.lease.c.id == lease.id, t.lease.c.fence == lease.fence)
        if self._db.dialect == "postgresql":
            query = query.with_for_update()
        if not await tx.rows(query):
            raise LostClaim(lease.id)
