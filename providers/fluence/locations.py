"""Which country a location text means. What cannot be told for sure is None: residency rules fail closed.

Container plans carry ISO 3166 codes; VM and bare-metal options carry whatever the house above them writes
(``us-central-3``, ``kristiansand-norway-2``, ``Finland 2``, ``Texas``).
"""

from __future__ import annotations

import re

_ISO = frozenset(
    """AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT
    BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH
    ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT
    HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS
    LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI
    NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG
    SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG
    UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW""".split()  # noqa: SIM905 - quoted one by one they would be harder to check
)

#: Codes that also abbreviate a state of the USA (``wilmington-de-1``): they settle nothing in free text.
_US_STATE_CODES = frozenset(
    """AL AK AZ AR CA CO CT DC DE FL GA HI IA ID IL IN KS KY LA MA MD ME MI MN MO MS MT NC ND NE NH NJ NM
    NV NY OH OK OR PA RI SC SD TN TX UT VA VT WA WI WV WY""".split()  # noqa: SIM905
)

_COUNTRIES = {
    "argentina": "AR", "australia": "AU", "austria": "AT", "bahrain": "BH", "belgium": "BE", "brazil": "BR",
    "bulgaria": "BG", "canada": "CA", "chile": "CL", "china": "CN", "colombia": "CO", "croatia": "HR",
    "cyprus": "CY", "czechia": "CZ", "czech republic": "CZ", "denmark": "DK", "estonia": "EE",
    "finland": "FI", "france": "FR", "germany": "DE", "great britain": "GB", "greece": "GR",
    "hong kong": "HK", "hungary": "HU", "iceland": "IS", "india": "IN", "indonesia": "ID", "ireland": "IE",
    "israel": "IL", "italy": "IT", "japan": "JP", "kazakhstan": "KZ", "kenya": "KE", "latvia": "LV",
    "lithuania": "LT", "luxembourg": "LU", "malaysia": "MY", "malta": "MT", "mexico": "MX", "moldova": "MD",
    "morocco": "MA", "netherlands": "NL", "new zealand": "NZ", "nigeria": "NG", "northern ireland": "GB",
    "norway": "NO", "oman": "OM", "philippines": "PH", "poland": "PL", "portugal": "PT", "qatar": "QA",
    "romania": "RO", "russia": "RU", "saudi arabia": "SA", "serbia": "RS", "singapore": "SG",
    "slovakia": "SK", "slovenia": "SI", "south africa": "ZA", "south korea": "KR", "spain": "ES",
    "sweden": "SE", "switzerland": "CH", "taiwan": "TW", "thailand": "TH", "turkey": "TR", "uk": "GB",
    "ukraine": "UA", "united arab emirates": "AE", "united kingdom": "GB", "united states": "US",
    "us": "US", "usa": "US", "vietnam": "VN",
}  # fmt: skip

#: Georgia is missing on purpose: it is a country as well.
_US_STATES = (
    "alabama", "alaska", "arizona", "arkansas", "california", "colorado", "connecticut", "delaware",
    "florida", "hawaii", "idaho", "illinois", "indiana", "iowa", "kansas", "kentucky", "louisiana", "maine",
    "maryland", "massachusetts", "michigan", "minnesota", "mississippi", "missouri", "montana", "nebraska",
    "nevada", "new hampshire", "new jersey", "new mexico", "new york", "north carolina", "north dakota",
    "ohio", "oklahoma", "oregon", "pennsylvania", "rhode island", "south carolina", "south dakota",
    "tennessee", "texas", "utah", "vermont", "virginia", "washington", "west virginia", "wisconsin",
    "wyoming",
)  # fmt: skip

_DIRECTIONS = {"central", "east", "north", "northeast", "northwest", "south", "southeast", "southwest", "west"}


def _phrases() -> dict[tuple[str, ...], str]:
    found = {tuple(name.split()): code for name, code in _COUNTRIES.items()}
    found.update({tuple(name.split()): "US" for name in _US_STATES})
    # `unitedkingdom` and `newyork` are seen as often as the spelling with a space.
    found.update({("".join(words),): code for words, code in tuple(found.items())})
    return found


_PHRASES = _phrases()
_LONGEST = max(map(len, _PHRASES))


def country_of(location: str | None, *, iso: bool = False) -> str | None:
    """The ISO 3166 two-letter code of *location*, or None if the text does not settle it.

    Args:
        iso: the text is documented to be such a code (containers), so ``DE`` is Germany and not Delaware.
    """
    words: list[str] = re.findall(r"[a-z]+", (location or "").casefold())
    if iso and len(words) == 1 and words[0].upper() in _ISO:
        return words[0].upper()
    found = _named(words)
    if len(words) > 1 and words[1] in _DIRECTIONS:  # `fr-central-1`, as clouds write their regions
        code = words[0].upper()
        if code in _ISO and code not in _US_STATE_CODES:
            found.add(code)
    return found.pop() if len(found) == 1 else None


def _named(words: list[str]) -> set[str]:
    """Every country that *words* name; the longest name wins, so New Mexico is not Mexico."""
    found: set[str] = set()
    at = 0
    while at < len(words):
        for length in range(_LONGEST, 0, -1):
            code = _PHRASES.get(tuple(words[at : at + length]))
            if code and at + length <= len(words):
                found.add(code)
                at += length
                break
        else:
            at += 1
    return found
