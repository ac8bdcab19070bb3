"""The settings of the Kubernetes adapter, read once and checked when they are first needed."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Literal

from providers.errors import InvalidRequest

NAMESPACE_SETTING = "ORCH_COREWEAVE_NAMESPACE"
CONTEXT_SETTING = "ORCH_COREWEAVE_CONTEXT"
MANAGED_SETTING = "ORCH_COREWEAVE_MANAGED"
MAX_NODES_SETTING = "ORCH_COREWEAVE_MAX_NODES"
TYPES_SETTING = "ORCH_COREWEAVE_TYPES"
PRICES_SETTING = "ORCH_COREWEAVE_PRICES"
RANGES_SETTING = "ORCH_COREWEAVE_SOURCE_RANGES"
SERVICE_SETTING = "ORCH_COREWEAVE_SERVICE"
LB_WAIT_SETTING = "ORCH_COREWEAVE_LB_WAIT_S"
EGRESS_SETTING = "ORCH_COREWEAVE_EGRESS_USD_PER_GB"
TOLERATIONS_SETTING = "ORCH_COREWEAVE_TOLERATIONS"
PULL_SECRET_SETTING = "ORCH_COREWEAVE_PULL_SECRET"  # noqa: S105 - a setting's name
RUNTIME_CLASS_SETTING = "ORCH_COREWEAVE_RUNTIME_CLASS"

DEFAULT_NAMESPACE = "orch"
#: A node costs up to 69 USD an hour: a default that a mistake cannot make dear.
DEFAULT_MAX_NODES = 4
_YES = frozenset({"1", "true", "yes", "on"})
_NO = frozenset({"", "0", "false", "no", "off"})

ServiceType = Literal["LoadBalancer", "NodePort"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the settings say.

    Attributes:
        namespace: where everything of ours is made.
        contexts: names of kubeconfig contexts (or of discovered clusters) to use; empty for the default one.
        managed: whether NodePools may be made and removed, which costs money by the node.
        max_nodes: nodes that this installation may have in one cluster at a time, in managed mode.
        types: instance types that managed mode may add; empty for all with a known price.
        prices: USD per hour of a whole node by instance type, ``TYPE:spot`` for spot.
        source_ranges: CIDRs that may reach the load balancer; empty for everybody.
        service: how SSH gets in.
        lb_wait_s: how long a load balancer may stay without address; None for the adapter's own figure.
        egress_usd_per_gb: the user's own egress price; None for what the vendor says.
        tolerations: further taint keys to tolerate.
        pull_secret: name of a dockerconfigjson Secret in the namespace, for private images.
        runtime_class: RuntimeClass for GPU containers, where NVIDIA's is not the default (k3s).
    """

    namespace: str = DEFAULT_NAMESPACE
    contexts: tuple[str, ...] = ()
    managed: bool = False
    max_nodes: int = DEFAULT_MAX_NODES
    types: tuple[str, ...] = ()
    prices: Mapping[str, Decimal] = field(default_factory=dict)
    source_ranges: tuple[str, ...] = ()
    service: ServiceType = "LoadBalancer"
    lb_wait_s: float | None = None
    egress_usd_per_gb: Decimal | None = None
    tolerations: tuple[str, ...] = ()
    pull_secret: str | None = None
    runtime_class: str | None = None


def namespace(settings: Mapping[str, str]) -> str:
    """The namespace alone: it is part of the account, and must not depend on the rest being right."""
    return settings.get(NAMESPACE_SETTING, "").strip() or DEFAULT_NAMESPACE


def contexts(settings: Mapping[str, str]) -> tuple[str, ...]:
    """The contexts asked for, each once, in the order given."""
    return words(settings.get(CONTEXT_SETTING, ""))


def load(settings: Mapping[str, str]) -> Config:
    """All of it.

    Raises:
        InvalidRequest: names the setting and what is wrong with it.
    """
    service = settings.get(SERVICE_SETTING, "").strip() or "LoadBalancer"
    if service not in ("LoadBalancer", "NodePort"):
        raise _bad(SERVICE_SETTING, "LoadBalancer or NodePort")
    managed, most = _managed(settings)
    return Config(
        namespace=namespace(settings),
        contexts=contexts(settings),
        managed=managed,
        max_nodes=most,
        types=words(settings.get(TYPES_SETTING, "")),
        prices=prices(settings.get(PRICES_SETTING, "")),
        source_ranges=_ranges(settings.get(RANGES_SETTING, "")),
        service="NodePort" if service == "NodePort" else "LoadBalancer",
        lb_wait_s=_seconds(settings, LB_WAIT_SETTING),
        egress_usd_per_gb=_money(settings, EGRESS_SETTING),
        tolerations=words(settings.get(TOLERATIONS_SETTING, "")),
        pull_secret=settings.get(PULL_SECRET_SETTING, "").strip() or None,
        runtime_class=settings.get(RUNTIME_CLASS_SETTING, "").strip() or None,
    )


def words(text: str) -> tuple[str, ...]:
    """The words of a comma list, each once."""
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def prices(text: str) -> dict[str, Decimal]:
    """``gd-8xl40-i128=9.50, gd-8xl40-i128:spot=4`` as a table.

    Raises:
        InvalidRequest: a word is no such pair, or its price is not above zero.
    """
    found: dict[str, Decimal] = {}
    for word in words(text):
        name, equals, figure = word.partition("=")
        price = usd(figure)
        if not equals or not name.strip() or price is None or price <= 0:
            raise _bad(PRICES_SETTING, f"a comma list of TYPE=USD per node-hour ({word!r} is not)")
        found[name.strip()] = price
    return found


def usd(text: str) -> Decimal | None:
    """*text* as an amount of money, at least 0; None if it is none."""
    try:
        figure = Decimal(text.strip())
    except InvalidOperation:
        return None
    return figure if figure.is_finite() and figure >= 0 else None


def _managed(settings: Mapping[str, str]) -> tuple[bool, int]:
    word = settings.get(MANAGED_SETTING, "").strip().lower()
    limit = settings.get(MAX_NODES_SETTING, "").strip()
    if limit and not (limit.isascii() and limit.isdigit()):
        raise _bad(MAX_NODES_SETTING, "a whole number")
    if word not in _YES | _NO:
        raise _bad(MANAGED_SETTING, "1 or 0")
    return word in _YES, int(limit) if limit else DEFAULT_MAX_NODES


def _ranges(text: str) -> tuple[str, ...]:
    found = words(text)
    for word in found:
        try:
            ipaddress.ip_network(word)
        except ValueError:
            raise _bad(RANGES_SETTING, f"a comma list of CIDR ranges ({word!r} is none)") from None
    return found


def _seconds(settings: Mapping[str, str], name: str) -> float | None:
    text = settings.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise _bad(name, "whole seconds")
    return float(text)


def _money(settings: Mapping[str, str], name: str) -> Decimal | None:
    text = settings.get(name, "").strip()
    if not text:
        return None
    figure = usd(text)
    if figure is None:
        raise _bad(name, "USD per GB")
    return figure


def _bad(name: str, wanted: str) -> InvalidRequest:
    return InvalidRequest(f"{name} must be {wanted}", code="bad-setting")
