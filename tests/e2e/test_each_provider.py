"""One machine at each provider in turn, from the command line to a command on the machine and back to nothing."""

from __future__ import annotations

from decimal import Decimal

import pytest

from providers import registry
from providers.gpus import GPUS
from providers.sandbox import detach
from tests.e2e.conftest import House

pytestmark = pytest.mark.xdist_group("sandbox")


@pytest.mark.parametrize("name", sorted(registry.entries()))
def test_a_machine_is_rented_used_and_ended_and_the_bill_is_closed(name: str, house: House) -> None:
    detach.ensure(house.state, scenario="calm", speed=5.0)
    listed = house.json("offers", "--provider", name)
    # What the table of models does not know is listed, and cannot be asked for by name.
    offers = [o for o in listed if o["usd_per_hour"] and o["pricing"] == "on-demand" and o["gpu"] in GPUS]
    assert offers, f"{name} rents nothing"
    cheapest = min(offers, key=lambda offer: (Decimal(offer["usd_per_hour"]), offer["offer_id"]))
    words = ["--provider", name, "--gpu", cheapest["gpu"], "--count", str(cheapest["gpu_count"]), "--hours", "1"]
    up = house.orch("up", *words, "--name", "turn", "--yes", timeout=300)
    assert up.returncode == 0, up.stderr
    [lease] = house.json("ps")["leases"]
    assert (lease["provider"], lease["state"], lease["gpu"]) == (name, "running", cheapest["gpu"])
    smi = house.orch("exec", "turn", "--", "nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    assert len(smi.stdout.splitlines()) >= cheapest["gpu_count"], smi.stderr
    assert house.billing()
    [ended] = house.json("down", "turn")["leases"]
    assert ended["state"] == "ended"
    assert ended["receipt"]["evidence"]
    assert house.billing() == []
    assert house.json("gc")["strays"] == []
