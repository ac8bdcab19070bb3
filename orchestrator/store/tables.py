"""The tables, on SQLAlchemy Core, for SQLite and PostgreSQL alike.

Times are whole microseconds since 1970 UTC, money is text (exact decimals), documents are JSON text. Changes
go through a migration in `migrations/versions`; `SCHEMA` names the newest one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from orchestrator.store.schema import SCHEMA as SCHEMA

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Time(sa.types.TypeDecorator[datetime]):
    """A UTC time as microseconds, which sorts, compares and indexes the same in every database."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        return None if value is None else (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Money(sa.types.TypeDecorator[Decimal]):
    """An exact decimal as text: SQLite has no decimals, and floats are no money."""

    impl = sa.String(40)
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Any) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Any) -> Decimal | None:
        return None if value is None else Decimal(value)


metadata = sa.MetaData()

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

lease = sa.Table(
    "lease",
    metadata,
    sa.Column("id", sa.String(9), primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    # What is wanted: "up" until somebody wants it gone. A cancel is an intent like any other.
    sa.Column("wanted", sa.String(8), nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("policy", sa.String(200), nullable=False),
    sa.Column("attempt_n", sa.Integer, nullable=False, default=0),
    sa.Column("promised_total_usd", Money),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("running_at", Time),
    sa.Column("ends_at", Time),
    sa.Column("ended_at", Time),
    # Ownership: who works on it, until when, and the fence that every write of the owner must match.
    sa.Column("owner", sa.String(120)),
    sa.Column("owner_until", Time),
    sa.Column("fence", sa.BigInteger, nullable=False, default=0),
    sa.Column("version", sa.BigInteger, nullable=False, default=0),
    sa.Index("lease_open", "state", "owner_until"),
    sa.Index("lease_name", "name"),
)

attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("token", sa.String(25), primary_key=True),
    sa.Column("lease", sa.String(9), sa.ForeignKey("lease.id"), nullable=False),
    sa.Column("n", sa.Integer, nullable=False),
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("outcome", sa.String(40)),
    sa.Column("provider", sa.String(40), nullable=False),
    sa.Column("account", sa.String(200), nullable=False),
    sa.Column("offer", sa.Text, nullable=False),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("promised_usd_per_hour", Money, nullable=False),
    sa.Column("instance_id", sa.String(500)),
    sa.Column("handle", sa.Text),
    sa.Column("address", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("started_at", Time, nullable=False),
    sa.Column("accepted_at", Time),
    sa.Column("running_at", Time),
    sa.Column("asked_end_at", Time),
    sa.Column("last_seen_at", Time),
    sa.Column("ended_at", Time),
    sa.Column("receipt", sa.Text),
    # An attempt whose outcome stayed unknown is looked for until then, and ended on sight.
    sa.Column("watch_until", Time),
    sa.Index("attempt_lease", "lease", "n", unique=True),
    sa.Index("attempt_state", "state"),
    sa.Index("attempt_watch", "watch_until"),
)

debris = sa.Table(
    "debris",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("token", sa.String(25), nullable=False),
    sa.Column("provider", sa.String(40), nullable=False),
    sa.Column("account", sa.String(200), nullable=False),
    sa.Column("instance_id", sa.String(500), nullable=False),
    sa.Column("handle", sa.Text, nullable=False),
    sa.Column("found_at", Time, nullable=False),
    sa.Column("gone_at", Time),
    sa.UniqueConstraint("provider", "account", "instance_id", name="debris_once"),
)

event = sa.Table(
    "event",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", Time, nullable=False),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("lease", sa.String(9)),
    sa.Column("attempt", sa.Integer),
    sa.Column("provider", sa.String(40)),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Index("event_lease", "lease", "id"),
)

hold = sa.Table(
    "hold",
    metadata,
    sa.Column("key", sa.String(700), primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("until", Time, nullable=False),
    sa.Column("repeats", sa.Integer, nullable=False),
    sa.Column("placed_at", Time, nullable=False),
)

pace = sa.Table(
    "pace",
    metadata,
    sa.Column("key", sa.String(300), primary_key=True),
    sa.Column("next_at", Time, nullable=False),
)

offer_cache = sa.Table(
    "offer_cache",
    metadata,
    sa.Column("key", sa.String(400), primary_key=True),
    sa.Column("at", Time, nullable=False),
    sa.Column("account", sa.String(200), nullable=False),
    sa.Column("offers", sa.LargeBinary, nullable=False),
)

place = sa.Table(
    "place",
    metadata,
    sa.Column("key", sa.String(400), primary_key=True),
    sa.Column("booted", sa.Float, nullable=False),
    sa.Column("failed", sa.Float, nullable=False),
    sa.Column("updated_at", Time, nullable=False),
)
