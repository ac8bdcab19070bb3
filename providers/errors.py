"""Typed failures of providers: the type says what to do next.

Every cloud maps its own codes to these types in one table (`providers/<cloud>/errors.py`), so the engine never
reads a vendor's text. The tree::

    ProviderError
      NoCapacity          nothing of that kind is free there        -> next offer
      OfferGone           that offer does not exist any more        -> next offer, re-quoted
      PriceChanged        dearer than was promised                  -> next offer, re-quoted
      QuotaExceeded       the account may not rent more of that     -> next offer
      AuthFailed          the key is wrong                          -> next provider
      Forbidden           the key may not do that                   -> next provider
      NoFunds             the account cannot pay                    -> cheaper there, then next provider
      RateLimited         asked too fast                            -> same offer after the wait
      Unavailable         broken, and proven before the effect      -> same offer, at most twice
      OutcomeUnknown      nobody knows whether it happened          -> look first
      BootFailed          accepted, then never came up              -> terminate, next offer
      WrongGpu            came up with another GPU                  -> terminate, next offer
      NotReachable        came up, cannot be reached                -> terminate, next offer
      BadWorkload         the user's image or command is at fault   -> terminate, stop
      Unclassified        a parsed refusal with an unknown code     -> next offer
      InvalidRequest      our bug or the user's                     -> stop
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from providers.base import Instance, Offer

Scope = Literal["offer", "host", "zone", "region", "type", "provider", "account"]


class Then(StrEnum):
    """What the engine does after a failure."""

    NEXT_OFFER = "next-offer"
    NEXT_PROVIDER = "next-provider"
    CHEAPER_HERE = "cheaper-here"
    RETRY_AFTER = "retry-after"
    RETRY_HERE = "retry-here"
    LOOK_FIRST = "look-first"
    TERMINATE_NEXT = "terminate-next"
    TERMINATE_STOP = "terminate-stop"
    STOP = "stop"


class ProviderError(Exception):
    """A provider did not do what it was asked.

    Attributes:
        scope: how far the failure reaches; the engine holds back everything inside that scope.
        hold_s: seconds to hold it back (doubles with repeats, decays).
        code: the vendor's own code or status, for example ``InsufficientInstanceCapacity`` or ``http-402``.
        message: the vendor's own text, kept raw, secrets removed.
        left: what exists although the call failed. The engine terminates each until gone.
        bucket: for quotas, the name of the exhausted bucket (a vCPU family, "all GPUs"), else None.
    """

    then: ClassVar[Then] = Then.STOP
    default_scope: ClassVar[Scope] = "offer"
    default_hold_s: ClassVar[float] = 0.0
    #: A capacity hold only ranks an offer last; a hold that drops sets it aside.
    hold_drops: ClassVar[bool] = False
    #: Of a listing that could not look everywhere: what it saw all the same. It proves nothing of what it lacks.
    seen: tuple[Instance, ...] | None = None

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        scope: Scope | None = None,
        hold_s: float | None = None,
        left: tuple[Instance, ...] = (),
        bucket: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.scope: Scope = scope or self.default_scope
        self.hold_s: float = self.default_hold_s if hold_s is None else hold_s
        self.left = left
        self.bucket = bucket

    @property
    def type(self) -> str:
        """The class name, as it stands in JSON and in the store."""
        return type(self).__name__

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]" if self.code else self.message


class NoCapacity(ProviderError):
    """Nothing of that kind is free there now."""

    then = Then.NEXT_OFFER
    default_hold_s = 180.0


class OfferGone(ProviderError):
    """That very offer does not exist any more."""

    then = Then.NEXT_OFFER
    default_hold_s = 180.0


class PriceChanged(ProviderError):
    """The offer now costs more than was promised; `now` is the fresh quote where it is known."""

    then = Then.NEXT_OFFER
    default_hold_s = 180.0

    def __init__(self, message: str, *, now: Offer | None = None, code: str = "") -> None:
        super().__init__(message, code=code)
        self.now = now


class QuotaExceeded(ProviderError):
    """The account may not rent more of that; `bucket` names what is exhausted where the code says so."""

    then = Then.NEXT_OFFER
    default_scope = "account"
    default_hold_s = 3600.0
    hold_drops = True


class AuthFailed(ProviderError):
    """The provider does not accept the key."""

    then = Then.NEXT_PROVIDER
    default_scope = "provider"
    default_hold_s = 300.0
    hold_drops = True


class Forbidden(ProviderError):
    """The key is known, but may not do that."""

    then = Then.NEXT_PROVIDER
    default_scope = "provider"
    default_hold_s = 300.0
    hold_drops = True


class NoFunds(ProviderError):
    """The account cannot pay for this offer; a cheaper one there might still work."""

    then = Then.CHEAPER_HERE
    default_scope = "account"
    default_hold_s = 900.0
    hold_drops = True


class RateLimited(ProviderError):
    """Asked too fast. `wait_s` is what the provider told us to wait, or our guess."""

    then = Then.RETRY_AFTER
    default_scope = "provider"

    def __init__(self, message: str, *, wait_s: float = 5.0, code: str = "") -> None:
        super().__init__(message, code=code)
        self.wait_s = wait_s


class Unavailable(ProviderError):
    """The provider is broken or cannot be reached, and that is proven to come before any effect."""

    then = Then.RETRY_HERE
    default_scope = "region"
    default_hold_s = 60.0


class OutcomeUnknown(ProviderError):
    """The request went out and no readable answer came back: it may have happened, and may be billing."""

    then = Then.LOOK_FIRST
    default_hold_s = 180.0


class BootFailed(ProviderError):
    """The machine was accepted, but failed or never came up."""

    then = Then.TERMINATE_NEXT
    default_scope = "host"
    default_hold_s = 600.0


class WrongGpu(ProviderError):
    """The machine does not hold the GPU that is paid for."""

    then = Then.TERMINATE_NEXT
    default_scope = "host"
    default_hold_s = 3600.0
    hold_drops = True


class NotReachable(ProviderError):
    """The machine says that it runs, but cannot be reached."""

    then = Then.TERMINATE_NEXT
    default_scope = "host"
    default_hold_s = 600.0


class BadWorkload(ProviderError):
    """The user's image, manifest or command is at fault: no other offer would differ."""

    then = Then.TERMINATE_STOP


class Unclassified(ProviderError):
    """A parsed refusal with a code that no table knows. The raw text is kept, and it is counted."""

    then = Then.NEXT_OFFER
    default_hold_s = 180.0


class InvalidRequest(ProviderError):
    """The provider says that the request itself is wrong: our bug or the user's."""

    then = Then.STOP


def _subclasses(cls: type[ProviderError]) -> dict[str, type[ProviderError]]:
    return {sub.__name__: sub for sub in cls.__subclasses__()}


#: Every error type by its name, as the store and JSON know it.
BY_NAME: dict[str, type[ProviderError]] = _subclasses(ProviderError)
