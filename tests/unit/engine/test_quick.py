"""`orch ps` without the engine shows what the engine shows, or steps aside."""

from __future__ import annotations

import sys
from pathlib import Path

import sqlalchemy as sa

from orchestrator import quick
from orchestrator.store import tables
from orchestrator.store.schema import MONEY, TIMES
from tests.unit.engine.conftest import House


def test_the_columns_of_times_and_money_are_those_of_the_tables() -> None:
    found: dict[type, set[str]] = {tables.Time: set(), tables.Money: set()}
    others: set[str] = set()
    for table in tables.metadata.tables.values():
        for column in table.columns:
            found.get(type(column.type), others).add(column.name)
    assert found[tables.Time] == TIMES
    assert found[tables.Money] == MONEY
    assert not others & (TIMES | MONEY)


async def test_it_shows_exactly_what_the_engine_shows(house: House) -> None:
    async with house.orch() as orch:
        await orch.up(house.request(name="a"))
        await orch.up(house.request(name="b", replicas=2))
        await orch.down("a")
        for everything in (False, True):
            assert quick.leases(house.state / "orch.db", house.env, everything=everything) == await orch.leases(
                everything=everything
            )


async def test_it_steps_aside_when_anything_is_unfinished(house: House) -> None:
    async with house.orch() as orch:
        file = house.state / "orch.db"
        await orch.up(house.request(name="a"))
        assert quick.leases(file, house.env) is not None
        for change in (
            "UPDATE lease SET state = 'booting'",
            "UPDATE lease SET state = 'running', wanted = 'down'",
            "UPDATE lease SET wanted = 'up'; UPDATE attempt SET state = 'ending'",
            "UPDATE attempt SET state = 'live'; UPDATE alembic_version SET version_num = '0000'",
        ):
            async with orch.store._db.begin(write=True) as tx:
                for statement in change.split(";"):
                    await tx.run(sa.text(statement))
            assert quick.leases(file, house.env) is None, change


def test_it_steps_aside_where_there_is_no_store(house: House, tmp_path: Path) -> None:
    assert quick.leases(tmp_path / "none.db", house.env) is None
    (tmp_path / "bad.db").write_text("no database" * 200, encoding="utf-8")
    assert quick.leases(tmp_path / "bad.db", house.env) is None


def test_the_state_folder_is_left_to_the_engine_where_a_file_may_have_a_say(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert quick.state_dir(None, {"ORCH_STATE_DIR": "/x"}) == Path("/x")
    assert quick.state_dir(None, {"XDG_STATE_HOME": "/y"}) == Path("/y/orch")
    assert quick.state_dir("/given", {"ORCH_STATE_DIR": "/x"}) == Path("/given")
    assert quick.state_dir(None, {"ORCH_DATABASE_URL": "postgresql://h/d"}) is None
    (tmp_path / ".env").write_text("ORCH_STATE_DIR=/z\n", encoding="utf-8")
    assert quick.state_dir(None, {}) is None


def test_it_needs_no_sqlalchemy() -> None:
    import subprocess

    program = "import sys, orchestrator.quick; print('sqlalchemy' in sys.modules, 'pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
