"""Published price lists as saved markets: CSV tables of other projects turned into `offer` rows.

Run ``python -m tests.bench.price_lists FOLDER > market.jsonl`` and plan on it with
``orch plan --offers market.jsonl --gpu l40``. Only what a table says is carried over: egress, disk and reliability are
unknown there and stay null. A price of zero or none is unknown, never free. Faults of the tables that this survives are
listed beside them: memory sizes multiplied twice, ids of places that do not exist, spot prices of 0.00.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgspec

from providers import gpus
from providers.base import Market, Offer, Pricing

#: When the tables were current, by file name; a table without a day of its own counts from its newest commit.
_DATED = {"aws_us-east-1": "2026-07-20", "azure": "2026-06-18", "aws_all_regions": "2025-03-02"}
_MARKETS: dict[str, Market] = {
    "aws": "hyperscaler",
    "azure": "hyperscaler",
    "runpod": "marketplace-secure",
    "vast": "marketplace-community",
    "shadeform": "marketplace-secure",
    "primeintellect": "marketplace-secure",
}


def read_folder(folder: Path) -> list[Offer]:
    """Every offer of every table in *folder* and below, each once."""
    found: dict[str, Offer] = {}
    for file in sorted(folder.rglob("*.csv")):
        for offer in read_table(file):
            found.setdefault(offer.offer_id, offer)
    return list(found.values())


def read_table(file: Path) -> Iterator[Offer]:
    """The offers of one table; rows without a GPU are left out."""
    provider = re.split(r"[_.]", file.name)[0]
    observed = next((day for part, day in _DATED.items() if file.name.startswith(part)), "2026-08-20")
    at = datetime.fromisoformat(observed).replace(tzinfo=UTC)
    with file.open(encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text):
            yield from _flat(row, provider, at) if "usd_per_hour" in row else _catalogued(row, provider, at)


def _catalogued(row: dict[str, str], provider: str, at: datetime) -> Iterator[Offer]:
    name, count = row["AcceleratorName"], row["AcceleratorCount"]
    if not name or not count or not float(count):
        return
    kinds: list[tuple[Pricing, str]] = [("on-demand", row["Price"]), ("spot", row["SpotPrice"])]
    for pricing, price in kinds:
        if pricing == "spot" and money(price) is None:
            continue
        zone = row.get("AvailabilityZone") or None
        yield _offer(
            provider, at, row["InstanceType"], row["Region"], zone, name, pricing, money(price), float(count),
            number(row["vCPUs"]), number(row["MemoryGiB"]),
        )  # fmt: skip


def _flat(row: dict[str, str], provider: str, at: datetime) -> Iterator[Offer]:
    kind = row.get("instance_type") or row["sku"]
    name = row.get("gpu") or row["gpu_family_guess"]
    # These tables do not say how many GPUs a type has; one is what every type has at least.
    yield _offer(provider, at, kind, row["region"], None, name, "on-demand", money(row["usd_per_hour"]), 1, None, None)


def _offer(
    provider: str,
    at: datetime,
    kind: str,
    region: str,
    zone: str | None,
    name: str,
    pricing: Pricing,
    price: Decimal | None,
    count: float,
    vcpus: float | None,
    memory_gib: float | None,
) -> Offer:
    return Offer(
        offer_id=f"{provider}/{region}/{zone or '-'}/{kind}/{pricing}/{price}",
        provider=provider,
        gpu=gpus.canonical(name) or gpus.slug(name),
        region=region or None,
        zone=zone,
        instance_type=kind,
        gpu_count=max(1, int(count)),
        gpu_fraction=min(1.0, count),
        vcpus=vcpus,
        memory_gib=memory_gib,
        market=_MARKETS.get(provider, "specialist"),
        pricing=pricing,
        usd_per_hour=price,
        source="snapshot",
        observed_at=at,
    )


def money(text: str | None) -> Decimal | None:
    """A price, or None for what is none: empty, zero, negative, not a number."""
    try:
        value = Decimal((text or "").strip())
    except InvalidOperation:
        return None
    return value if value.is_finite() and value > 0 else None


def number(text: str | None) -> float | None:
    """A quantity, or None where the table says none."""
    try:
        return float(text or "") or None
    except ValueError:
        return None


if __name__ == "__main__":
    for found in read_folder(Path(sys.argv[1])):
        sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
