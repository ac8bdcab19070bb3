"""What goes wrong for the user of `orch`: one exception tree, mirrored by the exit codes.

::

    OrchError              1  unexpected
      UsageError           2  a wrong word, option or value
      NoOffer              3  nothing for rent satisfies the policy
      LaunchFailed         4  every candidate failed, or one replica of several did
      ConfigError          5  credentials or configuration
      NoSuchLease          6  no lease of that name or id
      BudgetExceeded       7  it would cost more than the budget allows
      OutcomeUnclear       8  something may be running; says how to check
      Interrupted        130  the user stopped it
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from orchestrator.models import Lease, Stray


class OrchError(Exception):
    """Base of everything `orch` raises on purpose.

    Attributes:
        exit_code: what the command line exits with.
        hint: what to do next, or None.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def to_dict(self) -> dict[str, Any]:
        """The JSON of a failure."""
        return {"error": {"type": type(self).__name__, "message": self.message, "hint": self.hint}}


class UsageError(OrchError):
    """The request itself is wrong."""

    exit_code = 2


class NoOffer(OrchError):
    """Nothing for rent satisfies the policy. `plan` says why, offer by offer."""

    exit_code = 3

    def __init__(self, message: str, *, hint: str | None = None, plan: Any = None) -> None:
        super().__init__(message, hint=hint)
        self.plan = plan


class LaunchFailed(OrchError):
    """Every candidate failed. `leases` hold every attempt with its error."""

    exit_code = 4

    def __init__(self, message: str, *, hint: str | None = None, leases: tuple[Lease, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.leases = leases


class ConfigError(OrchError):
    """Credentials, settings or the state folder."""

    exit_code = 5


class NoSuchLease(OrchError):
    """No lease of that name or id."""

    exit_code = 6


class BudgetExceeded(OrchError):
    """It would cost more than the budget allows."""

    exit_code = 7


class OutcomeUnclear(OrchError):
    """Something may be running and billing.

    Attributes:
        leases: those whose end is not confirmed.
        strays: what a sweep found where it could look, although it could not look everywhere.
    """

    exit_code = 8

    def __init__(
        self, message: str, *, hint: str | None = None, leases: tuple[Lease, ...] = (), strays: tuple[Stray, ...] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.leases = leases
        self.strays = strays


class Interrupted(OrchError):
    """The user stopped it; what was begun is ended, unless the message says otherwise."""

    exit_code = 130

    def __init__(self, message: str, *, hint: str | None = None, leases: tuple[Lease, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.leases = leases
