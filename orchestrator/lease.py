"""The lease machine: every state, every edge, and why. Pure; tests walk it.

A lease is our record of one wanted replica; it owns its attempts, one per try to rent one offer. `ended` and
`failed` are reached only when every attempt is closed, that is, when each machine was seen gone or proven
never to have existed (an attempt whose outcome stayed unknown is closed too, and watched for a day).
"""

from __future__ import annotations

from orchestrator.models import AttemptState, LeaseState

TRANSITIONS: dict[LeaseState, dict[LeaseState, str]] = {
    "planned": {
        "launching": "the first attempt's intent was saved",
        "failed": "no offer, cancelled, or the command that asked for it died before it tried",
    },
    "launching": {
        "booting": "the provider accepted and named the machine, or a look-up found it",
        "ending": "wanted gone while an attempt was under way",
        "failed": "no candidate is left and every attempt is closed",
        "ended": "wanted gone, and the attempt under way had made nothing",
    },
    "booting": {
        "running": "reachable, and the GPU is the one that is paid for",
        "launching": "it failed; the next offer is tried",
        "ending": "wanted gone, or failed with no candidate left while its end is not confirmed",
        "failed": "failed, every attempt is closed, no candidate is left",
        "ended": "wanted gone, and seen gone at once",
    },
    "running": {
        "launching": "the machine was lost; a replacement is launched",
        "ending": "user, expiry or budget",
        "ended": "seen gone without our doing",
    },
    "ending": {
        "ended": "every attempt is closed",
        "failed": "every attempt is closed, and none of them ever ran",
    },
    "ended": {},
    "failed": {},
}

ATTEMPT_TRANSITIONS: dict[AttemptState, dict[AttemptState, str]] = {
    "intent": {
        "live": "accepted, or found by its token",
        "ending": "it may exist: left-overs or an unknown outcome are being ended",
        "closed": "refused: nothing was made",
    },
    "live": {
        "ending": "its end was asked for",
        "closed": "seen gone",
    },
    "ending": {"closed": "seen gone, with a receipt"},
    "closed": {},
}


class IllegalTransition(AssertionError):
    """A bug: the machine has no such edge."""


def check(old: LeaseState, new: LeaseState) -> None:
    """Raise `IllegalTransition` unless a lease may go from *old* to *new* (staying put is fine)."""
    if old != new and new not in TRANSITIONS[old]:
        raise IllegalTransition(f"lease: {old} -> {new}")


def check_attempt(old: AttemptState, new: AttemptState) -> None:
    """Raise `IllegalTransition` unless an attempt may go from *old* to *new* (staying put is fine)."""
    if old != new and new not in ATTEMPT_TRANSITIONS[old]:
        raise IllegalTransition(f"attempt: {old} -> {new}")
