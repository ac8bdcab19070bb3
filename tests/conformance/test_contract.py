"""The facts of the contract, each once, for every provider there is or will be (design section 4)."""

from __future__ import annotations

import ast
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from providers import errors, naming, registry
from providers.base import Instance, Offer, Phase, Query
from providers.sandbox.faults import SEMANTIC, TRANSPORT
from tests.conformance.conftest import ALL, EMULATED, KEY, OWNER, STRANGER, Cloud, until_gone, until_running

ROOT = Path(__file__).parents[2]
#: What is in the name of a setting that holds a secret.
SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD")
#: What can go wrong at any provider of machines; the rest of the menu is declared where it exists.
EVERYWHERE = {
    "sold_out",
    "fail_after_accept",
    "boot_stuck",
    "wrong_gpu",
    "price_changed",
    "list_lag",
    "ignore_terminate",
    "host_lost",
    "unknown_code",
}


def semantic(name: str) -> frozenset[str]:
    entry = registry.entries().get(name)
    # The cloud in memory has the whole menu.
    found: frozenset[str] = SEMANTIC if entry is None else registry.load(entry.emulator or "").semantic
    return found


def transport(name: str) -> frozenset[str]:
    entry = registry.entries().get(name)
    found: frozenset[str] = TRANSPORT if entry is None else registry.load(entry.emulator or "").transport
    return found


def cannot(name: str) -> frozenset[str]:
    entry = registry.entries().get(name)
    found: frozenset[str] = frozenset() if entry is None else registry.load(entry.emulator or "").cannot
    return found


def having(kind: str) -> list[str]:
    """Providers where that fault exists: a declared capability, not a skip."""
    return [name for name in ALL if kind in semantic(name) | transport(name)]


# -- every provider is whole ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(registry.entries()))
def test_every_provider_has_an_emulator_a_docs_page_and_a_code_table(name: str) -> None:
    entry = registry.entries()[name]
    assert entry.emulator, f"{name} has no emulator"
    page = ROOT / entry.docs
    assert page.is_file(), f"{name} has no docs page at {entry.docs}"
    text = page.read_text(encoding="utf-8").lower()
    for topic in ("key", "bill", "verif", "smoke", "dead-man"):
        assert topic in text, f"{entry.docs} says nothing of {topic!r}"
    assert entry.error_table, f"{name} has no code table"
    table = registry.load(entry.error_table)
    assert len(table) >= 3, f"{entry.error_table} is empty"


@pytest.mark.parametrize("name", ALL)
def test_every_twin_can_do_what_goes_wrong_everywhere(name: str) -> None:
    missing = EVERYWHERE - semantic(name) - cannot(name)
    assert not missing, f"the twin of {name} cannot do {sorted(missing)}"


@pytest.mark.parametrize("name", EMULATED)
def test_an_emulator_never_imports_the_adapters_side(name: str) -> None:
    folder = ROOT / "providers" / registry.entries()[name].adapter.split(":")[0].split(".")[1]
    own = f"providers.{folder.name}.emulator"
    for file in folder.glob("emulator*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
                names = names[1:] if names[0] == f"providers.{folder.name}" else names[:1]
            for name in names:
                outside = name.startswith(("providers", "policies", "orchestrator"))
                assert not outside or name.startswith(("providers.sandbox", own)), f"{file.name} imports {name}"


# -- account and offers -----------------------------------------------------------------------------------


async def test_the_account_is_stable_and_never_shows_the_key(cloud: Cloud) -> None:
    first, second = cloud.provider(), cloud.provider()
    account = await first.account()
    assert account == await second.account() == await first.account()
    # Only what opens something: a project's or subscription's id is no secret, and is the account.
    for name, value in cloud.settings.items():
        assert not any(word in name for word in SECRET) or value not in account


async def test_offers_are_unique_priced_and_complete(cloud: Cloud) -> None:
    provider = cloud.provider()
    account = await provider.account()
    listing = await provider.offers(Query())
    ids = [offer.offer_id for offer in listing.offers]
    assert ids
    assert len(set(ids)) == len(ids)
    for offer in listing.offers:
        assert (offer.provider, offer.account) == (provider.name, account)
        assert offer.usd_per_hour is None or offer.usd_per_hour > 0 or offer.pricing == "prepaid"
        assert offer.egress is None or offer.egress
        assert offer.source == "live"
        assert offer.observed_at is not None
        assert offer.market is not None
        assert offer.workloads
        assert offer.gpu == offer.gpu.lower()
        assert 0 < (offer.reliability or 0.5) <= 1


async def test_an_offer_survives_json(cloud: Cloud) -> None:
    offer = await cloud.offer(cloud.provider())
    assert msgspec.json.decode(msgspec.json.encode(offer), type=Offer) == offer


async def test_only_what_was_asked_for_is_offered(cloud: Cloud) -> None:
    provider = cloud.provider()
    wanted = (await cloud.offer(provider)).gpu
    listing = await provider.offers(Query(gpus=(wanted,)))
    assert {offer.gpu for offer in listing.offers} == {wanted}


async def test_asking_for_a_gpu_that_is_not_sold_gives_an_empty_listing_with_a_note(cloud: Cloud) -> None:
    listing = await cloud.provider().offers(Query(gpus=("mi300x",)))
    assert listing.offers == [] or {offer.gpu for offer in listing.offers} == {"mi300x"}
    assert listing.offers or listing.note


async def test_the_quote_of_a_listed_offer_is_its_listed_price(cloud: Cloud) -> None:
    provider = cloud.provider()
    offer = await cloud.offer(provider)
    quote = await provider.price(offer)
    assert quote is not None
    assert (quote.offer_id, quote.usd_per_hour) == (offer.offer_id, offer.usd_per_hour)


@pytest.mark.parametrize("name", having("gone"))
async def test_an_offer_that_is_gone_is_not_quoted_or_is_refused_as_such(name: str, make_cloud) -> None:  # type: ignore[no-untyped-def]
    cloud: Cloud = await make_cloud(name)
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    cloud.faults.add("gone", times=-1)
    quote = await provider.price(ref.offer)
    if quote is not None and quote.available is not False:
        with pytest.raises((errors.OfferGone, errors.NoCapacity)):
            await cloud.launch(provider, ref)
    assert cloud.billing() == []


@pytest.mark.parametrize("cloud", having("price_changed"), indirect=True)
async def test_a_changed_price_shows_in_the_quote_or_in_the_machine(cloud: Cloud) -> None:
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    assert ref.offer.usd_per_hour is not None
    cloud.faults.add("price_changed", factor=2, times=-1)
    quote = await provider.price(ref.offer)
    assert quote is not None
    found = quote.usd_per_hour
    if "price-in-machine" in provider.facts.capabilities:
        # Nobody tells prices beforehand there: the machine says its own, and the engine ends one that is too dear.
        instance = await cloud.launch(provider, ref)
        found = (await until_running(cloud, provider, ref)).usd_per_hour
        await until_gone(cloud, provider, instance)
    assert found is not None
    assert found > ref.offer.usd_per_hour * Decimal("1.5")
    assert cloud.billing() == []


# -- the life of a machine --------------------------------------------------------------------------------


async def test_a_machine_is_launched_found_listed_and_ended(cloud: Cloud) -> None:
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    instance = await cloud.launch(provider, ref)
    assert (instance.provider, instance.account) == (provider.name, ref.account)
    assert len(cloud.billing()) == 1
    running = await until_running(cloud, provider, ref)
    assert running.id == instance.id
    assert running.address is not None
    assert running.address.host
    [mine] = await provider.owned()
    assert (mine.id, mine.token) == (instance.id, ref.token)
    await until_gone(cloud, provider, instance)
    assert cloud.billing() == []
    assert await provider.owned() == []
    found = await provider.find(ref)
    assert found is None or found.phase is Phase.GONE


async def test_a_machine_is_ended_by_its_handle_alone(cloud: Cloud) -> None:
    ref = await cloud.attempt(cloud.provider())
    made = await cloud.launch(cloud.provider(), ref)
    stored = Instance(provider=made.provider, account=made.account, id=made.id, handle=made.handle, token=ref.token)
    assert all(isinstance(part, str) for pair in made.handle.items() for part in pair)
    await until_gone(cloud, cloud.provider(), stored)
    assert cloud.billing() == []


async def test_terminating_twice_is_as_good_as_once(cloud: Cloud) -> None:
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    instance = await cloud.launch(provider, ref)
    await until_running(cloud, provider, ref)
    await until_gone(cloud, provider, instance)
    assert await provider.terminate(instance)
    assert await cloud.provider().terminate(instance)
    assert cloud.billing() == []


async def test_a_machine_can_be_ended_while_it_is_pending(cloud: Cloud) -> None:
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    instance = await cloud.launch(provider, ref)
    await until_gone(cloud, provider, instance)
    assert cloud.billing() == []


async def test_terminate_that_is_accepted_and_ignored_is_never_called_gone(cloud: Cloud) -> None:
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    instance = await cloud.launch(provider, ref)
    await until_running(cloud, provider, ref)
    cloud.faults.add("ignore_terminate", times=-1)
    for _ in range(4):
        assert not await provider.terminate(instance)
        assert len(cloud.billing()) == 1
        await cloud.env.sleep(30)
    cloud.faults.clear()
    await until_gone(cloud, provider, instance)
    assert cloud.billing() == []


@pytest.mark.parametrize("cloud", having("host_lost"), indirect=True)
async def test_a_lost_host_is_gone_or_failed_and_never_running(cloud: Cloud) -> None:
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    instance = await cloud.launch(provider, ref)
    await until_running(cloud, provider, ref)
    cloud.twin.lose(instance.id)
    known = msgspec.structs.replace(ref, instance_id=instance.id, handle=instance.handle)
    end = cloud.env.monotonic() + 60
    # A state that may as well be the beginning of a life is watched for a moment before it counts as its end.
    while (found := await provider.find(known)) is not None and found.phase not in (Phase.GONE, Phase.FAILED):
        assert found.phase is not Phase.RUNNING
        assert cloud.env.monotonic() < end
        await cloud.env.sleep(5)
    await until_gone(cloud, provider, instance)
    assert cloud.billing() == []


@pytest.mark.parametrize("cloud", having("boot_stuck"), indirect=True)
async def test_a_machine_that_never_becomes_reachable_has_no_address(cloud: Cloud) -> None:
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    cloud.faults.add("boot_stuck")
    instance = await cloud.launch(provider, ref)
    for _ in range(20):
        found = await provider.find(ref)
        assert found is not None
        assert found.address is None or found.phase is not Phase.RUNNING
        await cloud.env.sleep(30)
    cloud.faults.clear()
    await until_gone(cloud, provider, instance)
    assert cloud.billing() == []


@pytest.mark.parametrize("cloud", having("fail_after_accept"), indirect=True)
async def test_failure_after_acceptance_is_classed_by_the_same_table_and_leaves_nothing(cloud: Cloud) -> None:
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    cloud.faults.add("fail_after_accept")
    instance = await cloud.launch(provider, ref)
    for _ in range(200):
        found = await provider.find(ref)
        if found is None or found.phase in (Phase.FAILED, Phase.GONE):
            break
        await cloud.env.sleep(5)
    assert found is None or found.phase in (Phase.FAILED, Phase.GONE)
    if found is not None and found.phase is Phase.FAILED:
        assert isinstance(found.failure, errors.NoCapacity | errors.BootFailed)
    await until_gone(cloud, provider, instance)
    assert cloud.billing() == []


# -- refusals ---------------------------------------------------------------------------------------------

REFUSALS = [
    # A marketplace's offer is one machine: taken by somebody else, it is sold out and gone in one.
    ("sold_out", (errors.NoCapacity, errors.OfferGone)),
    ("no_money", errors.NoFunds),
    ("quota", errors.QuotaExceeded),
    ("forbidden", errors.Forbidden),
]


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [(name, kind, expected) for kind, expected in REFUSALS for name in having(kind)],
)
async def test_a_refused_create_is_typed_and_makes_nothing(name: str, kind: str, expected, make_cloud) -> None:  # type: ignore[no-untyped-def]
    cloud: Cloud = await make_cloud(name)
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    cloud.faults.add(kind, verb="launch", times=-1)
    with pytest.raises(expected) as caught:
        await cloud.launch(provider, ref)
    assert not caught.value.left
    assert cloud.billing() == []
    cloud.faults.clear()
    assert await provider.find(ref) is None


async def test_an_unknown_code_moves_on_keeps_the_text_and_is_counted(cloud: Cloud) -> None:
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    cloud.faults.add("unknown_code")
    with pytest.raises(errors.ProviderError) as caught:
        await cloud.launch(provider, ref)
    error = caught.value
    assert error.then in (errors.Then.NEXT_OFFER, errors.Then.LOOK_FIRST)
    assert error.message
    assert error.type != "Unclassified" or cloud.unclassified
    assert cloud.billing() == []


@pytest.mark.parametrize("name", having("bad_key"))
async def test_a_bad_key_fails_every_verb_and_never_looks_like_an_empty_cloud(name: str, make_cloud) -> None:  # type: ignore[no-untyped-def]
    cloud: Cloud = await make_cloud(name)
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    instance = await cloud.launch(provider, ref)
    cloud.faults.add("bad_key", times=-1)
    fresh = cloud.provider()
    calls = (fresh.owned(), fresh.find(ref), fresh.terminate(instance), fresh.launch(ref.offer, ref.spec, ref.token))
    for call in calls:
        with pytest.raises((errors.AuthFailed, errors.Forbidden)) as caught:
            await call
        for value in cloud.settings.values():
            assert value.startswith("http") or value not in str(caught.value)
    assert len(cloud.billing()) == 1
    cloud.faults.clear()
    await until_gone(cloud, provider, instance)


@pytest.mark.parametrize("name", having("left"))
async def test_what_a_failed_call_leaves_is_named_and_can_be_ended(name: str, make_cloud) -> None:  # type: ignore[no-untyped-def]
    cloud: Cloud = await make_cloud(name)
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    cloud.faults.add("left")
    with pytest.raises(errors.ProviderError) as caught:
        await cloud.launch(provider, ref)
    assert caught.value.left
    assert cloud.billing()
    for left in caught.value.left:
        await until_gone(cloud, provider, left)
    assert cloud.billing() == []


async def test_another_accounts_key_shows_as_another_account(cloud: Cloud) -> None:
    if not cloud.settings:
        assert having("other_account")  # the fake has no keys; the fault below covers it
        return
    mine = await cloud.provider().account()
    changed = {
        key: value if value.startswith("http") else value[:-1] + ("x" if value[-1] != "x" else "y")
        for key, value in cloud.settings.items()
    }
    try:
        other = await cloud.provider(settings=changed).account()
    except errors.ProviderError as error:
        assert error.type in ("AuthFailed", "Forbidden")  # noqa: PT017 - both answers are fine
    else:
        assert other != mine


# -- unknown outcomes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lost", "error_after"])
async def test_a_lost_answer_leaves_one_instance_that_is_found(cloud: Cloud, kind: str) -> None:
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    cloud.faults.add(kind, verb="launch")
    with pytest.raises(errors.OutcomeUnknown):
        await cloud.launch(provider, ref)
    assert len(cloud.billing()) == 1
    if provider.facts.replayable_create:
        again = await cloud.launch(provider, ref)
        assert len(cloud.billing()) == 1
        assert again.id
    found = await _found(cloud, ref)
    assert found.token in (None, ref.token)
    await until_gone(cloud, cloud.provider(), found)
    assert cloud.billing() == []


async def _found(cloud: Cloud, ref) -> Instance:  # type: ignore[no-untyped-def]
    provider = cloud.provider()
    end = cloud.env.monotonic() + provider.facts.consistency_s
    while True:
        found = await provider.find(ref)
        if found is not None:
            return found
        assert cloud.env.monotonic() <= end, "not found within the consistency window"
        await cloud.env.sleep(2)


@pytest.mark.parametrize("cloud", having("list_lag"), indirect=True)
async def test_a_new_machine_shows_up_within_the_consistency_window(cloud: Cloud) -> None:
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    cloud.faults.add("list_lag", seconds=provider.facts.consistency_s * 0.8)
    cloud.faults.add("lost", verb="launch")
    with pytest.raises(errors.OutcomeUnknown):
        await cloud.launch(provider, ref)
    found = await _found(cloud, ref)
    await until_gone(cloud, provider, found)
    assert cloud.billing() == []


# -- what is not ours -------------------------------------------------------------------------------------


async def test_what_others_rented_is_left_alone(cloud: Cloud) -> None:
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    mine = await cloud.launch(provider, ref)
    await until_running(cloud, provider, ref)
    cloud.twin.plant(naming.make(STRANGER, "leasebbbb", 1), owner=STRANGER)
    cloud.twin.plant("my-training-box")
    cloud.twin.plant("orch-but-not-really")
    assert [instance.id for instance in await provider.owned()] == [mine.id]
    assert len(cloud.billing()) == 4
    await until_gone(cloud, provider, mine)
    assert len(cloud.billing()) == 3


async def test_the_full_owner_id_must_match_where_it_is_kept(cloud: Cloud) -> None:
    provider = cloud.provider()
    if provider.facts.token_in == "name":
        assert naming.is_ours(naming.make(OWNER, "leasebbbb", 1), OWNER)
        return
    # The same seven characters in the name, but another installation behind them.
    twin_owner = OWNER[:12] + "0" * 20
    assert naming.owner7(twin_owner) == naming.owner7(OWNER)
    cloud.twin.plant(naming.make(twin_owner, "leasebbbb", 1), owner=twin_owner)
    assert await provider.owned() == []


# -- rates ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cloud", having("rate_limit"), indirect=True)
async def test_a_rate_limit_on_create_says_how_long_and_makes_nothing(cloud: Cloud) -> None:
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    cloud.faults.add("rate_limit", verb="launch", retry_after=7)
    with pytest.raises(errors.RateLimited) as caught:
        await cloud.launch(provider, ref)
    assert caught.value.wait_s == pytest.approx(7, abs=1)
    assert cloud.billing() == []


def test_the_key_of_these_tests_is_a_public_key() -> None:
    assert KEY.split()[0] == "ssh-ed25519"
