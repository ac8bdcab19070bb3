"""Azure Resource Manager's wire: azure-mgmt-compute in threads, with every repeat of its own switched off.

Compute goes through the SDK's operations; resource groups and network through `send_request` of the same client, so
that no second SDK is needed. A call with an effect is sent once; reads, and calls that are safe to repeat, are tried
three times, on the clock of the `Env`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import tenacity

from providers.azure import credentials, wire
from providers.base import Context, Facts
from providers.errors import AuthFailed, Forbidden, ProviderError, RateLimited, Unavailable, Unclassified
from providers.http import LONGEST_READ_WAIT_S, MAX_TEXT, READ_TRIES, http_date

HOST = "https://management.azure.com"
#: API versions of what is asked without the SDK's operations (those bring their own).
GROUPS, SUBSCRIPTIONS, NETWORK, RIGHTS = "2025-04-01", "2022-12-01", "2026-03-01", "2022-04-01"
COMPUTE, SKUS, REGISTRATION = "2026-04-01", "2021-07-01", "2021-04-01"
MOST_PAGES = 1000
#: Seconds for one call, a fresh token included: the SDK limits the pause between two bytes, not the whole.
TOTAL_S = 120.0

_RENEWED = frozenset(["expiredauthenticationtoken", "invalidauthenticationtoken", "authenticationfailed", "http-401"])


class Client:
    """Calls of one subscription. All raise `ProviderError` subclasses only.

    Args:
        url: base URL of ARM and of the token authority, or None for Microsoft's.
    """

    def __init__(self, context: Context, *, url: str | None, facts: Facts) -> None:
        self._context = context
        self._url = url or HOST
        self._facts = facts
        self._tokens = credentials.Tokens(context.settings, context.env, url)
        self._secrets = credentials.secrets(context.settings)
        self._lock = threading.Lock()
        self._sdk: dict[str, Any] = {}
        self._subscription: str | None = None
        #: Seconds that our clock is ahead of Azure's, by its last answer; None before the first.
        self.clock_skew_s: float | None = None

    async def subscription(self) -> str:
        """The subscription that is used: from the settings, else `az`'s default, else the only one there is.

        Raises:
            Forbidden: there is none, or there are several.
        """
        if self._subscription is None:
            named = self._context.settings.get(credentials.SUBSCRIPTION, "").strip()
            if not named and self._tokens.kind == "cli":
                named = credentials.profile_subscription(self._context.settings) or ""
            self._subscription = (named or await self._only_one()).lower()
        return self._subscription

    async def root(self) -> str:
        """The path of the subscription, ``/subscriptions/...``."""
        return f"/subscriptions/{quote(await self.subscription(), safe='')}"

    async def sdk(self, call: Callable[[Any], Any], *, verb: str, effect: bool = False, repeat: bool = True) -> Any:
        """What *call* returns, run in a thread with the SDK's client.

        Args:
            verb: the contract's verb it serves; it picks the pacer.
            effect: it may make something that bills, so it is sent once.
            repeat: whether a failed call is tried again here; else the engine decides.

        Raises:
            Unavailable: not reached, or a repeatable call that failed three times.
            OutcomeUnknown: a call with an effect went out, and no readable answer came back.
            ProviderError: what the table made of a refusal.
        """
        subscription = await self.subscription()
        return await self._run(subscription, call, verb=verb, effect=effect, repeat=repeat)

    async def arm(
        self,
        method: str,
        path: str,
        *,
        version: str,
        verb: str,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        repeat: bool = True,
        subscription: str | None = None,
    ) -> Any:
        """One call of ARM without the SDK's operations; its JSON, or None where there is no body.

        None of them makes anything that bills. *path* may hold a query already, and may be a next page's address.
        """
        query = urlencode({**(params or {}), "api-version": version}, quote_via=quote)
        target = path if "?" in path else f"{path}?{query}"

        def call(sdk: Any) -> Any:
            answer = sdk.send_request(wire.request(method, target, body))
            if answer.status_code >= 300:
                raise wire.judge(answer, effect=False, now=self._context.env.now())
            return answer.json() if answer.content.strip() else None

        owner = subscription if subscription is not None else await self.subscription()
        return await self._run(owner, call, verb=verb, effect=False, repeat=repeat)

    async def pages(
        self,
        path: str,
        *,
        version: str,
        verb: str,
        params: Mapping[str, str] | None = None,
        subscription: str | None = None,
    ) -> list[Any]:
        """The rows of all pages of a list. (The SDK's pagers take a page that holds no list for an empty one.)

        Raises:
            Unavailable: a page is no page, or they turn in a circle: never half a list.
        """
        rows: list[Any] = []
        target, seen = path, set[str]()
        while True:
            answer = await self.arm("GET", target, version=version, verb=verb, params=params, subscription=subscription)
            if not isinstance(answer, dict) or not isinstance(answer.get("value"), list):
                raise Unavailable(f"Azure: the answer to {path.rsplit('/', 1)[-1]} is no list", code="malformed")
            rows += answer["value"]
            link = answer.get("nextLink")
            if not link:
                return rows
            target = str(link)
            if target in seen or len(seen) >= MOST_PAGES or "://" not in target:
                raise Unavailable("Azure: the pages of a list never end", code="malformed")
            seen.add(target)

    async def aclose(self) -> None:
        """Close the connections."""
        with self._lock:
            open_, self._sdk = list(self._sdk.values()), {}
        for sdk in open_:
            sdk.close()

    def redact(self, text: str) -> str:
        """*text* without secrets and without the ids of the account."""
        for secret in self._secrets:
            text = text.replace(secret, "[redacted]")
        return text

    async def _only_one(self) -> str:
        found = await self.pages("/subscriptions", version=SUBSCRIPTIONS, verb="account", subscription="-")
        usable = [
            row
            for row in found
            if isinstance(row, dict)
            and row.get("subscriptionId")
            and str(row.get("state") or "Enabled").lower() in ("enabled", "warned", "pastdue")
        ]
        if len(usable) == 1:
            return str(usable[0]["subscriptionId"])
        if not usable:
            raise Forbidden("the Azure credentials open no subscription", code="no-subscription")
        names = ", ".join(sorted(str(row.get("displayName") or row["subscriptionId"]) for row in usable)[:5])
        raise Forbidden(
            f"the credentials open {len(usable)} subscriptions ({names}): name one in {credentials.SUBSCRIPTION}",
            code="many-subscriptions",
        )

    async def _run(
        self, subscription: str, call: Callable[[Any], Any], *, verb: str, effect: bool, repeat: bool
    ) -> Any:
        async def once() -> Any:
            await self._pace(verb)
            try:
                return await self._once(subscription, call, effect)
            except AuthFailed as error:
                # A token that ended early: refused, so nothing happened.
                # (In a thread: another call may hold the lock while it fetches one.)
                if error.code.lower() not in _RENEWED or not await asyncio.to_thread(self._tokens.forget):
                    raise
            return await self._once(subscription, call, effect)

        if effect or not repeat:
            return await once()
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(READ_TRIES),
            retry=tenacity.retry_if_exception(_worth_repeating),
            wait=self._wait,
            sleep=self._context.env.sleep,
            reraise=True,
        )
        return await retrying(once)

    async def _once(self, subscription: str, call: Callable[[Any], Any], effect: bool) -> Any:
        try:
            sdk = await asyncio.to_thread(self._client, subscription)
        except Exception as error:
            # Nothing is sent yet, whatever went wrong.
            raise self._said(wire.classify(error, effect=False, now=self._context.env.now())) from None
        try:
            async with asyncio.timeout(TOTAL_S):
                return await asyncio.to_thread(call, sdk)
        except Exception as error:
            raise self._said(wire.classify(error, effect=effect, now=self._context.env.now())) from None

    def _client(self, subscription: str) -> Any:
        with self._lock:
            if subscription not in self._sdk:
                self._sdk[subscription] = wire.compute_client(self._url, subscription, self._tokens.get, self._noted)
            return self._sdk[subscription]

    def _noted(self, headers: Mapping[str, str]) -> None:
        served = http_date(headers.get("date", ""))
        if served is not None:
            self.clock_skew_s = (self._context.env.now() - served).total_seconds()

    def _said(self, error: ProviderError) -> ProviderError:
        error.message = self.redact(error.message)[:MAX_TEXT]
        error.args = (error.message,)
        if isinstance(error, Unclassified) and self._context.on_unclassified is not None:
            self._context.on_unclassified("azure", error.code, error.message)
        return error

    async def _pace(self, verb: str) -> None:
        for rate in self._facts.rates:
            if verb in rate.verbs and self._context.pace is not None:
                await self._context.pace.wait(f"azure:{self._subscription}:{'+'.join(rate.verbs)}", rate.spacing_s)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, RateLimited):
            return error.wait_s
        return self._context.env.uniform(0.2, 0.5) * float(2 ** (state.attempt_number - 1))


def _worth_repeating(error: BaseException) -> bool:
    if isinstance(error, RateLimited):
        return error.wait_s <= LONGEST_READ_WAIT_S
    return isinstance(error, Unavailable) and error.code not in ("redirect", "not-sent")
