from __future__ import annotations

from typing import Any

import httpx
import pytest

from providers.base import Query, key_account
from providers.errors import AuthFailed, ProviderError
from providers.http import BadUrl
from providers.registry import entries, load
from tests.contract import fluence_golden as golden
from tests.unit.fluence.kit import (
    API_KEY,
    CONTAINERS,
    VMS,
    World,
    answer,
    container_offer,
    serve_plans,
    spec,
)

STATUS, BALANCES = "/v1/service/status", "/v2/users/balances"


async def test_the_account_is_a_keyed_hash_and_needs_no_call(world: World) -> None:
    assert await world.provider.account() == key_account("fluence", API_KEY)
    assert API_KEY not in await world.provider.account()


async def test_check_shows_key_balance_service_and_clock(world: World, router: Any) -> None:
    date = world.env.now().strftime("%a, %d %b %Y %H:%M:%S GMT")
    router.get(VMS).mock(return_value=httpx.Response(200, json=[], headers={"date": date}))
    router.get(BALANCES).respond(json=golden.BALANCES)
    router.get(STATUS).respond(json=golden.SERVICE_STATUS)
    shown = await world.provider.check()
    assert shown["key"] == "accepted"
    assert shown["balance"] == "100.50 USD"
    assert shown["service"] == "up (version 0.10.0)"
    assert shown["clock_skew"] == "0 s"
    assert API_KEY not in repr(shown)


async def test_check_takes_several_balances_and_maintenance_as_they_come(world: World, router: Any) -> None:
    router.get(VMS).respond(json=[])
    rows = [{**golden.BALANCES[0], "featureKey": "gpu"}, {**golden.BALANCES[0], "featureKey": "cpu"}, {}, 7]
    router.get(BALANCES).respond(json=rows)
    router.get(STATUS).respond(json={"maintenanceMode": True})
    shown = await world.provider.check()
    assert shown["balance"] == "gpu: 100.50 USD, cpu: 100.50 USD"
    assert shown["service"] == "under maintenance"
    assert shown["clock_skew"] == "unknown"


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_an_account_service_that_fails_leaves_unknown_and_blocks_nothing(
    world: World, router: Any, status: int
) -> None:
    router.get(VMS).respond(json=[])
    router.get(BALANCES).respond(status, json={"code": "forbidden", "error": "no"})
    router.get(STATUS).respond(status, json={})
    shown = await world.provider.check()
    assert (shown["balance"], shown["service"], shown["key"]) == ("unknown", "unknown", "accepted")


@pytest.mark.parametrize("body", [[], {}, [{"balance": None}], "x"])
async def test_an_unreadable_balance_is_unknown(world: World, router: Any, body: Any) -> None:
    router.get(VMS).respond(json=[])
    router.get(BALANCES).respond(json=body)
    router.get(STATUS).respond(json=body)
    shown = await world.provider.check()
    assert (shown["balance"], shown["service"]) == ("unknown", "unknown")


@pytest.mark.parametrize("case", ["bad-key", "bad-key-401"])
async def test_check_fails_with_a_bad_key(world: World, router: Any, case: str) -> None:
    router.get(VMS).mock(return_value=answer(case))
    with pytest.raises(AuthFailed):
        await world.provider.check()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 422, 429, 500])
@pytest.mark.parametrize("shape", ["detail", "error", "text", "validation"])
async def test_an_answer_that_repeats_the_key_never_shows_it(
    world: World, router: Any, status: int, shape: str
) -> None:
    said = f"No such API Key {API_KEY} " * 20
    bodies: dict[str, dict[str, Any]] = {
        "detail": {"json": {"detail": said}},
        "error": {"json": {"code": "unauthorized", "error": said}},
        "text": {"text": said},
        "validation": {"json": {"detail": [{"loc": ["header"], "msg": said, "input": API_KEY}]}},
    }
    offer = await container_offer(world, router)
    router.post(CONTAINERS).respond(status, **bodies[shape])
    with pytest.raises(ProviderError) as caught:
        await world.provider.launch(offer, spec(), spec().name)
    told = [str(caught.value), repr(caught.value), caught.value.message, repr(world.unclassified)]
    for end in range(8, len(API_KEY) + 1):
        assert not any(API_KEY[:end] in text for text in told)


@pytest.mark.parametrize("key", ["clé-secrète", "two words", "line\nbreak", "null\x00byte"])
async def test_a_key_that_no_header_can_carry_is_refused_without_repeating_it(key: str) -> None:
    world = World(FLUENCE_API_KEY=key)
    for call in (world.provider.account(), world.provider.owned(), world.provider.offers(Query())):
        with pytest.raises(AuthFailed) as caught:
            await call
        assert key not in str(caught.value)


@pytest.mark.parametrize("key", ["", "   "])
async def test_a_missing_key_says_which_setting_is_missing(key: str) -> None:
    with pytest.raises(AuthFailed, match="FLUENCE_API_KEY"):
        await World(FLUENCE_API_KEY=key).provider.account()


async def test_the_spaces_around_a_key_do_not_belong_to_it(router: Any) -> None:
    world = World(FLUENCE_API_KEY=f" {API_KEY}\n")
    serve_plans(router)
    await world.provider.offers(Query())
    assert router.calls.last.request.headers["x-api-key"] == API_KEY
    await world.provider.aclose()


def test_a_key_is_never_sent_in_the_clear() -> None:
    with pytest.raises(BadUrl, match="ORCH_FLUENCE_URL"):
        World(ORCH_FLUENCE_URL="http://fluence.example")


async def test_another_base_url_keeps_its_own_path() -> None:
    import respx

    world = World(ORCH_FLUENCE_URL="http://127.0.0.1:9/fluence/")
    with respx.mock(base_url="http://127.0.0.1:9/fluence") as router:
        serve_plans(router)
        await world.provider.offers(Query())
        assert router.calls.call_count == 3
    await world.provider.aclose()


def test_the_registry_finds_adapter_and_error_table() -> None:
    entry = entries()["fluence"]
    assert load(entry.adapter).name == "fluence"
    assert len(load(entry.error_table or "")) > 10
    assert entry.configured({"FLUENCE_API_KEY": "x"}) == "FLUENCE_API_KEY"


async def test_closing_twice_or_unused_does_no_harm(world: World) -> None:
    await world.provider.aclose()
    await world.provider.account()
    await world.provider.aclose()
