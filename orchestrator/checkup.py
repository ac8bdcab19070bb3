"""`orch providers check`: what stands between the user and each provider, and what to do about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from orchestrator.catalog import gather
from orchestrator.errors import ConfigError, UsageError
from orchestrator.store import Store
from providers import registry
from providers.base import Provider, Query
from providers.env import Env
from providers.errors import ProviderError

#: Listing everything that a hyperscaler sells takes longer than a plan may wait.
DEADLINE_S = 40.0
#: AWS refuses signatures that are 5 minutes off, and tokens of others live by the clock, too.
TOLERATED_SKEW_S = 60.0
_REFUSED = ("AuthFailed", "Forbidden", "NoFunds")
#: Faults of the credentials that show on this computer, before anybody is asked.
_LOCAL = frozenset(
    {
        *("az-login", "bad-certificate", "bad-file", "bad-inventory", "bad-key", "bad-token", "bad-token-uri"),
        *(
            "bad-url",
            "exec-plugin",
            "no-context",
            "no-file",
            "no-identity",
            "no-inventory",
            "no-key",
            "no-project",
            "no-team",
        ),
        *("private-cluster", "token-not-loopback"),
    }
)
_KNOWN = ("account", "rights", "clock_skew", "fix")


@dataclass(slots=True)
class Finding:
    """One provider's row.

    Attributes:
        configured_from: the setting's name or the file that holds the credentials, never their value; "given" for
            adapters that the Python API was handed; None if there are none.
        ok: None without credentials; else whether it can be used now.
        reachable, key_valid: None where it was not found out.
        quota: what may be rented, or what money is there.
        clock_skew: how far our clock is ahead of the provider's.
        offers: what is for rent there now, all GPUs; None if it was not found out. `available`: of these, not sold out.
        detail: whatever else the provider says.
        hint: what to do, if anything.
    """

    provider: str
    configured_from: str | None
    ok: bool | None = None
    account: str | None = None
    reachable: bool | None = None
    key_valid: bool | None = None
    rights: str | None = None
    quota: str | None = None
    clock_skew: str | None = None
    offers: int | None = None
    available: int | None = None
    detail: dict[str, str] = field(default_factory=dict)
    hint: str | None = None


async def check(
    providers: Mapping[str, Provider], names: Sequence[str], *, values: Mapping[str, str], env: Env, store: Store
) -> list[dict[str, Any]]:
    """Ask the providers *names* (empty: every known one) side by side; see `Finding` for the rows.

    Raises:
        UsageError: there is no provider of that name.
    """
    known = registry.entries()
    for name in names:
        if name not in known and name not in providers:
            raise UsageError(f"there is no provider {name!r}", hint=f"there are {', '.join(sorted(known))}")
    chosen = list(names) or list(dict.fromkeys([*known, *providers]))

    async def one(name: str) -> dict[str, Any]:
        finding = Finding(name, known[name].configured(values) if name in known else "given")
        if name not in providers:
            finding.hint = _how_to_configure(known[name], finding.configured_from)
            return asdict(finding)
        await _look(finding, lambda: providers[name], env, store)
        return asdict(finding)

    return list(await asyncio.gather(*(one(name) for name in chosen)))


def _how_to_configure(entry: registry.Entry, origin: str | None) -> str:
    if origin:
        return f"credentials are there ({origin}), but ORCH_PROVIDERS leaves {entry.name} out"
    keys = " or ".join(entry.keys[:2])
    files = f", or use ~/{entry.files[0]}" if entry.files else ""
    return f"set {keys}{files}; see {entry.docs}"


async def _look(finding: Finding, make: Callable[[], Provider], env: Env, store: Store) -> None:
    try:
        provider = make()
    except ConfigError as error:
        finding.ok, finding.detail, finding.hint = False, {"error": error.message}, error.hint
        return
    try:
        async with asyncio.timeout(DEADLINE_S):
            said = await provider.check()
    except TimeoutError:
        finding.reachable = False
        _failed(finding, ProviderError(f"{finding.provider} did not answer in time", code="deadline"))
        return
    except ProviderError as error:
        _failed(finding, error)
        return
    except Exception as error:  # a bug in one adapter must not hide what the others say
        _failed(finding, ProviderError(f"{type(error).__name__}: {error}", code="adapter-bug"))
        return
    finding.ok, finding.reachable, finding.key_valid = True, True, True
    finding.account = said.get("account")
    finding.rights = said.get("rights")
    finding.quota = "; ".join(text for key, text in said.items() if _is_quota(key)) or None
    finding.clock_skew = said.get("clock_skew")
    finding.hint = said.get("fix") or _skew_hint(finding.clock_skew)
    finding.detail = {key: text for key, text in said.items() if key not in _KNOWN and not _is_quota(key)}
    await _count_offers(finding, provider, env, store)


def _is_quota(key: str) -> bool:
    return key == "balance" or key.startswith("quota")


async def _count_offers(finding: Finding, provider: Provider, env: Env, store: Store) -> None:
    market = await gather({finding.provider: provider}, Query(), env=env, store=store, deadline_s=DEADLINE_S)
    if error := market.errors.get(finding.provider):
        finding.ok = False
        finding.detail["error"] = f"key accepted, but no offers: {error}"
        finding.hint = finding.hint or _fix(error, finding.provider)
        return
    finding.offers = len(market.offers)
    finding.available = sum(offer.available is not False for offer in market.offers)
    if note := market.notes.get(finding.provider):
        finding.detail["offers"] = note
    if not market.offers:
        finding.hint = finding.hint or f"{finding.provider} answers, but sells nothing to this account now"


def _failed(finding: Finding, error: ProviderError) -> None:
    finding.ok = False
    asked = error.type != "ProviderError" and not (error.type == "AuthFailed" and error.code in _LOCAL)
    if asked:
        if finding.reachable is None:
            finding.reachable = error.type != "Unavailable"
        finding.key_valid = False if error.type == "AuthFailed" else True if error.type in _REFUSED else None
    finding.detail = {"error": str(error)}
    finding.hint = _fix(error, finding.provider)


def _fix(error: ProviderError, name: str) -> str:
    if error.type == "AuthFailed" and (error.code in _LOCAL or name == "ssh"):
        return f"mend what the error says; see docs/providers/{name}.md"
    if error.type == "AuthFailed":
        return f"the key of {name} is wrong or revoked; make a new one"
    if error.type == "Forbidden":
        return f"the key of {name} may not do that; see docs/providers/{name}.md for the least permissions"
    if error.type == "NoFunds":
        return f"put money on the account at {name}"
    if error.type == "RateLimited":
        return f"{name} was asked too often; try again in a minute"
    if error.type == "InvalidRequest":
        return f"a setting of {name} is wrong; see docs/providers/{name}.md"
    return f"{name} cannot be used now; try again"


def _skew_hint(text: str | None) -> str | None:
    """What to do about a clock that is off, read from the text that `providers.http.skew_text` makes."""
    number = (text or "").removesuffix(" s")
    try:
        off = abs(float(number))
    except ValueError:
        return None
    return f"this computer's clock is {off:.0f} s off: timedatectl set-ntp true" if off > TOLERATED_SKEW_S else None
