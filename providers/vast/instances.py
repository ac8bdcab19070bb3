"""Vast.ai's instances as the contract's: whose they are, what phase they are in, where SSH answers, what they cost.

`actual_status` is what the host reports, `cur_state` and `next_state` are the scheduler's, `intended_status` ours.
An interruptible machine that is outbid is stopped three times over: its disk bills on, and it comes back by itself
when the bid wins again. For us it has failed, and must be destroyed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from providers import naming
from providers.base import Address, AttemptRef, Instance, Phase
from providers.errors import BadWorkload, BootFailed, NoCapacity, PriceChanged, ProviderError
from providers.vast import offers
from providers.vast.fields import moment, number, positive, storage_part, text, traffic_price, whole
from providers.vast.request import OWNER_VARIABLE, TOKEN_VARIABLE

#: A host that has not reported for this long after the start is not going to: "destroy, and take another".
PROVISIONING = timedelta(minutes=20)
_PHASES = {
    "": Phase.PENDING,  # just rented: the host has not reported
    "created": Phase.PENDING,
    "loading": Phase.PENDING,
    "rebooting": Phase.UNKNOWN,
    "frozen": Phase.UNKNOWN,
    "running": Phase.RUNNING,
    "stopped": Phase.FAILED,
    "exited": Phase.FAILED,
    "offline": Phase.FAILED,
}
_OCI = re.compile(r"OCI runtime create failed", re.IGNORECASE)
_NO_IMAGE = re.compile(
    r"manifest unknown|manifest for .* not found|failed to resolve reference|pull access denied|unauthorized:"
    r"|repository does not exist|invalid reference format",
    re.IGNORECASE,
)
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
_ABSURD = 10_000
#: `dph_total` is rounded here and there; what is below it is no dearer price.
_NOISE = Decimal("1.01")


@dataclass(frozen=True, slots=True)
class Promise:
    """What an attempt was promised, for its instance to be held against.

    Attributes:
        own_image: neither image nor command is the user's.
        storage: USD per GB and month of 720 hours.
        egress, ingress: USD per GB.
    """

    own_image: bool = True
    storage: Decimal | None = None
    egress: Decimal | None = None
    ingress: Decimal | None = None


def promise_of(attempt: AttemptRef) -> Promise:
    """What the attempt's offer said."""
    offer, spec = attempt.offer, attempt.spec
    storage = offer.native.get("storage_usd_per_gb_month")
    return Promise(
        own_image=spec.image is None and spec.cmd is None,
        storage=Decimal(storage) if isinstance(storage, str) and re.fullmatch(r"[0-9.]{1,40}", storage) else None,
        egress=max(tier.usd_per_gb for tier in offer.egress) if offer.egress else None,
        ingress=offer.ingress_usd_per_gb,
    )


def token_of(row: Mapping[str, Any]) -> str | None:
    """Our name on an instance: its label.

    The environment stands in only where an answer leaves the label out: a machine with another label, or none, may be
    a person's copy of ours.
    """
    word = text(row["label"]) if "label" in row else variable(row, TOKEN_VARIABLE)
    return word if naming.parse(word) else None


def is_ours(row: Mapping[str, Any], owner: str) -> bool:
    """Whether *row* carries the mark of the installation *owner* (the full owner id).

    Two owners may share the seven characters in a name, so where the environment names one, it must be this one.
    """
    return naming.is_ours(token_of(row), owner) and variable(row, OWNER_VARIABLE) in (None, owner)


def has_token(row: Mapping[str, Any], token: str, owner: str) -> bool:
    """Whether *row* was made for the attempt *token* of the installation *owner*."""
    return token_of(row) == token and variable(row, OWNER_VARIABLE) in (None, owner)


def variable(row: Mapping[str, Any], name: str) -> str | None:
    """One variable of the environment, which comes back as pairs (or as an object, or as ``NAME=value`` texts)."""
    env = row.get("extra_env")
    if isinstance(env, Mapping):
        return text(env.get(name))
    for item in env if isinstance(env, list) else []:
        pair = item.split("=", 1) if isinstance(item, str) else item
        if isinstance(pair, list) and len(pair) == 2 and pair[0] == name:
            return text(pair[1])
    return None


def read(
    row: Mapping[str, Any],
    *,
    account: str,
    now: datetime,
    promise: Promise | None = None,
    token: str | None = None,
) -> Instance:
    """The contract's view of *row*, which has an id.

    Args:
        promise: what it was rented for; without it only the machine's own prices are known.
        token: our name on it, where that is known better than from the row.
    """
    held = promise or Promise()
    made = moment(row.get("start_date"))
    phase, failure = _state(row, held, now, made)
    rate = _rate(row, held) if phase in (Phase.PENDING, Phase.RUNNING) else None
    return Instance(
        provider="vast",
        account=account,
        id=str(row["id"]),
        handle={"kind": "instance", "made_at": (made or now).isoformat()},
        token=token or token_of(row),
        owner=variable(row, OWNER_VARIABLE),
        phase=phase,
        address=_address(row) if phase is Phase.RUNNING else None,
        failure=failure,
        usd_per_hour=rate,
        created_at=made,
    )


def made_at(handle: Mapping[str, str] | None) -> datetime | None:
    """When the instance of *handle* was made."""
    try:
        return datetime.fromisoformat((handle or {}).get("made_at", ""))
    except ValueError:
        return None


def _state(
    row: Mapping[str, Any], held: Promise, now: datetime, made: datetime | None
) -> tuple[Phase, ProviderError | None]:
    status = (text(row.get("actual_status")) or "").lower()
    phase = _PHASES.get(status, Phase.UNKNOWN)
    if status == "unknown" and (made is None or now - made < PROVISIONING):
        phase = Phase.FAILED
    failure = _stopped(row, now) if _is_stopped(row, status) else _failure(row, status, phase, held)
    if failure is None and phase in (Phase.PENDING, Phase.RUNNING):
        failure = _dearer(row, held)
    return (phase if failure is None else Phase.FAILED), failure


def _is_stopped(row: Mapping[str, Any], status: str) -> bool:
    if status == "stopped" or (status == "exited" and row.get("is_bid") is True):
        return True
    states = (row.get("cur_state"), row.get("next_state"), row.get("intended_status"))
    return states == ("stopped", "stopped", "stopped")


def _stopped(row: Mapping[str, Any], now: datetime) -> ProviderError:
    """Why it is stopped, which orch never asks for. None of it is the host's fault."""
    end = moment(row.get("end_date"))
    if end is not None and end <= now:
        return NoCapacity("vast: the listing has ended, and the machine with it", code="listing-ended", scope="offer")
    if row.get("is_bid") is True:
        least = positive(row.get("min_bid"))
        to_beat = f"; {least:f} USD per hour are to be beaten now" if least else ""
        return NoCapacity(f"vast: outbid: the machine is stopped and its disk bills on{to_beat}", code="outbid")
    return NoCapacity("vast: the machine was stopped; that happens without credit", code="stopped", scope="offer")


def _failure(row: Mapping[str, Any], status: str, phase: Phase, held: Promise) -> ProviderError | None:
    said = (text(row.get("status_msg")) or "")[:400]
    if phase is Phase.PENDING and _NO_IMAGE.search(said):
        kind = BootFailed if held.own_image else BadWorkload
        return kind(f"vast: the image cannot be had: {said}", code="image-pull")
    if phase is Phase.PENDING and _OCI.search(said):
        return BootFailed(f"vast: the container cannot be started: {said}", code="oci-runtime", scope="host")
    if phase is not Phase.FAILED:
        return None
    what = {"exited": "the container has ended", "offline": "the host has lost contact"}.get(status, "no news of it")
    last = "" if said.startswith("success") else f": {said}"  # the last good news would only mislead
    return BootFailed(f"vast: {what}{last if said else ''}", code=status or "failed", scope="host")


def _dearer(row: Mapping[str, Any], held: Promise) -> ProviderError | None:
    """The contract's traffic prices against the promise: they are on no hourly rate."""
    for what, now, then in (
        ("egress", traffic_price(row, "up"), held.egress),
        ("ingress", traffic_price(row, "down"), held.ingress),
    ):
        if now is not None and then is not None and now > then * offers.SLACK:
            return PriceChanged(f"vast: {what} costs {now:f} USD per GB, promised were {then:f}", code=f"{what}-price")
    return None


def _rate(row: Mapping[str, Any], held: Promise) -> Decimal | None:
    """USD per hour without the disk, as offers state it, so that the two can be compared.

    A dearer disk than promised shows in it: only the promised disk is taken off `dph_total`.
    """
    base = positive(row.get("dph_base"), most=_ABSURD)
    total = positive(row.get("dph_total"), most=_ABSURD)
    disk = positive(row.get("disk_space"), most=10**7)
    storage = held.storage if held.storage is not None else number(row.get("storage_cost"), most=100)
    if total is None or disk is None or storage is None:
        return base
    rest = total - storage_part(storage, disk)
    if base is None or rest > base * _NOISE:
        return rest if rest > 0 else None
    return base


def _address(row: Mapping[str, Any]) -> Address | None:
    """The machine's own SSH port. The proxy (`ssh_host`) is slower and asks for the account's keys: never used."""
    host = text(row.get("public_ipaddr"))
    ports = row.get("ports")  # docker's map; documents show a list of numbers, which says nothing of port 22
    bound = ports.get("22/tcp") if isinstance(ports, Mapping) else None
    if host is None or not _HOST.fullmatch(host) or not isinstance(bound, list):
        return None
    for item in bound:
        port = whole(item.get("HostPort")) if isinstance(item, Mapping) else None
        if port is not None and port < 65_536:
            return Address(host=host, port=port, user="root")
    return None
