"""What is wanted: one frozen object that the command line, a file, the API and the store all share.

Quantities here are plain numbers with their unit in the name; `policies.options` reads what people write.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Literal

import msgspec

from policies.errors import BadRequest

DEFAULT_DISK_GIB = 50

_YEAR_S = 365 * 86400
_MONTH_S = 30 * 86400

#: Least and most of each number, both allowed. What lies outside is a slip of the keyboard, not a wish.
BOUNDS: dict[str, tuple[float, float]] = {
    "count": (1, 64),
    "replicas": (1, 1000),
    "hours": (1 / 3600, 87_600),
    "egress_gb": (0, 1e9),
    "ingress_gb": (0, 1e9),
    "checkpoint_s": (0, _MONTH_S),
    "disk_gib": (1, 1_000_000),
    "cpus": (0.1, 4096),
    "memory_gib": (0.1, 65_536),
    "max_price": (0.001, 1e6),
    "budget": (0.001, 1e9),
    "ttl_s": (60, 10 * _YEAR_S),
    "idle_s": (60, _YEAR_S),
    "wait_s": (0, _YEAR_S),
    "deadline_s": (1, _MONTH_S),
}

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PORT = re.compile(r"(\d{1,5})/(tcp|udp|http)")
_COUNTRY = re.compile(r"[A-Z]{2}")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted. `validate` says whether it can be meant; `of` reads values as people write them.

    Attributes:
        gpu: model names or families as the user wrote them; `wanted_gpus` says what they mean.
        count: GPUs that must be on one machine.
        replicas: machines wanted.
        or_better: models at least as good are welcome, too.
        policy: name or path of a policy.
        require: further requirements as ``KEY=VALUE``; they only tighten the policy.
        hours: expected duration, for the cost only; it ends nothing.
        egress_gb, ingress_gb: GB (10^9 bytes) that leave and enter each replica in all.
        checkpoint_s: seconds of work between two checkpoints: half of it is lost when a machine is taken away.
        disk_gib: disk of each replica in GiB.
        cpus, memory_gib: least vCPUs and GiB of memory of a machine; None is any.
        region: regions or zones, ``*`` matching any text; empty is any. Likewise country (ISO 3166 two-letter
            codes), provider and exclude_provider (names).
        workload: what to rent where an offer could be several; None is any. An image needs a container.
        image, cmd, env, port: what runs there; ports as ``8080/http``, ``9000/tcp`` or ``53/udp``.
        max_price: most USD an hour for one machine.
        budget: most USD for the whole request.
        ttl_s: seconds until the machine ends by itself; None is never.
        idle_s: seconds without GPU use after which it ends; None is never.
        name: what people call it.
        keep: replace a machine that is lost.
        ready: what must answer before the machine counts as ready.
        wait_s: seconds to go on reading the market once every candidate failed.
        deadline_s: seconds that failover may take; None leaves it to the policy.
    """

    gpu: tuple[str, ...] = ()
    count: int = 1
    replicas: int = 1
    or_better: bool = False
    policy: str = "cheapest"
    require: tuple[str, ...] = ()
    hours: float = 24.0
    egress_gb: float = 0.0
    ingress_gb: float = 0.0
    checkpoint_s: float = 1800.0
    disk_gib: int = DEFAULT_DISK_GIB
    cpus: float | None = None
    memory_gib: float | None = None
    region: tuple[str, ...] = ()
    country: tuple[str, ...] = ()
    provider: tuple[str, ...] = ()
    exclude_provider: tuple[str, ...] = ()
    workload: Literal["container", "vm", "bare-metal"] | None = None
    image: str | None = None
    cmd: str | None = None
    env: dict[str, str] = {}
    port: tuple[str, ...] = ()
    max_price: Decimal | None = None
    budget: Decimal | None = None
    ttl_s: float | None = None
    idle_s: float | None = None
    name: str | None = None
    keep: bool = False
    ready: Literal["gpu", "ssh", "none"] = "gpu"
    wait_s: float = 0.0
    deadline_s: float | None = None

    @classmethod
    def of(cls, **options: object) -> Request:
        """A valid request from values as people write them: ``Request.of(gpu="l40,l40s", egress="1.5TB")``.

        Raises:
            BadRequest: see `policies.options.build`.
        """
        from policies.options import build

        return build(options)

    def validate(self) -> Request:
        """This request, if it can be meant.

        Raises:
            BadRequest: with one clear message and, where there is something to do about it, a hint.
        """
        _check_types(self)
        for field, (least, most) in BOUNDS.items():
            _check_bounds(field, getattr(self, field), least, most)
        _check_words(self)
        _check_workload(self)
        wanted_gpus(self)
        return self


def wanted_gpus(request: Request) -> frozenset[str]:
    """The canonical names of all models that would do.

    Raises:
        BadRequest: no model, or an unknown one, is asked for.
    """
    from providers.gpus import UnknownGpu, at_least, expand

    try:
        names = expand(request.gpu)
    except UnknownGpu as error:
        hint = f"did you mean {', '.join(error.nearest)}?" if error.nearest else "see `orch gpus`"
        raise BadRequest(f"gpu: no model is called {error.word!r}", hint=hint) from error
    if not names:
        raise BadRequest("gpu: no model is asked for", hint="say which, for example --gpu l40; see `orch gpus`")
    return frozenset(at_least(names) if request.or_better else names)


def is_container(request: Request) -> bool:
    """Whether the request can only be served by a container: a plain machine takes no container image."""
    return request.workload == "container" or request.image is not None


def needs(request: Request) -> frozenset[str]:
    """What the request asks of a machine that not every provider can do: capabilities (`providers.base.Facts`)."""
    asked = {"cmd": request.cmd is not None, "env": bool(request.env), "ports": bool(request.port)}
    return frozenset(name for name, wanted in asked.items() if wanted)


def _check_types(request: Request) -> None:
    # Python does not look at annotations; a text where a tuple belongs would be read letter by letter.
    try:
        msgspec.convert(msgspec.structs.asdict(request), Request)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise BadRequest(
            f"{where.strip('`') or 'request'}: {what[0].lower()}{what[1:]}",
            hint="Request.of(...) takes values as people write them",
        ) from error


def _check_bounds(field: str, value: float | Decimal | None, least: float, most: float) -> None:
    option, unit = _spoken(field)
    if value is None:
        return
    if not math.isfinite(value):
        raise BadRequest(f"{option}: {value} is not a number")
    if least <= float(value) <= most:
        return
    if value < 0:
        raise BadRequest(f"{option}: {value} must not be negative")
    if value == 0:
        raise BadRequest(f"{option}: 0 is too little", hint=f"at least {_plain(least)}{unit}")
    too = "much" if value > most else "little"
    bound = f"at most {_plain(most)}" if value > most else f"at least {_plain(least)}"
    raise BadRequest(f"{option}: {value}{unit} is too {too}", hint=f"{bound}{unit}")


def _spoken(field: str) -> tuple[str, str]:
    """The option that a field comes from, and its unit."""
    units = {"_gb": " GB", "_gib": " GiB", "_s": " s"}
    for suffix, unit in units.items():
        if field.endswith(suffix):
            return field.removesuffix(suffix), unit
    return field.replace("_", "-"), " USD" if field in ("max_price", "budget") else ""


def _plain(number: float) -> str:
    return f"{number:,.0f}".replace(",", " ") if number >= 1 else f"{number:.3g}"


def _check_words(request: Request) -> None:
    for country in request.country:
        if country == "EU":
            raise BadRequest("country: EU is not a country", hint="write --require jurisdictions=eu")
        if not _COUNTRY.fullmatch(country):
            raise BadRequest(f"country: {country!r} is not a two-letter code", hint="ISO 3166, for example DE or US")
    if both := set(request.provider) & set(request.exclude_provider):
        raise BadRequest(f"provider: {min(both)} is both asked for and excluded")
    for port in request.port:
        match = _PORT.fullmatch(port)
        if not match or not 1 <= int(match[1]) <= 65535:
            raise BadRequest(f"port: {port!r} is not a port", hint="write 8080/http or 9000/tcp")
    for name in request.env:
        if not _ENV_NAME.fullmatch(name):
            raise BadRequest(f"env: {name!r} cannot be the name of a variable", hint="write --env NAME=VALUE")
    if request.name is not None and not _NAME.fullmatch(request.name):
        raise BadRequest(f"name: {request.name!r} cannot be a name", hint="1 to 63 of a-z, 0-9 and -, no - at the ends")


def _check_workload(request: Request) -> None:
    if request.workload not in (None, "container") and request.image:
        raise BadRequest(
            f"image: a {request.workload} takes no container image", hint="leave --workload out, or --image"
        )
    for field in ("image", "cmd", "policy"):
        text = getattr(request, field)
        if text is not None and not text.strip():
            raise BadRequest(f"{field}: nothing is given", hint=f"leave --{field} out instead")
