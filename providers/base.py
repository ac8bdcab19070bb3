"""The contract: what every provider promises, and the words it speaks in.

An adapter is async and remembers nothing; the store does. What it may assume of the world comes in through
`Context`. Money is `Decimal` USD, times are timezone-aware UTC, GB are 10^9 bytes and GiB are 2^30.
"""

from __future__ import annotations

import abc
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from providers.env import Env, SystemEnv
from providers.errors import ProviderError

Market = Literal["hyperscaler", "specialist", "marketplace-secure", "marketplace-community", "decentralized", "own"]
Pricing = Literal["on-demand", "spot", "reserved", "prepaid"]
Workload = Literal["container", "vm", "bare-metal"]
Evidence = Literal["contract", "claim", "api"]


class Billing(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider turns use into billed time.

    Attributes:
        increment_s: billed time is rounded up to a multiple of this many seconds.
        minimum_s: no use is billed for less than this many seconds.
        aligned_to: ``clock`` if increments start at full UTC multiples (Fluence's hours), else ``start``.
        while_booting: whether the time before the machine is usable is billed.
    """

    increment_s: int = 1
    minimum_s: int = 0
    aligned_to: Literal["start", "clock"] = "start"
    while_booting: bool = True


class EgressTier(msgspec.Struct, frozen=True, kw_only=True):
    """One step of an egress price list: up to *up_to_gb* GB a month in all (None: no end) at *usd_per_gb*."""

    up_to_gb: Decimal | None = None
    usd_per_gb: Decimal = Decimal(0)


class Offer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something for rent now, in one account. The field names are the JSON of `orch offers --json`.

    `usd_per_hour` is for the whole machine with all its `gpu_count` GPUs; None is unknown, never free.
    `egress` None is unknown; an empty tuple never occurs. `native` holds what the adapter itself needs to
    launch exactly this offer (strings and numbers only); a text under ``unavailable`` says why `available` is
    False where it is not for lack of stock (a quota, a restriction of the account).
    """

    offer_id: str
    provider: str
    gpu: str
    account: str | None = None
    region: str | None = None
    zone: str | None = None
    country: str | None = None
    host_id: str | None = None
    instance_type: str | None = None
    gpu_count: int = 1
    gpu_fraction: float = 1.0
    gpu_memory_gib: float | None = None
    arch: str | None = "x86_64"
    vcpus: float | None = None
    memory_gib: float | None = None
    disk_gib: float | None = None
    disk_min_gib: float | None = None
    disk_max_gib: float | None = None
    market: Market | None = None
    pricing: Pricing = "on-demand"
    workloads: tuple[Workload, ...] = ()
    usd_per_hour: Decimal | None = None
    deposit_usd: Decimal | None = None
    billing: Billing = Billing()
    egress: tuple[EgressTier, ...] | None = None
    egress_route: str | None = None
    egress_evidence: Evidence | None = None
    ingress_usd_per_gb: Decimal | None = None
    storage_usd_per_gib_month: Decimal | None = None
    address_usd_per_hour: Decimal | None = None
    reliability: float | None = None
    reliability_source: str | None = None
    interruptions_per_hour: float | None = None
    boot_s: float | None = None
    compliance: tuple[str, ...] = ()
    compliance_evidence: Evidence | None = None
    available: bool | None = None
    available_count: int | None = None
    available_until: datetime | None = None
    source: Literal["live", "snapshot", "file"] = "live"
    observed_at: datetime | None = None
    native: dict[str, Any] = {}


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine wants to know of a market. All but `gpus` are hints that may be pushed down.

    Attributes:
        gpus: canonical model names (`providers.gpus`); empty means every model that is sold.
        count: GPUs per machine, at least.
        pricing: which ways of paying matter.
        egress_free: only offers without any egress price are of interest.
        disk_gib: disk the machine must have; it enters some marketplaces' prices.
        min_duration_s: how long the machine will be wanted, where listings end by themselves.
        countries: ISO 3166 two-letter codes of interest; empty means all.
    """

    gpus: tuple[str, ...] = ()
    count: int = 1
    pricing: tuple[Pricing, ...] = ("on-demand", "reserved", "prepaid")
    egress_free: bool = False
    disk_gib: int = 50
    min_duration_s: float = 0.0
    countries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """One provider's answer to a `Query`.

    Attributes:
        offers: everything that is sold for the asked GPUs, sold-out included and marked (`available=False`).
        partial: the provider caps its searches, so there may be more.
        note: one line for people, for example "rents no L40" or "64 rows shown".
    """

    offers: list[Offer]
    partial: bool = False
    note: str = ""


class LaunchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a launch needs besides the offer; saved before the provider is asked.

    Attributes:
        name: ``orch-<owner7>-<lease9>-<nn>``, 25 characters (`providers.naming`). It is the token too.
        owner: the full owner id, 32 hexadecimal digits; goes into tags, labels or environment where they exist.
        lease: the lease's id.
        ssh_public_key: one OpenSSH public key line.
        workload: what to rent where an offer could be both.
        image: container image, or None for the provider's default for SSH work.
        cmd: command line to run in the image instead of its own; never touches the SSH access.
        env: environment variables for the workload (visible in many consoles: no secrets).
        ports: further ports to open, as ``8080/http`` or ``9000/tcp``.
        disk_gib: disk in GiB.
        max_usd_per_hour: the promise; adapters send it along where the wire has a price cap.
        ends_at: when the machine should end by itself, where the provider can do that.
        native: what `Provider.resolve` looked up (image ids, subnets), so a replay is word for word the same.
    """

    name: str
    owner: str
    lease: str
    ssh_public_key: str
    workload: Workload | None = None
    image: str | None = None
    cmd: str | None = None
    env: dict[str, str] = {}
    ports: tuple[str, ...] = ()
    disk_gib: int = 50
    max_usd_per_hour: Decimal | None = None
    ends_at: datetime | None = None
    native: dict[str, Any] = {}


class Phase(StrEnum):
    """Where a provider says its instance is."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    GONE = "gone"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where SSH answers, as the provider says it (not yet mapped by `Env.dial`)."""

    host: str
    port: int = 22
    user: str = "root"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """The provider's thing.

    Attributes:
        id: the provider's own id.
        handle: all that `terminate` needs, strings only (kind, region, namespace ...).
        token: our name on it, or None where the answer does not carry it.
        owner: the full owner id where tags hold it, else None.
        phase: see `Phase`; GONE means gone and not billed.
        address: where SSH answers, once known; None before.
        failure: why it failed, classed by the provider's error table, if `phase` is FAILED or it is doomed.
        usd_per_hour: the rate the provider itself reports, if it does.
        created_at: when the provider made it, if it says so.
    """

    provider: str
    account: str
    id: str
    handle: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    owner: str | None = None
    phase: Phase = Phase.UNKNOWN
    address: Address | None = None
    failure: ProviderError | None = None
    usd_per_hour: Decimal | None = None
    created_at: datetime | None = None


class AttemptRef(msgspec.Struct, frozen=True, kw_only=True):
    """What our store knows of one attempt, for `Provider.find`.

    `instance_id` and `handle` are None until a launch answered.
    """

    token: str
    account: str
    offer: Offer
    spec: LaunchSpec
    instance_id: str | None = None
    handle: dict[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A documented limit of calls: at most one call per `spacing_s` for the verbs in `verbs`."""

    verbs: tuple[str, ...]
    spacing_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a provider beforehand; each figure has its source in the fact sheet and docs page.

    Attributes:
        consistency_s: seconds after which a created instance must show up in listings.
        accept_s: seconds from accepted to `running` before the boot counts as failed.
        boot_s: seconds from `running` to an address that answers SSH before it counts as failed.
        rates: documented limits; spacings of 1 s or more are shared by all processes through the store.
        page_size: rows per page of a listing, None where there are no pages.
        replayable_create: whether the same create with the same token makes at most one instance.
        token_in: where our mark is kept: "name" (25 characters) or "tags" (full owner id).
        terminate_pending: whether an instance may be ended before it runs.
        dead_man: how the provider itself ends a machine at `ends_at`, or None where it cannot.
        workloads: kinds of workload that can be rented.
        markets: markets it sells in.
        only_containers: capabilities that only its containers have.
        capabilities: things some providers can do: "image", "cmd", "env", "ports", "disk", "spot", "quota",
            "accept-then-fail", "price-drift", "price-in-machine" (only a machine tells what it costs).
        egress: one line on egress for people.
    """

    consistency_s: float = 60.0
    accept_s: float = 600.0
    boot_s: float = 600.0
    rates: tuple[Rate, ...] = ()
    page_size: int | None = None
    replayable_create: bool = False
    token_in: Literal["name", "tags"] = "name"  # noqa: S105 - no password
    terminate_pending: bool = True
    dead_man: str | None = None
    workloads: tuple[Workload, ...] = ()
    markets: tuple[Market, ...] = ()
    capabilities: frozenset[str] = frozenset()
    only_containers: frozenset[str] = frozenset({"image"})
    egress: str = ""


class Pace(Protocol):
    """Spaces calls out. The engine's keeps its memory in the store, so that processes share it."""

    async def wait(self, key: str, spacing_s: float) -> None:
        """Return once *spacing_s* seconds have passed since anybody else's turn under *key*."""


class LocalPace:
    """A `Pace` for one process."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._next: dict[str, float] = {}

    async def wait(self, key: str, spacing_s: float) -> None:
        now = self._env.monotonic()
        turn = max(now, self._next.get(key, now))
        self._next[key] = turn + spacing_s
        if turn > now:
            await self._env.sleep(turn - now)


@dataclass(slots=True)
class Context:
    """What an adapter is given: the world, its settings, the pacer and our owner id.

    Attributes:
        settings: environment variables, vendors' own names and `ORCH_*`, the real environment over `.env`.
        owner: the installation's owner id, 32 hexadecimal digits.
        on_unclassified: called with (provider, code, raw text) for every refusal no table knows.
    """

    env: Env = field(default_factory=SystemEnv)
    settings: Mapping[str, str] = field(default_factory=dict)
    owner: str = "0" * 32
    pace: Pace | None = None
    on_unclassified: Callable[[str, str, str], None] | None = None

    def __post_init__(self) -> None:
        if self.pace is None:
            self.pace = LocalPace(self.env)


class Provider(abc.ABC):
    """What every cloud promises.

    All methods raise `providers.errors.ProviderError` subclasses and nothing else for what a provider does;
    a failed or unreadable listing raises, it never comes back empty.
    """

    name: ClassVar[str]
    facts: ClassVar[Facts]

    def __init__(self, context: Context) -> None:
        self.context = context
        self.env = context.env

    @abc.abstractmethod
    async def account(self) -> str:
        """Which account the key opens: the vendor's own id, else `key_account`. Stable over time.

        A listing proves absence only if its account is the attempt's.
        """

    @abc.abstractmethod
    async def offers(self, query: Query) -> Listing:
        """Everything sold for the asked GPUs, at live prices, sold-out included and marked."""

    @abc.abstractmethod
    async def price(self, offer: Offer) -> Offer | None:
        """Re-quote exactly this offer; None if it is not sold any more."""

    async def resolve(self, offer: Offer, spec: LaunchSpec) -> LaunchSpec:
        """Look up all that `launch` still needs, so that the saved spec is complete. Makes nothing."""
        return spec

    @abc.abstractmethod
    async def launch(self, offer: Offer, spec: LaunchSpec, token: str) -> Instance:
        """Rent exactly *offer*. Returns as soon as the provider has accepted and named the thing.

        Raises:
            ProviderError: and nothing exists, unless it is `OutcomeUnknown` or says so in `left`.
        """

    @abc.abstractmethod
    async def find(self, attempt: AttemptRef) -> Instance | None:
        """The attempt's instance with its address and phase, looked up where it must be; None if not listed.

        An ended instance that the provider still lists comes back with phase GONE.
        """

    @abc.abstractmethod
    async def owned(self) -> list[Instance]:
        """Every instance with our mark that is not GONE, all pages, with handle, token and phase."""

    @abc.abstractmethod
    async def terminate(self, instance: Instance) -> bool:
        """Ask for the end, or look whether it has come. Call until True; safe to repeat.

        Returns:
            True once the instance and all that came along is gone and no longer billed.
        """

    async def check(self) -> dict[str, str]:
        """What `orch providers check` shows. Never a secret; makes nothing that stays.

        Returns:
            One line of text under each of these keys; where the provider does not tell, the text says so:
            ``account``; ``key`` ("accepted (from where)"); ``rights`` (what the key may do, or that only a
            launch shows it); ``quota`` (or ``balance``: what may be rented or paid for); ``clock_skew``
            ("3 s", "unknown"). ``fix``, only where something must be done: what to do, in one sentence.
            Further keys are the provider's own.

        Raises:
            ProviderError: not reachable, or the key is refused.
        """
        return {"account": await self.account()}

    async def aclose(self) -> None:  # noqa: B027 - not every adapter holds connections
        """Close connections."""


def key_account(provider: str, key: str) -> str:
    """An id for the account behind *key* where the API names none: a keyed hash, so the key cannot be read."""
    return "key-" + hmac.new(f"orch-account:{provider}".encode(), key.encode(), hashlib.sha256).hexdigest()[:16]
