"""What the account may do, as far as Paperspace tells: its standing before a launch, and all of it for people."""

from __future__ import annotations

from typing import Any

from providers.errors import Forbidden, NoFunds, OfferGone, ProviderError, Unavailable
from providers.http import skew_text
from providers.paperspace import instances
from providers.paperspace.client import Client
from providers.paperspace.fields import number, record, text

#: What the standing's answer says under each name, in words.
_WORDS = {
    "isInGoodStanding": {True: "in good standing", False: "not in good standing"},
    "hasPaymentMethod": {True: "a payment method is set", False: "no payment method"},
}


async def standing(client: Client) -> None:
    """Refuse, before anything is made, what an account in bad standing would be refused in words nobody knows.

    Raises:
        Forbidden: the account is locked.
        NoFunds: it is not in good standing.
    """
    try:
        said = await client.standing()
    except (Forbidden, Unavailable, OfferGone):
        return  # a key without that right may still rent: the launch tells
    if said.get("isAdminLocked") is True:
        raise Forbidden(f"paperspace has locked the account: {_reasons(said)}", code="locked", scope="account")
    if said.get("isInGoodStanding") is False:
        raise NoFunds(f"the account is not in good standing: {_reasons(said)}", code="standing")


async def report(client: Client, session: dict[str, Any], *, account: str, origin: str, owner: str) -> dict[str, str]:
    """The lines of `Provider.check`, from a session that was opened.

    Args:
        origin: where the key was found, fit to be shown.
        owner: this installation's owner id.
    """
    machines = [row for row in await client.machines(verb="account") if not instances.is_deleted(row)]
    ours = sum(instances.is_ours(row, owner) for row in machines)
    most = number(record(session.get("team")).get("maxMachines"))
    limit = "the most machines allowed are not told" if most is None else f"at most {most:f} machines"
    balance, fix = await _standing_line(client)
    lines = {
        "account": account,
        "key": f"accepted (from {origin})",
        "rights": "a team's key, without scopes; some types (H100) need an approval, which only a launch shows",
        "quota": f"{limit}; there are {len(machines)}, {ours} of this installation",
        "balance": balance,
        "service": await _health(client),
        "clock_skew": skew_text(client.clock_skew_s),
    }
    return lines | ({"fix": fix} if fix else {})


async def _standing_line(client: Client) -> tuple[str, str]:
    """The account's standing, and what to do about it; empty where that is nothing."""
    try:
        said = await client.standing()
    except ProviderError as error:
        return f"not told ({error.code or error.type})", ""
    parts = ["not shown by Paperspace's API"]
    parts += [words[value] for key, words in _WORDS.items() if (value := said.get(key)) in (True, False)]
    if said.get("messages"):
        parts.append(_reasons(said))
    if said.get("isAdminLocked") is True:
        return "; ".join(["the account is locked", *parts]), "ask Paperspace's support to unlock the account"
    bad = said.get("isInGoodStanding") is False or said.get("hasPaymentMethod") is False
    return "; ".join(parts), "set a payment method and pay what is due in Paperspace's console" if bad else ""


async def _health(client: Client) -> str:
    try:
        return await client.health()
    except ProviderError:
        return "unknown"


def _reasons(said: dict[str, Any]) -> str:
    messages = said.get("messages")
    rows = [text(row) or text(record(row).get("message")) for row in messages] if isinstance(messages, list) else []
    return "; ".join(filter(None, rows)) or "no reason is given"
