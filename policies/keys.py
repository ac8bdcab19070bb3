"""Every key of `[require]`: how its value is read, and how two values of it become the stricter one.

One table, so that files, `--require KEY=VALUE` and the docs cannot disagree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, get_args

from policies import units
from policies.errors import BadPolicy, BadRequest, nearest
from policies.geo import JURISDICTIONS, country_code
from providers.base import Market, Pricing, Workload

Kind = Literal["flag", "money", "number", "allow", "exclude", "all", "evidence"]

#: What a policy that names no way of paying allows: everything but spot.
DEFAULT_PRICING: tuple[str, ...] = ("on-demand", "reserved", "prepaid")
COMPLIANCE = ("soc2", "iso27001", "gdpr", "hipaa")
EVIDENCE = ("claim", "contract")  # weakest first


@dataclass(frozen=True, slots=True)
class Key:
    """One requirement.

    Attributes:
        name: as in TOML and in `--require`.
        kind: ``allow`` lists what may be (any of them), ``exclude`` what may not, ``all`` what must all be there.
        reasons: the reason codes that an offer is dropped under.
        help: one line for people.
        choices: the words it may hold; empty where any word may stand.
        normal: brings a word into the form that offers use.
        least, most: bounds of a number.
        stricter: which of two numbers wins.
    """

    name: str
    kind: Kind
    reasons: tuple[str, ...]
    help: str
    choices: tuple[str, ...] = ()
    normal: Callable[[str], str] = str.lower
    least: float = 0.0
    most: float = 1e12
    stricter: Callable[[Any, Any], Any] = min

    def read(self, value: object) -> Any:
        """The value that TOML's *value* means.

        Raises:
            BadPolicy: it has the wrong type, or is out of bounds, or is not one of the choices.
        """
        if self.kind == "flag":
            if not isinstance(value, bool):
                raise self._wrong(value, "true or false")
            return value
        if self.kind in ("money", "number"):
            return self._number(value)
        if self.kind == "evidence":
            return self._word(value)
        if not isinstance(value, list | tuple):
            raise self._wrong(value, f'a list, for example {self.name} = ["{_sample(self)}"]')
        if not value:
            raise BadPolicy(f"{self.name}: the list is empty", hint="leave the key out to require nothing")
        return tuple(dict.fromkeys(self._word(item) for item in value))

    def read_text(self, text: str) -> Any:
        """The value in ``KEY=VALUE``: ``true``, a number, a duration for seconds, or words with commas.

        Raises:
            BadPolicy: as for `read`.
        """
        text = text.strip()
        if self.kind == "flag":
            return self.read({"true": True, "false": False}.get(text.lower(), text))
        if self.kind in ("money", "number"):
            try:
                seconds = self.name.endswith("_s")
                number = units.duration_s(text, self.name, bare="s") if seconds else units.decimal(text, self.name)
            except BadRequest as error:
                raise BadPolicy(error.message, hint=error.hint) from error
            return self.read(number)
        if self.kind == "evidence":
            return self.read(text)
        return self.read([word.strip() for word in text.split(",") if word.strip()])

    def tighten(self, old: Any, new: Any) -> Any:
        """The stricter of two values, both of which are set: what is allowed by both."""
        if self.kind == "flag":
            return old or new
        if self.kind in ("money", "number"):
            return self.stricter(old, new)
        if self.kind == "evidence":
            return max(old, new, key=EVIDENCE.index)
        if self.kind == "allow":
            return common(old, new) if self.name == "regions" else tuple(w for w in old if w in new)
        return tuple(dict.fromkeys((*old, *new)))

    def _number(self, value: object) -> Decimal | float:
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise self._wrong(value, f"a number, for example {self.name} = {_sample(self)}")
        if not self.least <= float(value) <= self.most:  # a NaN is in no bounds
            raise BadPolicy(f"{self.name}: {value} is not between {self.least:g} and {self.most:g}")
        return Decimal(str(value)) if self.kind == "money" else float(value)

    def _word(self, value: object) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(value, f'text, for example "{_sample(self)}"')
        word = self.normal(value.strip())
        if self.choices and word not in self.choices:
            raise BadPolicy(f"{self.name}: {value!r} is not one of its words", hint=nearest(word, self.choices))
        if self.normal is country_code and not (len(word) == 2 and word.isalpha()):
            raise BadPolicy(f"{self.name}: {value!r} is not a two-letter code", hint="ISO 3166, for example DE")
        return word

    def _wrong(self, value: object, want: str) -> BadPolicy:
        return BadPolicy(f"{self.name}: {value!r} is {_type(value)}", hint=f"it must be {want}")


@lru_cache(maxsize=256)
def glob(text: str) -> Callable[[str], object]:
    """A matcher of whole lower-case texts in which ``*`` in *text* stands for any text, and nothing else does."""
    return re.compile(".*".join(map(re.escape, text.lower().split("*"))), re.DOTALL).fullmatch


def common(old: Iterable[str], new: Iterable[str]) -> tuple[str, ...]:
    """Patterns for what both lists of patterns match; of two that only overlap, nothing (so never too much)."""
    old, new = tuple(old), tuple(new)
    inside = [word for word in new if any(glob(wide)(word.lower()) for wide in old)]
    outside = [word for word in old if any(glob(wide)(word.lower()) for wide in new)]
    return tuple(dict.fromkeys(inside + outside))


def _type(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    names: dict[type, str] = {str: "text", list: "a list", dict: "a table"}
    return names.get(type(value), "a number" if isinstance(value, int | float | Decimal) else "of another type")


def _sample(key: Key) -> str:
    if key.choices:
        return key.choices[0]
    samples = {"regions": "eu-*", "countries": "DE"}
    return samples.get(key.name, "1" if key.kind in ("money", "number") else "runpod")


_MARKETS = get_args(Market)

_REQUIREMENTS = (
    Key("egress_free", "flag", ("egress_not_free", "egress_unknown"), "every egress tier is 0, whatever the volume"),
    Key("max_egress_usd_per_gb", "money", ("egress_too_dear", "egress_unknown"), "dearest egress tier, USD per GB"),
    Key("min_reliability", "number", ("reliability_too_low",), "least reliability, 0 to 1", most=1.0, stricter=max),
    Key("markets", "allow", ("market_not_allowed",), "only these kinds of market", _MARKETS),
    Key("exclude_markets", "exclude", ("market_not_allowed",), "none of these kinds of market", _MARKETS),
    Key("pricing", "allow", ("pricing_not_allowed",), "ways of paying; all but spot without it", get_args(Pricing)),
    Key("regions", "allow", ("region_not_allowed",), "only these regions or zones; * is any text"),
    Key("countries", "allow", ("country_not_allowed",), "only these two-letter countries", normal=country_code),
    Key("jurisdictions", "allow", ("country_not_allowed",), "only countries in these", tuple(JURISDICTIONS)),
    Key("compliance", "all", ("compliance_missing",), "all of these are stated", COMPLIANCE),
    Key("workloads", "allow", ("workload_not_supported",), "can be one of these", get_args(Workload)),
    Key("providers", "allow", ("provider_not_allowed",), "only these providers"),
    Key("exclude_providers", "exclude", ("provider_not_allowed",), "none of these providers"),
    Key("max_usd_per_hour", "money", ("price_too_high",), "most USD an hour for one machine"),
    Key("max_total_usd", "money", ("total_too_high",), "most expected USD for the whole request"),
    Key("min_vcpus", "number", ("too_small",), "least vCPUs of a machine", stricter=max),
    Key("min_memory_gib", "number", ("too_small",), "least memory of a machine, GiB", stricter=max),
    Key("max_price_age_s", "number", ("price_too_old",), "oldest price, seconds since it was read"),
    Key(
        "evidence",
        "evidence",
        ("egress_unknown", "compliance_missing"),
        "how well required egress prices and compliance must be vouched for",
        EVIDENCE,
    ),
)

KEYS: dict[str, Key] = {key.name: key for key in _REQUIREMENTS}


def key_named(name: str) -> Key:
    """The key with that name; hyphens count as underscores.

    Raises:
        BadPolicy: there is none; the hint names the nearest.
    """
    key = KEYS.get(name.strip().replace("-", "_"))
    if key is None:
        raise BadPolicy(f"{name.strip()!r} is no requirement", hint=nearest(name.strip(), KEYS))
    return key
