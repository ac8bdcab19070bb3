"""Fluence's answers as records, read tolerantly: extra fields are ignored, missing ones become None.

No call is made here. Where a row cannot stand for anything (no id, no GPU) it is left out; an answer of which
nothing can be read raises, because an unreadable listing must not look like an empty one.
Field names: https://fluence.dev/docs/build/api/gpu_cloud (2026-02); types come from prose and samples, no
schema was at hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, get_args

from providers.errors import Unavailable

Kind = Literal["containers", "vms", "baremetal"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_SIZE = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGTP]i?)B?\s*$", re.IGNORECASE)
_GIB = 2**30
_LARGEST = Decimal(10) ** 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What can be rented: a container plan, or one option of a VM or bare-metal plan.

    Attributes:
        id: what a create call wants as `plan_id` (`plan.id`, or `options[].id`).
        vram_gib: memory of one GPU.
        locations: where it can be placed; empty if the answer names no place.
        hour: price of the whole machine with all its GPUs, in `currency`; None is unknown.
        upfront_hours: hours that leave the account at create.
        upstream: who really runs the machine, where the answer says so.
    """

    kind: Kind
    id: str
    model: str
    gpu_count: int
    name: str | None = None
    vram_gib: float | None = None
    interface: str | None = None
    vcpus: float | None = None
    memory_gib: float | None = None
    storage_gib: float | None = None
    locations: tuple[str, ...] = ()
    hour: Decimal | None = None
    upfront_hours: Decimal | None = None
    currency: str | None = None
    upstream: str | None = None
    os_options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A forwarded port of a container: *inside* is reached as *outside*."""

    inside: int
    outside: int
    protocol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """An instance. Lists fill the first five fields, details all.

    `container_info` is left unread on purpose: it echoes the environment with whatever secrets are in it.
    """

    kind: Kind
    id: str
    name: str | None = None
    status: str = ""
    created_at: datetime | None = None
    container_status: str | None = None
    domain: str | None = None
    ports: tuple[Port, ...] = ()
    ssh_connection: str | None = None
    os_image: str | None = None
    hourly_usage: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultImage:
    """A container image that Fluence keeps for its users."""

    slug: str
    image: str
    requires_ssh: bool | None = None


def container_plans(answer: Any) -> list[Plan]:
    """The plans in an answer of `GET /gpu/plans/`.

    Raises:
        Unavailable: (code ``malformed``) not one plan could be read, although there were some.
    """
    return _each(rows(answer, "container plans"), _container_plan, "container plans")


def machine_plans(kind: Kind, answer: Any) -> list[Plan]:
    """The options in an answer of `GET /gpu/plans/vms` or `/baremetal`, flattened.

    Raises:
        Unavailable: (code ``malformed``) not one option could be read, although there were some.
    """
    what = f"{kind} plans"
    flat: list[Any] = []
    for group in rows(answer, what):
        flat.extend(_options(group))
    return _each(flat, lambda row: _option(kind, row), what)


def machines(kind: Kind, answer: Any) -> list[Machine]:
    """The rows of an instance list. One without an id or without the field `name` could be ours, so it raises.

    Raises:
        Unavailable: (code ``malformed``) a row says too little to know whose it is.
    """
    found = []
    for row in rows(answer, f"{kind} instances"):
        one = machine(kind, row)
        if one is None or "name" not in row:
            raise malformed(f"a row of the {kind} instances has no id or no name")
        found.append(one)
    return found


def machine(kind: Kind, row: Any) -> Machine | None:
    """One instance of a list or a detail answer, or None if it has no id."""
    fields = record(row)
    id_ = text(fields.get("id"))
    if id_ is None:
        return None
    network = record(fields.get("network"))
    return Machine(
        kind=kind,
        id=id_,
        name=text(fields.get("name")),
        # Containers say `instance_status`, VMs and bare metal `status`.
        status=(text(fields.get("instance_status")) or text(fields.get("status")) or "").casefold(),
        created_at=moment(fields.get("created_at")),
        container_status=(text(fields.get("container_status")) or "").casefold() or None,
        domain=text(network.get("domain")) or text(fields.get("domain")),
        ports=tuple(_ports(network.get("forwarded_ports"))),
        ssh_connection=text(fields.get("ssh_connection")),
        os_image=text(fields.get("os_image")),
        hourly_usage=number(record(fields.get("billing")).get("hourly_usage")),
    )


def default_images(answer: Any) -> list[DefaultImage]:
    """The rows of `GET /gpu/default-images/` that name an image."""
    found = []
    for row in rows(answer, "default images"):
        fields = record(row)
        image = text(fields.get("image"))
        if image is not None:
            needs = fields.get("requires_ssh")
            found.append(
                DefaultImage(
                    slug=text(fields.get("slug")) or "",
                    image=image,
                    requires_ssh=needs if isinstance(needs, bool) else None,
                )
            )
    return found


def rows(answer: Any, what: str) -> list[Any]:
    """The array in *answer*: bare, or wrapped in ``data`` (documented for VM and bare-metal plans only).

    Raises:
        Unavailable: (code ``malformed``) there is none.
    """
    found = answer.get("data") if isinstance(answer, dict) else answer
    if not isinstance(found, list):
        raise malformed(f"{what}: the answer holds no array")
    return found


def malformed(why: str) -> Unavailable:
    """The error for a 2xx answer that cannot be read."""
    return Unavailable(f"fluence: {why}", code="malformed", scope="provider")


def record(value: Any) -> dict[str, Any]:
    """*value* if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def text(value: Any) -> str | None:
    """*value* if it is a text with something in it, without the spaces around it."""
    return (value.strip() or None) if isinstance(value, str) else None


def number(value: Any) -> Decimal | None:
    """A number, or a text that spells one: finite, not negative, below 10^9 and not absurdly small."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        found = Decimal(str(value).strip())
    except (InvalidOperation, ValueError):
        return None
    if not found.is_finite() or not 0 <= found < _LARGEST:
        return None
    return found if not found or found.adjusted() > -18 else None


def whole(value: Any) -> int | None:
    """An integer above 0, in any spelling."""
    found = number(value)
    return int(found) if found is not None and found == int(found) and found > 0 else None


def gib(size: Any) -> float | None:
    """GiB (2^30 bytes) of ``"48Gi"`` or ``{"count": 48, "units": "Gi"}``; None for 0 or without a known unit."""
    if isinstance(size, dict):
        count, units = number(size.get("count")), text(size.get("units"))
        size = f"{count:f}{units}" if count is not None and units else None
    match = _SIZE.match(size) if isinstance(size, str) else None
    if not match:
        return None
    unit = match[2].casefold()
    power = "kmgtp".index(unit[0]) + 1
    found = float(match[1]) * (1024**power if unit.endswith("i") else 1000**power) / _GIB
    return found if 0 < found < 1e12 else None


def moment(value: Any) -> datetime | None:
    """An ISO 8601 time in UTC. A bogus prefix of the year (``+002025-``, of the account API) is dropped."""
    raw = text(value)
    if raw is None:
        return None
    try:
        found = datetime.fromisoformat(re.sub(r"^\+0*(?=\d{4}-)", "", raw))
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _each(found: list[Any], read: Callable[[Any], Plan | None], what: str) -> list[Plan]:
    plans = [plan for row in found if (plan := read(row)) is not None]
    if found and not plans:
        raise malformed(f"{what}: none of {len(found)} rows could be read")
    return plans


def _container_plan(row: Any) -> Plan | None:
    plan = record(record(row).get("plan"))
    supply, places = record(plan.get("supply")), record(record(row).get("attributes")).get("location")
    if isinstance(places, str):
        places = [places]
    return _plan("containers", plan, supply, record(plan.get("gpu_model")), supply.get("gpu_count"), places)


def _options(group: Any) -> Iterator[Any]:
    """Every option below one GPU model, with what the levels above it say.

    A level that is there but unreadable yields itself, so that it counts as a row that could not be read.
    """
    model, numbers = record(group).get("gpu_model"), record(group).get("availability_by_number")
    if not isinstance(numbers, list):
        yield None
        return
    for level in numbers:
        options = record(level).get("options")
        for option in options if isinstance(options, list) else [None]:
            yield {"option": option, "gpu_model": model, "gpu_count": record(level).get("gpu_count")}


def _option(kind: Kind, row: Any) -> Plan | None:
    fields = record(row)
    option = record(fields.get("option"))
    places = [option.get("location")]
    return _plan(kind, option, option, record(fields.get("gpu_model")), fields.get("gpu_count"), places)


def _plan(
    kind: Kind, plan: dict[str, Any], supply: dict[str, Any], gpu: dict[str, Any], gpus: Any, places: Any
) -> Plan | None:
    id_, model, count = text(plan.get("id")), text(gpu.get("model")), whole(gpus)
    if id_ is None or model is None or count is None:
        return None
    pricing = record(plan.get("pricing"))
    vcpus = number(record(supply.get("vcpu")).get("count"))
    return Plan(
        kind=kind,
        id=id_,
        model=model,
        gpu_count=count,
        name=text(plan.get("name")),
        vram_gib=gib(gpu.get("vram")),
        interface=text(gpu.get("interface")),
        vcpus=None if vcpus is None else float(vcpus),
        memory_gib=gib(supply.get("memory")),
        storage_gib=gib(supply.get("storage")),
        locations=_texts(places),
        hour=number(pricing.get("hour")),
        upfront_hours=number(pricing.get("upfront_hours")),
        currency=text(pricing.get("currency")),
        upstream=text(plan.get("provider")),
        os_options=_texts(plan.get("os_options")),
    )


def _texts(values: Any) -> tuple[str, ...]:
    found = [text(value) for value in values] if isinstance(values, list) else []
    return tuple(dict.fromkeys(value for value in found if value is not None))


def _ports(values: Any) -> Iterator[Port]:
    for value in values if isinstance(values, list) else []:
        fields = record(value)
        inside, outside = whole(fields.get("port")), whole(fields.get("external_port"))
        if inside and outside and max(inside, outside) < 65536:
            protocol = (text(fields.get("protocol")) or "tcp").casefold()
            yield Port(inside=inside, outside=outside, protocol=protocol)
