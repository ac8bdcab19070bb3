"""`orch providers check`: what is found out of each provider, and what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters import Adapters
from orchestrator.checkup import check
from orchestrator.errors import UsageError
from orchestrator.store import Store, open_store
from providers.base import Context, Listing, Provider, Query
from providers.env import ManualEnv
from providers.errors import AuthFailed, Forbidden, NoFunds, Unavailable
from providers.fake import FakeCloud, connect

OWNER = "0123456789abcdef0123456789abcdef"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    found = await open_store(tmp_path / "orch.db", ManualEnv())
    yield found
    await found.close()


def adapter(
    env: ManualEnv,
    *,
    says: dict[str, str] | None = None,
    refuses: Exception | None = None,
    listing: Callable[[], Listing] | None = None,
) -> Provider:
    """The cloud in memory, answering `check` as the test wants."""
    made: Any = connect(FakeCloud(env), Context(env=env, owner=OWNER))

    async def answer() -> dict[str, str]:
        if refuses is not None:
            raise refuses
        return {"account": "acc-1", "key": "accepted (KEY)"} | (says or {})

    made.check = answer
    if listing is not None:

        async def offers(query: Query) -> Listing:
            return listing()

        made.offers = offers
    provider: Provider = made
    return provider


async def one(store: Store, provider: Provider, values: dict[str, str] | None = None) -> dict[str, Any]:
    [row] = await check({"runpod": provider}, ["runpod"], values=values or {}, env=ManualEnv(), store=store)
    return row


async def test_a_provider_that_works_shows_rights_quota_clock_and_offers(store: Store) -> None:
    says = {"rights": "all", "quota": "8 GPUs", "balance": "12 USD", "clock_skew": "3 s", "pods": "none"}
    row = await one(store, adapter(ManualEnv(), says=says), {"RUNPOD_API_KEY": "secret"})
    assert (row["ok"], row["reachable"], row["key_valid"]) == (True, True, True)
    assert (row["account"], row["rights"], row["quota"]) == ("acc-1", "all", "8 GPUs; 12 USD")
    assert row["configured_from"] == "RUNPOD_API_KEY"
    assert row["offers"] >= row["available"] > 0
    assert row["detail"]["pods"] == "none"
    assert row["hint"] is None
    assert "secret" not in str(row)


@pytest.mark.parametrize(
    ("error", "reachable", "valid", "hint"),
    [
        (AuthFailed("no"), True, False, "wrong or revoked"),
        (Forbidden("no"), True, True, "least permissions"),
        (NoFunds("no"), True, True, "put money"),
        (Unavailable("no"), False, None, "try again"),
        (RuntimeError("bug"), None, None, "try again"),
    ],
)
async def test_what_a_refusal_proves(
    error: Exception, reachable: bool | None, valid: bool | None, hint: str, store: Store
) -> None:
    row = await one(store, adapter(ManualEnv(), refuses=error))
    assert (row["ok"], row["reachable"], row["key_valid"]) == (False, reachable, valid)
    assert hint in row["hint"]
    assert row["offers"] is None


@pytest.mark.parametrize(("skew", "off"), [("-400 s", True), ("59 s", False), ("unknown", False)])
async def test_a_clock_that_is_off_is_a_hint(skew: str, off: bool, store: Store) -> None:
    row = await one(store, adapter(ManualEnv(), says={"clock_skew": skew}))
    assert row["ok"]
    assert ("set-ntp" in (row["hint"] or "")) is off


async def test_a_key_that_may_not_list_offers_is_not_ok(store: Store) -> None:
    def refuse() -> Listing:
        raise Forbidden("ec2:DescribeInstanceTypes")

    row = await one(store, adapter(ManualEnv(), listing=refuse))
    assert (row["ok"], row["key_valid"], row["offers"]) == (False, True, None)
    assert "DescribeInstanceTypes" in row["detail"]["error"]
    assert "least permissions" in row["hint"]


async def test_a_provider_without_offers_says_so(store: Store) -> None:
    row = await one(store, adapter(ManualEnv(), listing=lambda: Listing([], note="nothing free")))
    assert (row["ok"], row["offers"], row["detail"]["offers"]) == (True, 0, "nothing free")
    assert "sells nothing" in row["hint"]


async def test_without_credentials_the_hint_says_what_to_set(store: Store) -> None:
    rows = await check({}, [], values={"HOME": "/nowhere"}, env=ManualEnv(), store=store)
    by_name = {row["provider"]: row for row in rows}
    assert {row["ok"] for row in rows} == {None}
    assert "AWS_ACCESS_KEY_ID" in by_name["aws"]["hint"]
    assert "~/.aws/credentials" in by_name["aws"]["hint"]


def unusable() -> Provider:
    raise ValueError("machines.toml:5: gpuu: unknown key")


async def test_an_adapter_that_cannot_be_made_fails_alone(store: Store) -> None:
    adapters = Adapters({"ssh": unusable, "runpod": lambda: adapter(ManualEnv())})
    rows = await check(adapters, ["ssh", "runpod"], values={}, env=ManualEnv(), store=store)
    assert [row["ok"] for row in rows] == [False, True]
    assert "machines.toml:5" in rows[0]["detail"]["error"]
    assert "docs/providers/ssh.md" in rows[0]["hint"]


async def test_a_fault_on_this_computer_proves_nothing_of_the_provider(store: Store) -> None:
    row = await one(store, adapter(ManualEnv(), refuses=AuthFailed("no such file", code="bad-file")))
    assert (row["ok"], row["reachable"], row["key_valid"]) == (False, None, None)
    assert "mend what the error says" in row["hint"]


async def test_a_name_that_is_no_provider_is_refused(store: Store) -> None:
    with pytest.raises(UsageError):
        await check({}, ["nosuch"], values={}, env=ManualEnv(), store=store)
