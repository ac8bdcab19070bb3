"""AWS's wire: boto3 in threads, one call at a time, with its retries off.

botocore would repeat a launch by itself, up to five times where a zone is full. Here a call with an effect is sent
once; reads and calls that are safe to repeat are tried three times, on the clock of the `Env`.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import tenacity

from providers.aws import credentials
from providers.aws.errors import classify
from providers.base import Context, Facts
from providers.errors import AuthFailed, OutcomeUnknown, ProviderError, RateLimited, Unavailable, Unclassified
from providers.http import CONNECT_S, LONGEST_READ_WAIT_S, MAX_TEXT, READ_S, READ_TRIES, USER_AGENT, is_loopback

MOST_PAGES = 1000

if TYPE_CHECKING:
    from providers.aws.bulk import Bulk

#: What a whole answer must hold, by operation. An HTML page parses as XML, too, but holds none of it.
NEEDS = {
    "authorize_security_group_ingress": "",
    "create_security_group": "GroupId",
    "delete_security_group": "",
    "describe_images": "Images",
    "describe_instance_type_offerings": "InstanceTypeOfferings",
    "describe_instance_types": "InstanceTypes",
    "describe_instances": "Reservations",
    "describe_security_groups": "SecurityGroups",
    "describe_spot_price_history": "SpotPriceHistory",
    "describe_subnets": "Subnets",
    "get_caller_identity": "Account",
    "get_parameter": "Parameter",
    "get_products": "PriceList",
    "get_service_quota": "Quota",
    "run_instances": "Instances",
    "terminate_instances": "TerminatingInstances",
}
_EXPIRED = frozenset(["ExpiredToken", "ExpiredTokenException", "RequestExpired"])


class Client:
    """Calls of EC2, STS, SSM, quotas and the price list. All raise `ProviderError` subclasses only.

    Args:
        url: one base URL for all services, told apart by the signed service name; None for AWS itself.
        bulk: the public price list, which needs no key.
    """

    def __init__(self, context: Context, *, url: str | None, facts: Facts, bulk: Bulk) -> None:
        self._context = context
        self._url = url
        self._facts = facts
        self.bulk = bulk
        self._secrets = credentials.secrets(context.settings)
        self._lock = threading.Lock()  # sessions are not thread-safe, clients are
        self._session: Any = None
        self._clients: dict[tuple[str, str], Any] = {}

    async def call(
        self,
        service: str,
        region: str,
        operation: str,
        /,
        *,
        verb: str,
        effect: bool = False,
        bucket: str | None = None,
        **params: Any,
    ) -> dict[str, Any]:
        """One call's answer, proven to be whole.

        Args:
            service: ``ec2``, ``sts``, ``ssm``, ``service-quotas`` or ``pricing``.
            operation: the name of boto3's method.
            verb: the contract's verb it serves; it picks the pacer.
            effect: it may make something that bills, so it is sent once.
            bucket: the quota that a launch counts against.

        Raises:
            Unavailable: not reached, or a repeatable call that failed three times.
            OutcomeUnknown: a call with an effect went out, and no readable answer came back.
            ProviderError: what the table made of a refusal.
        """

        async def once() -> dict[str, Any]:
            await self._pace(verb, region)
            return await self._fresh(service, region, operation, effect, bucket, params)

        if effect:
            return await once()
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(READ_TRIES),
            retry=tenacity.retry_if_exception(_worth_repeating),
            wait=self._wait,
            sleep=self._context.env.sleep,
            reraise=True,
        )
        return await retrying(once)

    async def pages(
        self, service: str, region: str, operation: str, /, *, verb: str, **params: Any
    ) -> list[dict[str, Any]]:
        """The rows of all pages.

        Raises:
            Unavailable: a page cannot be read, or the pages turn in a circle: never half a list.
        """
        rows: list[dict[str, Any]] = []
        token, seen = "", set[str]()
        while True:
            more: dict[str, Any] = {"NextToken": token} if token else {}
            answer = await self.call(service, region, operation, verb=verb, **params, **more)
            found = answer[NEEDS[operation]]
            if not isinstance(found, list):
                raise Unavailable(f"AWS: {operation} answered no list", code="malformed")
            rows += found
            token = str(answer.get("NextToken") or "")
            if not token:
                return rows
            if token in seen or len(seen) >= MOST_PAGES:
                raise Unavailable(f"AWS: the pages of {operation} never end", code="malformed")
            seen.add(token)

    async def aclose(self) -> None:
        """Close the connections."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()

    def redact(self, text: str) -> str:
        """*text* without our secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "[redacted]")
        return text

    async def _fresh(
        self, service: str, region: str, operation: str, effect: bool, bucket: str | None, params: dict[str, Any]
    ) -> dict[str, Any]:
        """`_once`; credentials that are over are read anew, once (a refused call had no effect)."""
        try:
            return await self._once(service, region, operation, effect, bucket, params)
        except AuthFailed as error:
            if error.code not in _EXPIRED or self._context.settings.get(credentials.KEY_ID):
                raise
        await self.aclose()
        self._session = None
        return await self._once(service, region, operation, effect, bucket, params)

    async def _once(
        self, service: str, region: str, operation: str, effect: bool, bucket: str | None, params: dict[str, Any]
    ) -> dict[str, Any]:
        try:
            client = await asyncio.to_thread(self._client, service, region)
        except Exception as error:
            # Nothing is sent yet, whatever went wrong.
            raise self._said(classify(error, effect=False)) from None
        try:
            answer = await asyncio.to_thread(getattr(client, operation), **params)
        except Exception as error:
            raise self._said(classify(error, effect=effect, now=self._context.env.now(), bucket=bucket)) from None
        if not _whole(answer, NEEDS[operation]):
            text = f"AWS: the answer to {operation} is not {operation}'s"
            raise OutcomeUnknown(text, code="malformed") if effect else Unavailable(text, code="malformed")
        return dict(answer)

    def _client(self, service: str, region: str) -> Any:
        with self._lock:
            known = self._clients.get((service, region))
            if known is not None:
                return known
            if self._session is None:
                self._session = credentials.session(self._context.settings)
            # With a slash at its end botocore keeps a path in the URL as a folder.
            endpoint = f"{self._url}/" if self._url else None
            made = self._session.client(service, region_name=region, endpoint_url=endpoint, config=_config(self._url))
            self._clients[service, region] = made
            return made

    def _said(self, error: ProviderError) -> ProviderError:
        error.message = self.redact(error.message)[:MAX_TEXT]
        error.args = (error.message,)
        if isinstance(error, Unclassified) and self._context.on_unclassified is not None:
            self._context.on_unclassified("aws", error.code, error.message)
        return error

    async def _pace(self, verb: str, region: str) -> None:
        # AWS counts by account, region and action.
        for rate in self._facts.rates:
            if verb in rate.verbs and self._context.pace is not None:
                await self._context.pace.wait(f"aws:{region}:{'+'.join(rate.verbs)}", rate.spacing_s)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, RateLimited):
            return error.wait_s
        return self._context.env.uniform(0.2, 0.5) * float(2 ** (state.attempt_number - 1))


def _config(url: str | None) -> Any:
    more: dict[str, Any] = {"proxies": {}} if url and is_loopback(urlsplit(url).hostname or "") else {}
    return importlib.import_module("botocore.config").Config(
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        retries={"mode": "standard", "total_max_attempts": 1},
        user_agent_extra=USER_AGENT.split(" ")[0],
        max_pool_connections=20,
        **more,
    )


def _whole(answer: Any, need: str) -> bool:
    if not isinstance(answer, dict):
        return False
    if need:
        return answer.get(need) is not None
    # Nothing in particular has to be in it; but a page that is not AWS's has no request id.
    meta = answer.get("ResponseMetadata")
    return isinstance(meta, dict) and bool(meta.get("RequestId"))


def _worth_repeating(error: BaseException) -> bool:
    if isinstance(error, RateLimited):
        return error.wait_s <= LONGEST_READ_WAIT_S
    return isinstance(error, Unavailable) and error.code != "redirect"
