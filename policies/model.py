"""What a policy is: requirements, an objective and failover rules, as data. `policies.policy` finds and reads them.

Anything with the attributes of `PolicyLike` is a policy, so one may be a Python object, too; such an object may
also have a ``score(offer, cost)``, which then ranks instead of the objective (smaller is better).
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal, Protocol

import msgspec

from policies.cost import Cost
from policies.keys import KEYS
from providers.base import Market, Offer, Pricing, Workload

Objective = Literal[
    "expected-cost", "hourly-price", "usd-per-tflop-hour", "usd-per-bandwidth", "interruptions", "boot-time"
]
Score = Callable[[Offer, Cost], Decimal | float]


class Require(msgspec.Struct, frozen=True, kw_only=True):
    """What an offer must be; see `policies.keys.KEYS` for each. None requires nothing, an empty list allows nothing.

    A requirement on something that an offer does not state drops the offer.
    """

    egress_free: bool = False
    max_egress_usd_per_gb: Decimal | None = None
    min_reliability: float | None = None
    markets: tuple[Market, ...] | None = None
    exclude_markets: tuple[Market, ...] | None = None
    pricing: tuple[Pricing, ...] | None = None
    regions: tuple[str, ...] | None = None
    countries: tuple[str, ...] | None = None
    jurisdictions: tuple[str, ...] | None = None
    compliance: tuple[str, ...] | None = None
    workloads: tuple[Workload, ...] | None = None
    providers: tuple[str, ...] | None = None
    exclude_providers: tuple[str, ...] | None = None
    max_usd_per_hour: Decimal | None = None
    max_total_usd: Decimal | None = None
    min_vcpus: float | None = None
    min_memory_gib: float | None = None
    max_price_age_s: float | None = None
    evidence: Literal["claim", "contract"] | None = None

    def stated(self) -> dict[str, Any]:
        """The requirements that are set, by name."""
        values = ((name, getattr(self, name)) for name in KEYS)
        return {name: value for name, value in values if value is not None and value is not False}

    @property
    def wants_egress(self) -> bool:
        """Whether the price of egress must be known."""
        return self.egress_free or self.max_egress_usd_per_gb is not None


class Minimize(msgspec.Struct, frozen=True, kw_only=True):
    """What the best offer has least of; see `policies.rank`."""

    objective: Objective = "expected-cost"


class Failover(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how dearly to go on trying; None leaves it to the engine.

    Attributes:
        deadline_s: seconds from the first try.
        max_spend_usd: USD that failed tries may cost together.
    """

    deadline_s: float | None = None
    max_spend_usd: Decimal | None = None


class PolicyLike(Protocol):
    """What every policy has. An entry point in the group ``orch.policies`` names one, or a function that makes it."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def require(self) -> Require: ...
    @property
    def minimize(self) -> Minimize: ...
    @property
    def failover(self) -> Failover: ...


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy as data.

    Attributes:
        name: as in `--policy`, or the path it was read from.
        description: one line for people.
        source: ``builtin``, ``file`` or ``entry point``.
        score: ranks instead of the objective where a Python policy brings it.
    """

    name: str
    description: str = ""
    require: Require = Require()
    minimize: Minimize = Minimize()
    failover: Failover = Failover()
    source: Literal["builtin", "file", "entry point"] = "builtin"
    score: Score | None = None


def describe(policy: PolicyLike) -> dict[str, Any]:
    """What `orch policies --json` shows: name, description, and the values that are set, money as strings."""
    failover = msgspec.to_builtins(policy.failover)
    return {
        "name": policy.name,
        "description": policy.description,
        "source": getattr(policy, "source", "entry point"),
        "require": msgspec.to_builtins(policy.require.stated()),
        "minimize": msgspec.to_builtins(policy.minimize),
        "failover": {key: value for key, value in failover.items() if value is not None},
    }
