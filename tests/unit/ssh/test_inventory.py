"""The inventory file: what it says, what an hour costs, and how a mistake in it is told."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.base import Context, Query
from providers.env import ManualEnv
from providers.errors import AuthFailed
from providers.ssh import offers, price
from providers.ssh.adapter import Ssh
from providers.ssh.inventory import BadInventory, Inventory, load
from providers.ssh.state import Allocation, Gpu, State

GOOD = """
[defaults]
user = "gpu"
key_file = "~/key"
country = "DE"

[[machine]]
name = "desk"
host = "desk.example"
gpu = "NVIDIA L40"
gpu_count = 4
memory_gib = 256
purchase_usd = 24000
write_off_months = 36
hours_per_month = 200
watts = 1500
usd_per_kwh = 0.32
egress_usd_per_gb = 0

[[machine]]
name = "box"
host = "2001:db8::7"
port = 2222
users = ["a", "b"]
gpu = "rtx 4090"
usd_per_hour = 0.35
share = false
"""


@pytest.fixture
def read(tmp_path: Path):  # type: ignore[no-untyped-def]
    (tmp_path / "key").write_text("")

    def reading(text: str = GOOD) -> Inventory:
        (tmp_path / "m.toml").write_text(text)
        return load({"ORCH_SSH_INVENTORY": str(tmp_path / "m.toml"), "HOME": str(tmp_path)})

    return reading


def test_machines_take_over_the_defaults(read) -> None:  # type: ignore[no-untyped-def]
    found = read()
    desk, box = found.machines["desk"], found.machines["box"]
    assert (desk.gpu, desk.gpu_count, desk.users, desk.country, desk.memory_gib) == ("l40", 4, ("gpu",), "DE", 256.0)
    assert desk.egress_usd_per_gb == 0
    assert box.egress_usd_per_gb is None
    assert (desk.lock_dir, desk.reliability) == ("/var/lib/orch", 0.97)


def test_users_of_a_machine_replace_the_user_of_the_defaults(read) -> None:  # type: ignore[no-untyped-def]
    assert read().machines["box"].users == ("a", "b")


def test_the_price_is_purchase_over_hours_of_use_plus_power(read) -> None:  # type: ignore[no-untyped-def]
    # 24000 / (36 * 200) + 1.5 * 0.32 = 3.333333 + 0.48
    assert read().machines["desk"].usd_per_hour == Decimal("3.813333")
    assert read().machines["box"].usd_per_hour == Decimal("0.35")


@given(
    whole=st.decimals("0.000001", "1000", places=6),
    of=st.integers(1, 16),
)
def test_the_parts_of_a_machine_cost_the_whole_within_the_rounding(whole: Decimal, of: int) -> None:
    parts = sum((price.share(whole, 1, of) for _ in range(of)), Decimal(0))
    assert abs(parts - whole) <= Decimal("0.000001") * of
    assert price.share(whole, of, of) == whole


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("port = 2222", "prot = 2222", 23, "did you mean port"),
        ('host = "desk.example"', "", 7, "host: is missing for desk"),
        ("usd_per_hour = 0.35", "", 21, "no price"),
        ("usd_per_kwh = 0.32", "", 13, "usd_per_kwh missing"),
        ("usd_per_hour = 0.35", "usd_per_hour = 0.35\nwatts = 5", 26, "not both"),
        ("gpu_count = 4", "gpu_count = 0", 11, "whole number"),
        ("gpu_count = 4", "gpu_count = true", 11, "whole number"),
        ("watts = 1500", "watts = -1", 16, "0 or more"),
        ("hours_per_month = 200", "hours_per_month = 0", 13, "above 0"),
        ("hours_per_month = 200", "hours_per_month = 800", 13, "744"),
        ('name = "box"', 'name = "desk"', 21, "two machines"),
        ('name = "box"', 'name = "Box!"', 21, "a-z"),
        ('key_file = "~/key"', 'key_file = "~/nokey"', 0, "there is no file"),
        ('country = "DE"', 'country = "Germany"', 0, "two capital letters"),
        ('user = "gpu"', 'user = "a b"', 0, "login names"),
        ("share = false", 'share = "no"', 27, "true or false"),
        ("share = false", 'lock_dir = "/tmp/a b"', 27, "must begin with"),
        ("share = false", 'authorized_keys = "~/.ssh/$(id)"', 27, "must begin with"),
        ("share = false", 'host_key = "nonsense"', 27, "ssh-ed25519"),
        ("share = false", 'dedicated = true\nuser = "root"', 0, ""),
        ("[defaults]", "[default]", 2, "did you mean defaults"),
        ('users = ["a", "b"]', "users = []", 24, "login names"),
        ("usd_per_hour = 0.35", "usd_per_hour = nan", 26, "0 or more"),
        ("share = false", 'lock_dir = "~/orch"', 27, "another lock"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_what_was_meant(read, old: str, new: str, line: int, said: str) -> None:  # type: ignore[no-untyped-def]
    assert old in GOOD
    with pytest.raises(BadInventory) as caught:
        read(GOOD.replace(old, new))
    text = str(caught.value)
    assert said in text
    assert "m.toml:" in text
    assert not line or f"m.toml:{line}:" in text


def test_a_file_that_is_no_toml_says_where(read) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadInventory, match=r"m\.toml.*line 3"):
        read("\n\nname == 3\n")
    with pytest.raises(BadInventory, match="machine"):
        read("")


def test_a_file_in_another_encoding_is_a_mistake_in_it(read, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    read()
    (tmp_path / "m.toml").write_bytes(b"# caf\xe9\n" + GOOD.encode())
    with pytest.raises(BadInventory, match="UTF-8"):
        load({"ORCH_SSH_INVENTORY": str(tmp_path / "m.toml"), "HOME": str(tmp_path)})


def test_pins_lie_beside_the_inventory_whatever_the_working_folder(read, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert read('pins = "keys"\n' + GOOD).pins == tmp_path / "keys"


def _adapter(tmp_path: Path, text: str | None) -> Ssh:
    (tmp_path / "key").write_text("")
    if text is not None:
        (tmp_path / "m.toml").write_text(text)
    settings = {"ORCH_SSH_INVENTORY": str(tmp_path / "m.toml"), "HOME": str(tmp_path)}
    return Ssh(Context(env=ManualEnv(), settings=settings, owner="0" * 32))


async def test_no_inventory_fails_every_verb_and_a_bad_one_the_adapter(tmp_path: Path) -> None:
    missing = _adapter(tmp_path, None)
    for call in (missing.account(), missing.offers(Query()), missing.owned(), missing.check()):
        with pytest.raises(AuthFailed, match="there is no inventory"):
            await call
    with pytest.raises(ValueError, match="unknown key"):
        _adapter(tmp_path, "[[machine]]\nnme = 3\n")


async def test_a_mistake_that_turns_up_later_is_an_error_and_never_an_empty_inventory(tmp_path: Path) -> None:
    ssh = _adapter(tmp_path, GOOD)
    before = await ssh.account()
    (tmp_path / "m.toml").write_text(GOOD + "\nfoo = 3\n")
    for call in (ssh.account(), ssh.owned()):
        with pytest.raises(AuthFailed, match="foo"):
            await call
    (tmp_path / "m.toml").write_text(GOOD.replace("desk", "bench"))
    assert await ssh.account() == before


def test_the_sizes_are_powers_of_two_and_the_whole(read) -> None:  # type: ignore[no-untyped-def]
    found = read(GOOD.replace("gpu_count = 4", "gpu_count = 6"))
    assert offers.sizes(found.machines["desk"]) == [1, 2, 4, 6]
    assert offers.sizes(found.machines["box"]) == [1]


def test_an_offer_says_what_is_free_and_what_the_inventory_knows(read) -> None:  # type: ignore[no-untyped-def]
    machine = read(
        GOOD.replace('gpu = "NVIDIA L40"', 'gpu = "NVIDIA L40"\nusers = ["a", "b"]').replace('user = "gpu"\n', "")
    ).machines["desk"]
    state = State(place="ok", gpus=[Gpu(f"GPU-{n}", "l40", "NVIDIA L40") for n in range(4)])
    now = ManualEnv().now()

    def shown() -> list[tuple[int, bool | None, int | None]]:
        found = offers.offers_of(machine, state, account="own:x", now=now)
        return [(one.gpu_count, one.available, one.available_count) for one in found]

    assert shown() == [(1, True, 2), (2, True, 2), (4, True, 1)]  # two logins, so two leases
    state.allocations.append(Allocation("orch-x", "o", "ready", "a", None, None, ("GPU-0",)))
    assert shown() == [(1, True, 1), (2, True, 1), (4, False, 0)]
    state.used |= {"GPU-1", "GPU-2", "GPU-3"}
    assert shown() == [(1, False, 0), (2, False, 0), (4, False, 0)]
    one = offers.offers_of(machine, None, account="own:x", now=now)[0]
    assert (one.market, one.available, one.memory_gib, one.usd_per_hour) == ("own", False, 64.0, Decimal("0.953333"))
    assert one.egress is not None
    assert one.egress[0].usd_per_gb == 0


def test_a_price_of_zero_is_prepaid_and_not_free_on_demand(read) -> None:  # type: ignore[no-untyped-def]
    machine = read(GOOD.replace("usd_per_hour = 0.35", "usd_per_hour = 0")).machines["box"]
    [offer] = offers.offers_of(machine, None, account="own:x", now=ManualEnv().now())
    assert (offer.pricing, offer.usd_per_hour, offer.egress) == ("prepaid", Decimal(0), None)
