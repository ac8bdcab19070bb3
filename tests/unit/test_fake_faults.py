"""Everything on the fault menu comes about at the cloud in memory, as the error that the contract has for it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers import errors, fake_cloud, fake_machines, naming
from providers.base import AttemptRef, Context, Instance, LaunchSpec, Offer, Phase, Query
from providers.env import ManualEnv
from providers.errors import ProviderError
from providers.fake import TABLE, Fake, FakeCloud, Rules, connect
from providers.sandbox.faults import SEMANTIC, TRANSPORT

OWNER = "0123456789abcdef" * 2
START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class Place:
    """A cloud, an adapter and the clock, with short words for what tests do."""

    def __init__(self, **rules: Any) -> None:
        self.env = ManualEnv(START)
        self.cloud = FakeCloud(self.env, rules=Rules(**rules))
        self.unclassified: list[tuple[str, str, str]] = []
        self.fake = self.process()

    def process(self) -> Fake:
        def note(provider: str, code: str, text: str) -> None:
            self.unclassified.append((provider, code, text))

        return connect(self.cloud, Context(env=self.env, owner=OWNER, on_unclassified=note))

    def offer(self) -> Offer:
        return self.cloud.market["fake/l40-us"]

    def attempt(self, instance: Instance | None = None, n: int = 1) -> AttemptRef:
        order = spec(n)
        return AttemptRef(
            token=order.name,
            account="fake-account",
            offer=self.cloud.market["fake/l40-de"],
            spec=order,
            instance_id=instance.id if instance else None,
        )

    async def rent(self, n: int = 1) -> Instance:
        order = spec(n)
        return await self.fake.launch(self.offer(), order, order.name)

    async def running(self) -> Instance:
        await self.rent()
        self.env.advance(60)
        [machine] = await self.fake.owned()
        return machine


def spec(n: int = 1) -> LaunchSpec:
    name = naming.make(OWNER, "abcdefghi", n)
    return LaunchSpec(name=name, owner=OWNER, lease="abcdefghi", ssh_public_key="ssh-ed25519 AAAA")


#: What a launch raises, and how many machines bill afterwards.
AT_LAUNCH: dict[str, tuple[str, int]] = {
    "sold_out": ("NoCapacity", 0),
    "gone": ("OfferGone", 0),
    "no_money": ("NoFunds", 0),
    "quota": ("QuotaExceeded", 0),
    "unknown_code": ("Unclassified", 0),
    "bad_key": ("AuthFailed", 0),
    "forbidden": ("Forbidden", 0),
    "left": ("NoCapacity", 1),
    "down": ("Unavailable", 0),
    "error_before": ("Unavailable", 0),
    "rate_limit": ("RateLimited", 0),
    "drop_before": ("OutcomeUnknown", 0),
    "redirect": ("OutcomeUnknown", 0),
    "lost": ("OutcomeUnknown", 1),
    "error_after": ("OutcomeUnknown", 1),
    "malformed": ("OutcomeUnknown", 1),
    "html": ("OutcomeUnknown", 1),
    "truncated": ("OutcomeUnknown", 1),
    "oversized": ("OutcomeUnknown", 1),
    "slow": ("OutcomeUnknown", 1),
}
#: Faults that a launch itself does not show; each has its own test below.
NOT_AT_LAUNCH = {
    "fail_after_accept",
    "boot_stuck",
    "wrong_gpu",
    "price_changed",
    "other_account",
    "list_lag",
    "ignore_terminate",
    "host_lost",
}


def test_the_whole_menu_is_covered() -> None:
    assert set(AT_LAUNCH) | NOT_AT_LAUNCH == TRANSPORT | SEMANTIC


@pytest.mark.parametrize("kind", AT_LAUNCH)
async def test_a_launch_fails_as_the_contract_says(kind: str) -> None:
    error, billing = AT_LAUNCH[kind]
    place = Place()
    place.cloud.faults.add(kind, "fake", verb="launch")
    with pytest.raises(errors.BY_NAME[error]) as caught:
        await place.rent()
    assert caught.value.type == error
    assert len(place.cloud.ledger.billing()) == billing
    if error == "OutcomeUnknown":
        found = await place.process().find(place.attempt())
        assert [found.id] == place.cloud.ledger.billing() if found else billing == 0
    if kind != "gone":
        await place.rent(2)  # once was enough
        assert len(place.cloud.ledger.billing()) == billing + 1


@pytest.mark.parametrize("kind", sorted(TRANSPORT - {"slow"}))
@pytest.mark.parametrize("verb", ["account", "offers", "price", "find", "owned"])
async def test_reads_that_fail_are_failures_and_never_empty(kind: str, verb: str) -> None:
    place = Place()
    await place.rent()
    place.cloud.faults.add(kind, "fake", verb=verb)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "account": place.fake.account,
        "offers": lambda: place.fake.offers(Query()),
        "price": lambda: place.fake.price(place.offer()),
        "find": lambda: place.fake.find(place.attempt()),
        "owned": place.fake.owned,
    }
    for other, call in calls.items():
        if other != verb:
            await call()
    with pytest.raises(errors.RateLimited if kind == "rate_limit" else errors.Unavailable):
        await calls[verb]()
    assert await calls[verb]()


@pytest.mark.parametrize(("kind", "happens"), [("lost", True), ("error_after", True), ("drop_before", False)])
async def test_a_terminate_without_an_answer_may_have_happened(kind: str, happens: bool) -> None:
    place = Place()
    machine = await place.running()
    place.cloud.faults.add(kind, "fake", verb="terminate")
    with pytest.raises(errors.OutcomeUnknown):
        await place.fake.terminate(machine)
    place.env.advance(10)
    assert [record.billing for record in place.cloud.records()] == [not happens]


async def test_a_slow_answer_takes_time_and_a_slower_one_is_not_waited_for() -> None:
    place = Place()
    place.cloud.faults.add("slow", "fake", verb="launch", seconds=12)
    await place.rent()
    assert place.env.slept == [12]
    place.cloud.faults.add("slow", "fake", verb="launch", seconds=90)
    with pytest.raises(errors.OutcomeUnknown):
        await place.rent(2)
    assert place.env.slept == [12, 30]


async def test_a_rate_limit_says_how_long() -> None:
    place = Place()
    place.cloud.faults.add("rate_limit", "fake", retry_after=17)
    with pytest.raises(errors.RateLimited) as caught:
        await place.fake.owned()
    assert caught.value.wait_s == 17


async def test_an_unknown_code_is_reported_with_its_text() -> None:
    place = Place()
    place.cloud.faults.add("unknown_code", "fake", code="moon-phase")
    with pytest.raises(errors.Unclassified) as caught:
        await place.rent()
    assert caught.value.code == "moon-phase"
    assert [(p, code) for p, code, _ in place.unclassified] == [("fake", "moon-phase")]


@pytest.mark.parametrize("code", ["sold-out", "quota", "price-cap"])
async def test_what_a_failed_launch_left_is_named_and_can_be_ended(code: str) -> None:
    place = Place()
    place.cloud.faults.add("left", "fake", code=code, subject="l40-us")
    with pytest.raises(ProviderError) as caught:
        await place.rent()
    assert type(caught.value) is TABLE[code]
    [left] = caught.value.left
    assert left.phase is Phase.FAILED
    assert await place.fake.owned() == [left]
    assert place.cloud.ledger.billing() == [left.id]
    assert await place.fake.terminate(left) is False
    place.env.advance(5)
    assert await place.fake.terminate(left) is True
    assert place.cloud.ledger.billing() == []


async def test_faults_meet_only_their_subject() -> None:
    place = Place()
    place.cloud.faults.add("sold_out", "fake", subject="l40-de", times=-1)
    place.cloud.faults.add("sold_out", "elsewhere", times=-1)
    await place.rent()
    with pytest.raises(errors.NoCapacity):
        await place.fake.launch(place.cloud.market["fake/l40-de"], spec(2), spec(2).name)


@pytest.mark.parametrize("code", ["host-failed", "sold-out", "image-not-found", "never-heard-of"])
async def test_a_machine_fails_after_it_was_accepted_and_bills_until_it_is_ended(code: str) -> None:
    place = Place()
    place.cloud.faults.add("fail_after_accept", "fake", code=code)
    launched = await place.rent()
    assert (launched.phase, launched.failure) == (Phase.PENDING, None)
    place.env.advance(60)
    failed = await place.fake.find(place.attempt(launched))
    assert failed
    assert failed.phase is Phase.FAILED
    assert type(failed.failure) is TABLE.get(code, errors.Unclassified)
    assert place.cloud.ledger.billing() == [launched.id]
    await place.fake.terminate(failed)
    place.env.advance(5)
    assert await place.fake.terminate(failed) is True
    assert place.cloud.ledger.billing() == []


async def test_an_image_that_does_not_exist_is_the_users_fault() -> None:
    place = Place(images_missing=frozenset({"nothing:1"}))
    order = LaunchSpec(name="x", owner=OWNER, lease="l", ssh_public_key="k", image="nothing:1")
    await place.fake.launch(place.offer(), order, "x")
    place.env.advance(60)
    [failed] = await place.fake.owned()
    assert isinstance(failed.failure, errors.BadWorkload)


@pytest.mark.parametrize(("phase", "shown"), [("pending", Phase.PENDING), ("running", Phase.RUNNING)])
async def test_a_boot_gets_stuck(phase: str, shown: Phase) -> None:
    place = Place()
    place.cloud.faults.add("boot_stuck", "fake", phase=phase)
    await place.rent()
    place.env.advance(86400)
    [stuck] = await place.fake.owned()
    assert (stuck.phase, stuck.address) == (shown, None)
    assert place.cloud.ledger.billing() == [stuck.id]


async def test_another_gpu_than_was_paid_for_comes_up() -> None:
    place = Place()
    place.cloud.faults.add("wrong_gpu", "fake", gpu="NVIDIA L4", memory_mib=23034)
    machine = await place.running()
    assert machine.address
    inside = place.cloud.machine_at(machine.address.host)
    assert inside
    assert (inside.smi_gpu, inside.memory_mib) == ("NVIDIA L4", 23034)


async def test_a_price_rises_before_or_after_the_last_quote() -> None:
    place = Place()
    place.cloud.faults.add("price_changed", "fake", verb="price", factor=2)
    quote = await place.fake.price(place.offer())
    assert quote
    assert quote.usd_per_hour == Decimal("1.98")
    place.cloud.faults.add("price_changed", "fake", verb="launch", factor="1.5")
    machine = await place.rent()
    assert machine.usd_per_hour == Decimal("2.97")


async def test_another_account_is_empty_and_proves_nothing() -> None:
    place = Place()
    machine = await place.running()
    fault = place.cloud.faults.add("other_account", "fake", times=-1)
    assert await place.fake.account() != machine.account
    assert await place.fake.owned() == []
    with pytest.raises(errors.AuthFailed):
        await place.fake.find(place.attempt(machine))
    with pytest.raises(errors.AuthFailed):
        await place.fake.terminate(machine)
    [offer, *_] = (await place.fake.offers(Query())).offers
    fault.times = 0
    with pytest.raises(errors.AuthFailed):
        await place.fake.launch(offer, spec(2), spec(2).name)
    assert await place.fake.owned() == [machine]


async def test_one_machine_is_listed_late() -> None:
    place = Place()
    place.cloud.faults.add("list_lag", "fake", seconds=40)
    await place.rent()
    seen = await place.rent(2)
    assert await place.fake.owned() == [seen]
    place.env.advance(40)
    assert len(await place.fake.owned()) == 2


async def test_an_accepted_terminate_may_do_nothing() -> None:
    place = Place()
    machine = await place.running()
    place.cloud.faults.add("ignore_terminate", "fake", times=2)
    for _ in range(2):
        assert await place.fake.terminate(machine) is False
        place.env.advance(600)
        assert place.cloud.ledger.billing() == [machine.id]
    assert await place.fake.terminate(machine) is False
    place.env.advance(600)
    assert await place.fake.terminate(machine) is True


@pytest.mark.parametrize("when_lost", ["gone", "failed", "vanished"])
async def test_a_running_machine_is_lost_without_notice(when_lost: str) -> None:
    place = Place(when_lost=when_lost)
    machine = await place.running()
    place.cloud.faults.add("host_lost", "fake", subject=machine.id)
    found = await place.fake.find(place.attempt(machine))
    assert place.cloud.ledger.billing() == []
    assert (found and found.phase.value) == {"gone": "gone", "failed": "failed"}.get(when_lost)
    if found:
        assert isinstance(found.failure, errors.BootFailed)
    owned = await place.fake.owned()
    assert len(owned) == (1 if when_lost == "failed" else 0)
    await place.fake.terminate(machine)
    place.env.advance(10)
    assert await place.fake.terminate(machine) is True


async def test_a_lost_machine_is_lost_at_once_and_a_spot_machine_was_taken() -> None:
    place = Place(when_lost="failed")
    machine = await place.fake.launch(place.cloud.market["fake/l40-spot"], spec(), spec().name)
    place.env.advance(60)
    place.cloud.lose(machine.id)
    taken = await place.fake.find(place.attempt(machine))
    assert taken
    assert taken.phase is Phase.GONE
    assert isinstance(taken.failure, errors.NoCapacity)


def test_every_code_of_the_cloud_is_in_the_error_table() -> None:
    said: set[str] = set()
    for module in (fake_cloud, fake_machines):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refusal":
                said.update(str(code.value) for code in node.args[:1] if isinstance(code, ast.Constant))
    assert len(said) > 10
    assert said <= set(TABLE)
    assert set(TABLE.values()) <= set(errors.BY_NAME.values())


KINDS = st.sampled_from(sorted((TRANSPORT | SEMANTIC) - {"other_account"}))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("fault"), KINDS),
        st.tuples(st.just("launch"), st.sampled_from(["l40-us", "l40-spot", "l40-community", "l40-hyperscale"])),
        st.tuples(st.just("terminate"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.integers(1, 4000)),
        st.tuples(st.just("lose"), st.integers(0, 3)),
    ),
    max_size=30,
)


async def _play(place: Place, steps: list[tuple[str, Any]]) -> None:
    for n, (step, arg) in enumerate(steps, 1):
        living = [record.id for record in place.cloud.records() if record.alive]
        try:
            if step == "fault":
                place.cloud.faults.add(arg, "fake")
            elif step == "launch" and (offer := place.cloud.market.get(f"fake/{arg}")):
                await place.fake.launch(offer, spec(n), spec(n).name)
            elif step == "terminate" and (mine := await place.fake.owned()):
                await place.fake.terminate(mine[arg % len(mine)])
            elif step == "wait":
                place.env.advance(arg)
            elif step == "lose" and living:
                place.cloud.lose(living[arg % len(living)])
        except ProviderError:
            pass


@settings(deadline=None, max_examples=60)
@given(STEPS)
async def test_the_bill_and_the_records_agree_and_everything_owned_can_be_ended(
    steps: list[tuple[str, Any]],
) -> None:
    place = Place()
    await _play(place, steps)
    records = place.cloud.records()
    assert place.cloud.ledger.billing() == [record.id for record in records if record.billing]
    assert all(record.alive for record in records if record.billing)
    place.cloud.faults.clear()
    place.env.advance(60)
    for _ in range(3):
        for machine in await place.fake.owned():
            await place.fake.terminate(machine)
        place.env.advance(10)
    assert await place.fake.owned() == []
    assert place.cloud.ledger.billing() == []
