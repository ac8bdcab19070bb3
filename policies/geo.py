"""Which countries lie in a jurisdiction, by ISO 3166-1 two-letter codes.

Source: the member states of the European Union, europa.eu "EU countries" (27 since 2020-02-01).
"""

from __future__ import annotations

_EU = "AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE"

JURISDICTIONS: dict[str, frozenset[str]] = {"eu": frozenset(_EU.split())}

# Codes that people and the EU's own documents use instead of the ISO ones.
_ALIASES = {"UK": "GB", "EL": "GR"}


def country_code(text: str) -> str:
    """The ISO code that *text* stands for: upper case, UK and EL replaced. It may still not be a country."""
    code = text.strip().upper()
    return _ALIASES.get(code, code)
