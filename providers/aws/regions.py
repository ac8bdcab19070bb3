"""AWS regions: which are searched, and which country each is in."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Searched unless `ORCH_AWS_REGIONS` says otherwise: the regions that need no opt-in, sell L40S in two or more
#: zones and have the lowest prices. Five, because every region costs calls.
DEFAULT = ("us-east-1", "us-east-2", "us-west-2", "eu-central-1", "eu-north-1")

REGIONS_SETTING = "ORCH_AWS_REGIONS"

_NAME = re.compile(r"^[a-z]{2,}(-[a-z0-9]+){2,}$")

#: AWS's documented locations of its regions.
_COUNTRIES = {
    "us-": "US",
    "ca-": "CA",
    "mx-": "MX",
    "sa-east-1": "BR",
    "eu-central-1": "DE",
    "eu-central-2": "CH",
    "eu-west-1": "IE",
    "eu-west-2": "GB",
    "eu-west-3": "FR",
    "eu-north-1": "SE",
    "eu-south-1": "IT",
    "eu-south-2": "ES",
    "ap-northeast-1": "JP",
    "ap-northeast-2": "KR",
    "ap-northeast-3": "JP",
    "ap-southeast-1": "SG",
    "ap-southeast-2": "AU",
    "ap-southeast-3": "ID",
    "ap-southeast-4": "AU",
    "ap-southeast-5": "MY",
    "ap-southeast-6": "NZ",
    "ap-southeast-7": "TH",
    "ap-east-1": "HK",
    "ap-east-2": "TW",
    "ap-south-1": "IN",
    "ap-south-2": "IN",
    "me-south-1": "BH",
    "me-central-1": "AE",
    "il-central-1": "IL",
    "af-south-1": "ZA",
    "cn-": "CN",
}


class BadRegion(ValueError):
    """`ORCH_AWS_REGIONS` holds something that cannot be a region's name."""


def home(settings: Mapping[str, str]) -> str:
    """The region of account-wide calls: `AWS_REGION`, else `AWS_DEFAULT_REGION`, else the first searched."""
    return _own(settings) or searched(settings)[0]


def searched(settings: Mapping[str, str]) -> tuple[str, ...]:
    """The regions that offers and owned machines are looked for in, each once.

    Raises:
        BadRegion: names the setting that is wrong.
    """
    if listed := settings.get(REGIONS_SETTING, "").replace(",", " ").split():
        return tuple(dict.fromkeys(_checked(name, REGIONS_SETTING) for name in listed))
    own = _own(settings)
    return tuple(dict.fromkeys([*([own] if own else []), *DEFAULT]))


def country(region: str) -> str | None:
    """The ISO 3166 code of the country that *region* is in, or None if that is not known."""
    return _COUNTRIES.get(region) or next(
        (code for start, code in _COUNTRIES.items() if start.endswith("-") and region.startswith(start)), None
    )


def _own(settings: Mapping[str, str]) -> str | None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if value := settings.get(name, "").strip():
            return _checked(value, name)
    return None


def _checked(name: str, setting: str) -> str:
    if not _NAME.fullmatch(name):
        raise BadRegion(f"{setting}: {name!r} is no AWS region (us-east-1)")
    return name
