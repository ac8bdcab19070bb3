"""The one way out to providers that speak HTTP: auth, time-outs, retries, pacing, limits, redaction.

Only this module uses httpx (see docs/adr). What may be retried here is what can be repeated without
harm: reads, and calls the adapter declares repeatable. A call with an effect is sent once; what went wrong is
told apart into "proven before the effect" (`Unavailable`) and "nobody knows" (`OutcomeUnknown`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import tenacity

from providers._httpx import httpx
from providers.base import Context, Facts
from providers.errors import OutcomeUnknown, ProviderError, RateLimited, Unavailable

USER_AGENT = "gpu-orch/0.1 (+https://pypi.org/project/gpu-orch/)"
MAX_BODY = 32 * 1024 * 1024
MAX_TEXT = 600
CONNECT_S, READ_S, TOTAL_S = 5.0, 30.0, 60.0
READ_TRIES = 3
LONGEST_READ_WAIT_S = 65.0

#: Requests that never reached the provider: the connection itself failed.
_BEFORE_EFFECT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class BadUrl(ValueError):
    """A base URL that would send a key in the clear, or is no URL."""


def check_base_url(url: str, variable: str) -> str:
    """*url* without its trailing slash. Plain http is allowed for loopback addresses only.

    Raises:
        BadUrl: names *variable*, the setting it came from.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadUrl(f"{variable}={url!r} is not an http(s) URL")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise BadUrl(f"{variable}={url!r} would send a key in the clear: use https, or a loopback address")
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether *host* is this computer itself, judged by its spelling alone (no DNS)."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def http_date(text: str) -> datetime | None:
    """The moment that an HTTP date says, UTC; None where it is no date."""
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def skew_text(seconds: float | None) -> str:
    """How far our clock is off, for `Provider.check`: whole seconds, positive if ours is ahead."""
    return "unknown" if seconds is None else f"{round(seconds)} s"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was received whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body as text, cut to a length that fits into a log line."""
        return self.body.decode("utf-8", "replace").strip()[:MAX_TEXT]

    def json(self) -> Any:
        """The body as JSON, with decimals kept exact.

        Raises:
            ValueError: it is not JSON.
        """
        from decimal import Decimal

        return json.loads(self.body, parse_float=Decimal)

    def parsed(self) -> Any:
        """The body as JSON, or None where it is none: error readers have to look at whatever comes."""
        try:
            return self.json()
        except (ValueError, RecursionError):
            return None

    def retry_after(self, now: datetime) -> float | None:
        """Seconds that the `Retry-After` header asks to wait, in either of its two forms."""
        value = self.headers.get("retry-after", "").strip()
        if not value:
            return None
        if value.isascii() and value.replace(".", "", 1).isdigit():
            return float(value)
        when = http_date(value)
        return None if when is None else max(0.0, (when - now).total_seconds())


Classify = Callable[[Reply, str], ProviderError]


class Http:
    """A provider's wire.

    Args:
        provider: its name, for messages and pacing keys.
        base_url: checked by `check_base_url`.
        headers: sent with every request (auth among them).
        classify: maps a parsed refusal and the verb to an error; it is asked for every status of 400 and up.
            For a 5xx of a call with an effect its answer only counts if it is a typed error other than
            `Unavailable` and `Unclassified`: otherwise the outcome is unknown.
        secrets: texts that never appear in an error message.
        facts: its `rates` are kept.
        tls: trust and client certificate, where the usual ones will not do (a cluster's own CA).
    """

    def __init__(
        self,
        context: Context,
        *,
        provider: str,
        base_url: str,
        headers: Mapping[str, str],
        classify: Classify,
        secrets: tuple[str, ...] = (),
        facts: Facts | None = None,
        account_key: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._context = context
        self._provider = provider
        self._classify = classify
        self._secrets = tuple(s for s in secrets if s)
        self._facts = facts
        self._account_key = account_key
        parts = urlsplit(base_url)
        #: Seconds that our clock is ahead of the provider's, by the `Date` of its last answer (whole seconds,
        #: the answer's way included); None before the first answer that had one.
        self.clock_skew_s: float | None = None
        loopback = is_loopback(parts.hostname or "")
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers={"User-Agent": USER_AGENT, "Accept": "application/json", **headers},
            timeout=httpx.Timeout(READ_S, connect=CONNECT_S, pool=CONNECT_S),
            follow_redirects=False,  # a redirect must never carry the key elsewhere
            trust_env=not loopback,
            # No TLS is spoken on plain http; not loading the CA bundle saves 30 ms a client.
            verify=tls or parts.scheme == "https",
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        verb: str,
        params: Mapping[str, Any] | None = None,
        json_body: Any = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        accept_json_only: bool = True,
    ) -> Reply:
        """Send one request and return its 2xx answer.

        Args:
            verb: the contract's verb it serves ("offers", "price", "launch", "find", "owned", "terminate",
                "account"); it picks the pacer and is handed to `classify`.
            repeatable: whether repeating it does no harm; None means yes for GET and HEAD only.
            accept_json_only: a 2xx body that is there and not JSON is a failure of the call.

        Raises:
            Unavailable: not reached, or a repeatable call that failed three times.
            OutcomeUnknown: a call with an effect went out, and no readable answer came back.
            ProviderError: what `classify` made of a refusal.
        """
        if repeatable is None:
            repeatable = method in {"GET", "HEAD"}

        async def once() -> Reply:
            await self._pace(verb)
            reply = await self._send(method, path, params, json_body, headers, repeatable)
            return self._judge(reply, verb, repeatable, accept_json_only)

        if not repeatable:
            return await once()
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(READ_TRIES),
            retry=tenacity.retry_if_exception(_worth_repeating),
            wait=self._wait,
            sleep=self._context.env.sleep,
            reraise=True,
        )
        return await retrying(once)

    async def json(self, method: str, path: str, *, verb: str, **more: Any) -> Any:
        """`call`, and the answer's JSON."""
        return (await self.call(method, path, verb=verb, **more)).json()

    def redact(self, text: str) -> str:
        """*text* without our secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "[redacted]")
        return text

    async def _pace(self, verb: str) -> None:
        pace = self._context.pace
        if pace is None or self._facts is None:
            return
        for rate in self._facts.rates:
            if verb in rate.verbs or "*" in rate.verbs:
                key = f"{self._provider}:{self._account_key}:{'+'.join(rate.verbs)}"
                await pace.wait(key, rate.spacing_s)

    async def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        json_body: Any,
        headers: Mapping[str, str] | None,
        repeatable: bool,
    ) -> Reply:
        request = self._client.build_request(method, path, params=params, json=json_body, headers=headers)
        try:
            # httpx limits the pause between two bytes, not the whole: a trickle would go on for ever.
            async with asyncio.timeout(TOTAL_S):
                response = await self._client.send(request, stream=True)
                try:
                    body = await _read_limited(response)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise self._unsure(repeatable, f"no whole answer within {TOTAL_S:g} s", "timeout") from error
        except _BEFORE_EFFECT as error:
            raise Unavailable(self._say(f"{self._provider} cannot be reached: {error!r}"), code="not-reached") from None
        except _TooBig as error:
            raise self._unsure(repeatable, f"answer larger than {MAX_BODY} bytes", "oversized") from error
        except httpx.HTTPError as error:
            raise self._unsure(repeatable, f"no whole answer: {error!r}", "transport") from None
        self._note_skew(response.headers.get("date", ""))
        return Reply(response.status_code, response.headers, body)

    def _note_skew(self, date: str) -> None:
        served = http_date(date)
        if served is not None:
            self.clock_skew_s = (self._context.env.now() - served).total_seconds()

    def _judge(self, reply: Reply, verb: str, repeatable: bool, accept_json_only: bool) -> Reply:
        if reply.ok:
            if accept_json_only and reply.body and reply.parsed() is None and reply.body.strip() != b"null":
                raise self._unsure(repeatable, f"answered {reply.status} with no JSON", "malformed")
            return reply
        if reply.status < 400:
            raise self._unsure(repeatable, f"answered with a redirect ({reply.status})", "redirect")
        error = self._classify(reply, verb)
        error.message = self.redact(error.message)
        error.args = (error.message,)
        if isinstance(error, RateLimited):
            raise error
        if reply.status >= 500 and not repeatable and error.type in {"Unavailable", "Unclassified"}:
            raise OutcomeUnknown(error.message, code=error.code or f"http-{reply.status}") from None
        if reply.parsed() is None and not repeatable and error.type == "Unclassified":
            # A 4xx page that is not the API's own refusal (a proxy's, a firewall's) proves nothing.
            raise OutcomeUnknown(error.message, code=error.code or f"http-{reply.status}") from None
        if error.type == "Unclassified" and self._context.on_unclassified is not None:
            self._context.on_unclassified(self._provider, error.code, error.message)
        raise error

    def _unsure(self, repeatable: bool, what: str, code: str) -> ProviderError:
        text = self._say(f"{self._provider}: {what}")
        return Unavailable(text, code=code) if repeatable else OutcomeUnknown(text, code=code)

    def _say(self, text: str) -> str:
        return self.redact(text)[:MAX_TEXT]

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, RateLimited):
            return error.wait_s
        return self._context.env.uniform(0.2, 0.5) * float(2 ** (state.attempt_number - 1))


class _TooBig(Exception):
    """The answer is larger than anything a provider has to say."""


async def _read_limited(response: httpx.Response) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > MAX_BODY:
            raise _TooBig
        chunks.append(chunk)
    return b"".join(chunks)


def _worth_repeating(error: BaseException) -> bool:
    if isinstance(error, RateLimited):
        return error.wait_s <= LONGEST_READ_WAIT_S
    return isinstance(error, Unavailable) and error.code not in {"redirect", "oversized"}
