"""Which country a region lies in, by the description that comes with it (``California, USA``, ``Germany``).

What cannot be told for sure is None: rules on residency fail closed. Which countries Lambda has regions in is not
listed anywhere, so more are known here than it has.
"""

from __future__ import annotations

import re

_COUNTRIES = {
    "australia": "AU", "austria": "AT", "belgium": "BE", "brazil": "BR", "canada": "CA", "czechia": "CZ",
    "denmark": "DK", "finland": "FI", "france": "FR", "germany": "DE", "greece": "GR", "iceland": "IS",
    "india": "IN", "ireland": "IE", "israel": "IL", "italy": "IT", "japan": "JP", "korea": "KR",
    "malaysia": "MY", "mexico": "MX", "netherlands": "NL", "new zealand": "NZ", "norway": "NO",
    "poland": "PL", "portugal": "PT", "qatar": "QA", "romania": "RO", "saudi arabia": "SA",
    "singapore": "SG", "south africa": "ZA", "south korea": "KR", "spain": "ES", "sweden": "SE",
    "switzerland": "CH", "taiwan": "TW", "uk": "GB", "united arab emirates": "AE", "united kingdom": "GB",
    "united states": "US", "united states of america": "US", "us": "US", "usa": "US",
}  # fmt: skip


def country_of(region: str, description: str | None) -> str | None:
    """The ISO 3166 two-letter code of *region*, or None if neither its name nor its description settles it.

    The last part of the description must be a country and nothing else. Names settle it for ``us-`` only: the
    others (``europe-south-1``) name a part of the world. A contradiction is None.
    """
    last = re.sub(r"[^a-z ]+", "", (description or "").rpartition(",")[2].casefold()).strip()
    said = _COUNTRIES.get(" ".join(last.split()))
    named = "US" if region.casefold().startswith("us-") else None
    if said and named and said != named:
        return None
    return said or named
