"""A saved market: a JSON array of offers, or JSON lines, as `orch offers --json` writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import NoReturn

import msgspec

from policies.errors import BadOffers
from providers.base import EgressTier, Offer
from providers.gpus import GPUS, canonical

_ARRAY = msgspec.json.Decoder(list[Offer])
_ONE = msgspec.json.Decoder(Offer)
_RAW_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BYTE = re.compile(r"\(byte (\d+)\)")


def load_offers(data: bytes, *, file: str | None = None) -> list[Offer]:
    """The offers in *data*. Fields that are missing or null are unknown; model names are made canonical where known.

    Args:
        file: where the data came from, for messages.

    Raises:
        BadOffers: with the line, what is wrong there, and in which field.
    """
    text = data.removeprefix(b"\xef\xbb\xbf")
    if not text.strip():
        raise BadOffers("the file is empty", hint="an empty market is written []", file=file)
    text = _inside(text)
    try:
        found = _ARRAY.decode(text) if text.lstrip()[:1] == b"[" else _ONE.decode_lines(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = []
        for raw, line in _pieces(text, file):
            found.append(_read(raw, line, file))
        return [_canonical(offer) for offer in found]
    if any(_doubt(offer) for offer in found):
        for raw, line in _pieces(text, file):
            _read(raw, line, file)
    return [offer if offer.gpu in GPUS else _canonical(offer) for offer in found]


def _inside(text: bytes) -> bytes:
    """The array in a document ``{"offers": [...]}``, else *text* itself."""
    if not text.lstrip().startswith(b"{") or b'"offers"' not in text:
        return text
    try:
        raw = _FIELDS.decode(text).get("offers")
    except msgspec.DecodeError:
        return text
    # What comes before is kept as line ends, so that messages still name the file's own lines.
    return text if raw is None else b"\n" * text.count(b"\n", 0, text.index(bytes(raw))) + bytes(raw)


def _pieces(text: bytes, file: str | None) -> Iterator[tuple[bytes, int]]:
    """Every offer's own text, with the line where it begins."""
    if text.lstrip()[:1] == b"[":
        yield from _elements(text, file)
        return
    for number, line in enumerate(text.split(b"\n"), 1):
        if line.strip():
            yield line, number


def _elements(text: bytes, file: str | None) -> Iterator[tuple[bytes, int]]:
    try:
        raws = _RAW_ARRAY.decode(text)
    except msgspec.DecodeError as error:
        _malformed(error, text, file)
    position, line = 0, 1
    for raw in raws:
        piece = bytes(raw)
        start = text.index(piece, position)
        line += text.count(b"\n", position, start)
        yield piece, line
        position = start + len(piece)
        line += piece.count(b"\n")


def _read(raw: bytes, line: int, file: str | None) -> Offer:
    try:
        try:
            offer = _ONE.decode(raw)
        except msgspec.ValidationError:
            # An absent value may be written as null where we have a default instead.
            fields = {name: value for name, value in _FIELDS.decode(raw).items() if bytes(value) != b"null"}
            offer = _ONE.decode(msgspec.json.encode(fields))
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        field = where.strip("`.") or "offer"
        raise BadOffers(f"{field}: {message[:1].lower()}{message[1:]}", file=file, line=line) from error
    except msgspec.DecodeError as error:
        _malformed(error, raw, file, line)
    if doubt := _doubt(offer):
        raise BadOffers(doubt, file=file, line=line)
    return offer


def _malformed(error: Exception, text: bytes, file: str | None, first: int = 1) -> NoReturn:
    place = _BYTE.search(str(error))
    line = first + text.count(b"\n", 0, int(place[1])) if place else first + text.count(b"\n")
    hint = "one offer a line, or one JSON array of offers"
    raise BadOffers(f"not JSON: {_BYTE.sub('', str(error)).strip()}", hint=hint, file=file, line=line) from error


def _doubt(offer: Offer) -> str | None:
    """What JSON allows and an offer cannot mean."""
    for field in ("observed_at", "available_until"):
        moment: datetime | None = getattr(offer, field)
        if moment is not None and moment.utcoffset() is None:
            return f"{field}: the time has no zone; write 2026-11-22T12:00:00Z"
    for field in _MONEY:
        amount: Decimal | None = getattr(offer, field)
        if amount is not None and not amount.is_finite():
            return f"{field}: {amount} is no amount"
    if offer.egress is not None and (not offer.egress or not all(map(_is_sound, offer.egress))):
        return "egress: the tiers must be a list of at least one, with finite numbers; null is unknown"
    if offer.billing.increment_s < 1 or offer.billing.minimum_s < 0:
        return "billing: increment_s must be at least 1, minimum_s at least 0"
    return None


_MONEY = (
    "usd_per_hour",
    "deposit_usd",
    "ingress_usd_per_gb",
    "storage_usd_per_gib_month",
    "address_usd_per_hour",
)


def _is_sound(tier: EgressTier) -> bool:
    return tier.usd_per_gb.is_finite() and (tier.up_to_gb is None or tier.up_to_gb.is_finite())


def _canonical(offer: Offer) -> Offer:
    name = canonical(offer.gpu, offer.gpu_memory_gib)
    return offer if name is None or name == offer.gpu else msgspec.structs.replace(offer, gpu=name)
