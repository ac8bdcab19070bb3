"""Keys, files, base URLs, the account and what `check` shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from providers.base import Context, key_account
from providers.env import ManualEnv
from providers.errors import AuthFailed, Forbidden, Unavailable
from providers.http import BadUrl
from providers.paperspace import credentials
from providers.paperspace.adapter import Paperspace
from tests.unit.paperspace.conftest import KEY, TEAM, page, refusal


def write(home: Path, name: str, text: str) -> None:
    (home / ".paperspace").mkdir(exist_ok=True)
    (home / ".paperspace" / name).write_text(text)


def test_the_variable_wins_over_every_file(tmp_path: Path) -> None:
    write(tmp_path, "credentials.toml", '[keys]\nblue = "from-file"\n')
    found = credentials.load({"PAPERSPACE_API_KEY": " from-env ", "HOME": str(tmp_path)})
    assert found == ("from-env", "PAPERSPACE_API_KEY")
    assert "from-env" not in repr(found)


def test_the_key_of_the_team_in_use_is_taken(tmp_path: Path) -> None:
    write(tmp_path, "credentials.toml", 'version = 1\n[keys]\nblue = "key-b"\n"red team" = "key-r"\n')
    write(tmp_path, "config.toml", 'version = 1\nteam = "red team"\n')
    assert credentials.load({"HOME": str(tmp_path)}).key == "key-r"


def test_the_only_team_needs_no_choice(tmp_path: Path) -> None:
    write(tmp_path, "credentials.toml", '[keys]\nblue = "key-b"\n')
    assert credentials.load({"HOME": str(tmp_path)}).key == "key-b"


@pytest.mark.parametrize("config", ["version = 1\n", 'team = "green"\n'])
def test_of_several_teams_none_is_guessed(tmp_path: Path, config: str) -> None:
    write(tmp_path, "credentials.toml", '[keys]\nblue = "key-b"\nred = "key-r"\n')
    write(tmp_path, "config.toml", config)
    with pytest.raises(AuthFailed, match="PAPERSPACE_API_KEY") as caught:
        credentials.load({"HOME": str(tmp_path)})
    assert "key-" not in caught.value.message


def test_the_old_file_is_read_last(tmp_path: Path) -> None:
    write(tmp_path, "config.json", '{"apiKey": "old-key"}')
    assert credentials.load({"HOME": str(tmp_path)}) == ("old-key", "~/.paperspace/config.json")


@pytest.mark.parametrize("text", ["[keys\nblue = 'top-secret'", "\x00"])
def test_an_unreadable_file_is_said_without_its_text(tmp_path: Path, text: str) -> None:
    write(tmp_path, "credentials.toml", text)
    with pytest.raises(AuthFailed) as caught:
        credentials.load({"HOME": str(tmp_path)})
    assert "top-secret" not in caught.value.message


def test_a_key_that_no_header_can_carry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AuthFailed):
        credentials.load({"PAPERSPACE_API_KEY": "two words", "HOME": str(tmp_path)})


async def test_without_a_key_nothing_is_asked(tmp_path: Path, env: ManualEnv, wire: respx.MockRouter) -> None:
    cloud = Paperspace(Context(env=env, settings={"HOME": str(tmp_path)}))
    for call in (cloud.account(), cloud.owned(), cloud.check()):
        with pytest.raises(AuthFailed):
            await call
    assert not wire.calls


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "https://api.paperspace.com/v1/auth/session"),
        ({"PAPERSPACE_API_URL": "https://proxy.example/deep/v1/"}, "https://proxy.example/deep/v1/auth/session"),
        ({"ORCH_PAPERSPACE_URL": "http://127.0.0.1:9/paperspace"}, "http://127.0.0.1:9/paperspace/v1/auth/session"),
        (
            {"ORCH_PAPERSPACE_URL": "http://127.0.0.1:9", "PAPERSPACE_API_URL": "https://proxy.example/v1"},
            "http://127.0.0.1:9/v1/auth/session",
        ),
    ],
)
async def test_each_base_url_leads_to_the_vendors_path(context: Context, settings: dict[str, str], url: str) -> None:
    cloud = Paperspace(Context(env=context.env, settings={**context.settings, **settings}))
    with respx.mock() as router:
        route = router.get(url).respond(json={"team": {"id": "te1"}})
        assert await cloud.account() == "te1"
    assert route.calls.last.request.headers["authorization"] == f"Bearer {KEY}"
    await cloud.aclose()


@pytest.mark.parametrize("name", ["ORCH_PAPERSPACE_URL", "PAPERSPACE_API_URL"])
def test_no_key_goes_out_in_the_clear(env: ManualEnv, name: str) -> None:
    with pytest.raises(BadUrl, match=name):
        Paperspace(Context(env=env, settings={name: "http://api.example.com/v1"}))


async def test_the_account_is_the_team_and_asked_for_once(cloud: Paperspace, wire: respx.MockRouter) -> None:
    assert await cloud.account() == TEAM
    assert await cloud.account() == TEAM
    assert wire["session"].call_count == 1


async def test_a_session_without_a_team_gives_a_hash_of_the_key(cloud: Paperspace, wire: respx.MockRouter) -> None:
    wire["session"].respond(json={"user": {"id": "u1"}})
    assert await cloud.account() == key_account("paperspace", KEY)


async def test_no_session_is_a_refused_key(cloud: Paperspace, wire: respx.MockRouter) -> None:
    wire["session"].respond(content=b"null", headers={"content-type": "application/json"})
    with pytest.raises(AuthFailed):
        await cloud.account()


async def test_an_outage_never_changes_the_account(cloud: Paperspace, wire: respx.MockRouter) -> None:
    wire["session"].respond(status_code=503, json=refusal("INTERNAL_SERVER_ERROR", "sorry"))
    with pytest.raises(Unavailable):
        await cloud.account()


async def test_check_tells_account_limits_standing_and_clock(
    cloud: Paperspace, wire: respx.MockRouter, machine: Callable[..., dict[str, Any]]
) -> None:
    rows = [machine(), machine(id="ps2", name="mine"), machine(id="ps3", dtDeleted="2026-01-01T00:00:00Z")]
    date = {"date": "Sun, 22 Nov 2026 11:59:57 GMT"}
    wire.get("/machines").respond(json=page(*rows), headers=date)
    wire["standing"].respond(json={"hasPaymentMethod": True, "isInGoodStanding": True}, headers=date)
    wire.get("/health").respond(text='"HEALTHY"', headers=date)
    lines = await cloud.check()
    assert lines["account"] == TEAM
    assert "PAPERSPACE_API_KEY" in lines["key"]
    assert lines["quota"] == "at most 5 machines; there are 2, 1 of this installation"
    assert "in good standing" in lines["balance"]
    assert lines["service"] == "HEALTHY"
    assert lines["clock_skew"] == "3 s"
    assert "fix" not in lines
    assert KEY not in str(lines)


async def test_check_says_what_to_do_about_a_bad_standing(cloud: Paperspace, wire: respx.MockRouter) -> None:
    wire.get("/machines").respond(json=page())
    wire.get("/health").mock(side_effect=httpx.ConnectError("no"))
    wire["standing"].respond(json={"hasPaymentMethod": False, "isInGoodStanding": False, "messages": ["card expired"]})
    lines = await cloud.check()
    assert "card expired" in lines["balance"]
    assert "payment method" in lines["fix"]
    assert lines["service"] == "unknown"


async def test_a_right_that_is_missing_for_the_standing_does_not_fail_the_check(
    cloud: Paperspace, wire: respx.MockRouter
) -> None:
    wire.get("/machines").respond(json=page())
    wire.get("/health").respond(text="HEALTHY")
    wire["standing"].respond(status_code=403, json=refusal("FORBIDDEN", "admins only"))
    assert (await cloud.check())["balance"].startswith("not told")


async def test_a_forbidden_list_is_no_empty_cloud(cloud: Paperspace, wire: respx.MockRouter) -> None:
    wire.get("/machines").respond(status_code=403, json=refusal("FORBIDDEN", "no"))
    with pytest.raises(Forbidden):
        await cloud.owned()
