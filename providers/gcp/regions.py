"""Google Cloud's regions: which are searched, which country each is in, and what a zone's region is."""

from __future__ import annotations

import re
from collections.abc import Mapping

REGIONS_SETTING = "ORCH_GCP_REGIONS"

#: Searched unless `ORCH_GCP_REGIONS` says otherwise: regions with several GPU models, no opt-in and no markup of a
#: small region. One call answers for all regions, so the list only keeps far and dear places out of every plan.
DEFAULT = (
    "us-central1",
    "us-east1",
    "us-east4",
    "us-east5",
    "us-south1",
    "us-west1",
    "us-west4",
    "northamerica-northeast1",
    "europe-west1",
    "europe-west4",
    "asia-northeast1",
    "asia-southeast1",
)

_NAME = re.compile(r"^[a-z]+-[a-z]+\d{1,2}$")

#: Google's documented locations of its regions.
_COUNTRIES = {
    "northamerica-northeast1": "CA",
    "northamerica-northeast2": "CA",
    "northamerica-south1": "MX",
    "southamerica-east1": "BR",
    "southamerica-west1": "CL",
    "europe-west1": "BE",
    "europe-west2": "GB",
    "europe-west3": "DE",
    "europe-west4": "NL",
    "europe-west6": "CH",
    "europe-west8": "IT",
    "europe-west9": "FR",
    "europe-west10": "DE",
    "europe-west12": "IT",
    "europe-north1": "FI",
    "europe-north2": "SE",
    "europe-central2": "PL",
    "europe-southwest1": "ES",
    "asia-east1": "TW",
    "asia-east2": "HK",
    "asia-northeast1": "JP",
    "asia-northeast2": "JP",
    "asia-northeast3": "KR",
    "asia-south1": "IN",
    "asia-south2": "IN",
    "asia-southeast1": "SG",
    "asia-southeast2": "ID",
    "asia-southeast3": "TH",
    "australia-southeast1": "AU",
    "australia-southeast2": "AU",
    "me-west1": "IL",
    "me-central1": "QA",
    "me-central2": "SA",
    "africa-south1": "ZA",
}


class BadRegion(ValueError):
    """`ORCH_GCP_REGIONS` holds something that cannot be a region's name."""


def searched(settings: Mapping[str, str]) -> tuple[str, ...]:
    """The regions that offers are looked for in, each once.

    Raises:
        BadRegion: names the setting that is wrong.
    """
    listed = settings.get(REGIONS_SETTING, "").replace(",", " ").split()
    for name in listed:
        if not _NAME.fullmatch(name):
            raise BadRegion(f"{REGIONS_SETTING}: {name!r} is no region of Google Cloud (us-central1)")
    return tuple(dict.fromkeys(listed)) or DEFAULT


def of_zone(zone: str) -> str:
    """``us-central1`` for ``us-central1-a``."""
    return zone.rpartition("-")[0]


def country(region: str) -> str | None:
    """The ISO 3166 code of the country that *region* is in, or None if that is not known."""
    return "US" if region.startswith("us-") else _COUNTRIES.get(region)
