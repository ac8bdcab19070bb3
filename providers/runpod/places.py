"""RunPod's data centres: which country an id stands for, and which certificates a place has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

_EUROPE = "AT BE BG CH CY CZ DE DK EE ES FI FR GB GR HR HU IE IS IT LT LU LV MT NL NO PL PT RO SE SI SK"
_ASIA = "HK ID IN JP KR MY PH SG TH TW VN"
#: An id is a part of the world and a country (EU-RO-1, EUR-IS-2, AP-JP-1) ...
_COUNTRIES = {"EU": _EUROPE, "EUR": _EUROPE, "AP": _ASIA, "SEA": _ASIA, "OC": "AU NZ"}
#: ... or a country and a part of it: US-DE-1 is Delaware, CA-MTL-1 Montreal.
_DIVIDED = frozenset({"US", "CA"})

_COMPLIANCE = {"SOC_2_TYPE_2": "soc2", "ISO_IEC_27001": "iso27001", "GDPR": "gdpr", "HIPAA": "hipaa"}


class Place(NamedTuple):
    """What the list says of one data centre: its part of the world, and our names of its certificates."""

    continent: str | None
    compliance: tuple[str, ...]


def country(data_center: str) -> str | None:
    """The ISO 3166 code of the country a data centre's id stands for; None where that is not certain."""
    first, _, rest = data_center.upper().partition("-")
    if first in _DIVIDED:
        return first
    second = rest.partition("-")[0]
    return second if second in _COUNTRIES.get(first, "").split() else None


def read(rows: Iterable[dict[str, Any]]) -> dict[str, Place]:
    """`dataCenters` by id. Certificates that policies do not ask for are left out."""
    places: dict[str, Place] = {}
    for row in rows:
        name, region, held = row.get("id"), row.get("region"), row.get("compliance")
        if not isinstance(name, str) or not name:
            continue
        words = {word for word in held if isinstance(word, str)} if isinstance(held, list) else set()
        known = region if isinstance(region, str) and region != "UNKNOWN" else None
        places[name] = Place(known, tuple(ours for theirs, ours in _COMPLIANCE.items() if theirs in words))
    return places
