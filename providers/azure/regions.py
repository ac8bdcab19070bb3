"""Azure's regions: which are searched, which country each is in, and what the price of leaving depends on."""

from __future__ import annotations

import re
from collections.abc import Mapping

REGIONS_SETTING = "ORCH_AZURE_REGIONS"
#: Searched unless the setting says otherwise: the regions with the lowest prices for most GPUs (price table of June
#: 2026), and two of the European Union. Seven, because every region costs calls.
DEFAULT = ("eastus", "eastus2", "westus2", "westus3", "southcentralus", "swedencentral", "westeurope")

_NAME = re.compile(r"^[a-z][a-z0-9]{2,39}$")
#: Azure's documented locations of its regions, by ISO 3166 code.
_BY_COUNTRY = {
    "US": "eastus eastus2 centralus northcentralus southcentralus westcentralus westus westus2 westus3",
    "CA": "canadacentral canadaeast",
    "MX": "mexicocentral",
    "BR": "brazilsouth brazilsoutheast",
    "CL": "chilecentral",
    "NL": "westeurope",
    "IE": "northeurope",
    "SE": "swedencentral swedensouth",
    "FR": "francecentral francesouth",
    "DE": "germanywestcentral germanynorth",
    "CH": "switzerlandnorth switzerlandwest",
    "GB": "uksouth ukwest",
    "NO": "norwayeast norwaywest",
    "PL": "polandcentral",
    "ES": "spaincentral",
    "IT": "italynorth",
    "AT": "austriaeast",
    "BE": "belgiumcentral",
    "DK": "denmarkeast",
    "AU": "australiaeast australiasoutheast australiacentral australiacentral2",
    "NZ": "newzealandnorth",
    "JP": "japaneast japanwest",
    "KR": "koreacentral koreasouth",
    "SG": "southeastasia",
    "HK": "eastasia",
    "IN": "centralindia southindia westindia jioindiacentral jioindiawest",
    "ID": "indonesiacentral",
    "MY": "malaysiawest malaysiasouth",
    "AE": "uaenorth uaecentral",
    "QA": "qatarcentral",
    "IL": "israelcentral",
    "ZA": "southafricanorth southafricawest",
}
_COUNTRIES = {name: code for code, names in _BY_COUNTRY.items() for name in names.split()}


class BadRegion(ValueError):
    """`ORCH_AZURE_REGIONS` holds something that cannot be a region's name."""


def searched(settings: Mapping[str, str]) -> tuple[str, ...]:
    """The regions that offers are looked for in, each once.

    Raises:
        BadRegion: names what is wrong.
    """
    listed = settings.get(REGIONS_SETTING, "").replace(",", " ").split()
    names = [name.lower() for name in listed]
    for name in names:
        if not _NAME.fullmatch(name):
            raise BadRegion(f"{REGIONS_SETTING}: {name!r} is no Azure region (eastus)")
    return tuple(dict.fromkeys(names)) or DEFAULT


def country(region: str) -> str | None:
    """The ISO 3166 code of the country that *region* is in, or None if that is not known."""
    return _COUNTRIES.get(region)
