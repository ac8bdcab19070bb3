"""The fault menu: what can go wrong at a provider, asked for by a test, a scenario file or a seed.

Kinds that an emulator brings about itself, in its provider's own words (*semantic*):

=================  =========================================================================================
sold_out           create is refused for lack of capacity, whatever the catalogue says
gone               the offer vanished between search and create
fail_after_accept  create is accepted, then the machine fails
boot_stuck         accepted, and it never becomes reachable (stays pending, or runs without an address)
wrong_gpu          the machine comes up with another GPU (`gpu`, `memory_mib`)
no_money           the account cannot pay
quota              the account may not rent more
unknown_code       create is refused with a code that nobody has documented
price_changed      from now on the asked offer costs `factor` times as much
bad_key            the key is refused (revoked)
forbidden          the key may not create
other_account      the same key suddenly opens another account (an empty one)
list_lag           a new instance does not appear in lists for `seconds`
ignore_terminate   terminate is accepted, and nothing happens
host_lost          a running machine is gone or failed without notice (`lose` does it at once)
left               create fails, but leaves something that bills
=================  =========================================================================================

Kinds that `kit` brings about for every emulator (*transport*): rate_limit (`retry_after`), error_before and
error_after (a 5xx before or after the effect), lost (effect, no answer), drop_before (no effect, no answer),
malformed, html, truncated, oversized, redirect, slow (`seconds`), down.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TRANSPORT = frozenset(
    [
        "rate_limit",
        "error_before",
        "error_after",
        "lost",
        "drop_before",
        "malformed",
        "html",
        "truncated",
        "oversized",
        "redirect",
        "slow",
        "down",
    ]
)
SEMANTIC = frozenset(
    [
        "sold_out",
        "gone",
        "fail_after_accept",
        "boot_stuck",
        "wrong_gpu",
        "no_money",
        "quota",
        "unknown_code",
        "price_changed",
        "bad_key",
        "forbidden",
        "other_account",
        "list_lag",
        "ignore_terminate",
        "host_lost",
        "left",
    ]
)


@dataclass(slots=True)
class Fault:
    """One thing that will go wrong.

    Attributes:
        provider: at whom, or ``*``.
        verb: only in calls that serve this verb of the contract ("offers", "launch", ...), or ``*``.
        subject: only if this text is in what the call is about (an offer's id, a GPU, an instance).
        times: how often it still happens; -1 for ever.
    """

    kind: str
    provider: str = "*"
    verb: str = "*"
    subject: str = ""
    times: int = 1
    args: dict[str, Any] = field(default_factory=dict)


class Faults:
    """The faults that are waiting, and those that came about."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []
        self.happened: list[tuple[str, str, str]] = []

    def add(
        self,
        kind: str,
        provider: str = "*",
        *,
        verb: str = "*",
        subject: str = "",
        times: int = 1,
        **args: Any,
    ) -> Fault:
        """Ask for a fault.

        Raises:
            ValueError: the menu has no such kind.
        """
        if kind not in TRANSPORT | SEMANTIC:
            raise ValueError(f"unknown fault {kind!r}; there are {', '.join(sorted(TRANSPORT | SEMANTIC))}")
        fault = Fault(kind, provider, verb, subject, times, args)
        self.waiting.append(fault)
        return fault

    def take(self, provider: str, kind: str, *, verb: str = "*", subject: str = "") -> Fault | None:
        """Use up one occurrence of a waiting fault, or None if nothing is to go wrong."""
        for fault in self.waiting:
            if fault.times == 0 or fault.kind != kind or fault.provider not in ("*", provider):
                continue
            if fault.verb not in ("*", verb) and verb != "*":
                continue
            if fault.subject and fault.subject.casefold() not in subject.casefold():
                continue
            if fault.times > 0:
                fault.times -= 1
            self.happened.append((provider, kind, subject))
            return fault
        return None

    def clear(self) -> None:
        """Nothing more goes wrong."""
        self.waiting.clear()
