"""Azure's SDK as this adapter uses it: its client with our own pipeline, and what its exceptions mean.

The SDK's default pipeline repeats calls, follows redirects, registers resource providers in an endless loop and refuses
plain http. Ours holds only what is needed: our name, the token, and nothing that sends anything twice. Nothing of Azure
is imported before the first call: it takes half a second and 40 MB.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from providers.azure.errors import refused, unsure
from providers.errors import InvalidRequest, ProviderError, Unavailable
from providers.http import CONNECT_S, MAX_TEXT, READ_S, USER_AGENT, Reply, is_loopback

#: The connection itself failed, so nothing was sent. (urllib3's names; the SDK files later failures there, too.)
_BEFORE_SENDING = frozenset(["NewConnectionError", "ConnectTimeoutError", "NameResolutionError", "ConnectTimeout"])


def compute_client(
    url: str, subscription: str, token: Callable[[], str], noted: Callable[[Mapping[str, str]], None]
) -> Any:
    """azure-mgmt-compute's client for *subscription* at *url*, safe to be shared by threads.

    Args:
        token: gives the bearer token; it may block, and may raise `ProviderError`.
        noted: is shown the headers of every answer.
    """
    compute: Any = importlib.import_module("azure.mgmt.compute")
    policies = [*_policies(), _bearer(url, token, noted)]
    return compute.ComputeManagementClient(
        credential=_Unused(),
        subscription_id=subscription,
        base_url=url,
        policies=policies,
        authentication_policy=policies[-1],
        **_transport(url),
    )


def request(method: str, path: str, body: Any = None) -> Any:
    """A request for the client's `send_request`: *path* is relative to its base URL, and holds the API version."""
    rest: Any = importlib.import_module("azure.core.rest")
    return rest.HttpRequest(method, path, headers={"Accept": "application/json"}, json=body)


def post_form(url: str, path: str, form: Mapping[str, str]) -> tuple[int, Any]:
    """POST *form* and return status and JSON (None where it is none): for the token authority.

    Raises:
        Unavailable: there was no whole answer. Asking for a token again does no harm.
    """
    core: Any = importlib.import_module("azure.core")
    rest: Any = importlib.import_module("azure.core.rest")
    headers = {"Accept": "application/json"}
    try:
        with core.PipelineClient(url, policies=_policies(), **_transport(url)) as client:
            answer = client.send_request(rest.HttpRequest("POST", url + path, data=dict(form), headers=headers))
            return int(answer.status_code), _json(answer)
    except Exception as error:
        raise Unavailable(
            f"Azure's token authority: {type(error).__name__}: {error}"[:MAX_TEXT], code="token"
        ) from None


def classify(error: Exception, *, effect: bool, now: datetime) -> ProviderError:
    """What an exception of the SDK means.

    Args:
        effect: the call may make something that bills: what proves nothing about it becomes `OutcomeUnknown`.
    """
    if isinstance(error, ProviderError):
        return error
    azure: Any = importlib.import_module("azure.core.exceptions")
    answer = getattr(error, "response", None)
    if isinstance(error, azure.HttpResponseError) and answer is not None and int(answer.status_code) >= 300:
        return judge(answer, effect=effect, now=now)
    if isinstance(error, TimeoutError):
        return unsure("Azure: no whole answer in time", "timeout", effect)
    said = f"Azure: {type(error).__name__}: {error}"[:MAX_TEXT]
    if isinstance(error, azure.ServiceRequestError) and _never_sent(error):
        return Unavailable(said, code="not-reached")
    if isinstance(error, azure.ServiceRequestError | azure.ServiceResponseError):
        return unsure(said, "transport", effect)
    # A body that is cut or is not JSON, or a type that the SDK stumbled over: the request went out.
    return unsure(said, "malformed", effect)


def judge(answer: Any, *, effect: bool, now: datetime) -> ProviderError:
    """What a received answer of status 300 and up means."""
    wait_s = Reply(int(answer.status_code), _lower(answer.headers), b"").retry_after(now)
    return refused(int(answer.status_code), _json(answer), effect=effect, wait_s=wait_s)


def _policies() -> list[Any]:
    """Every request says who we are and has an id of its own."""
    known: Any = importlib.import_module("azure.core.pipeline.policies")
    # Without a handler Python prints the SDK's warnings about broken answers; `classify` says the same.
    logging.getLogger("azure").addHandler(logging.NullHandler())
    return [
        known.RequestIdPolicy(),
        known.HeadersPolicy(),
        known.UserAgentPolicy(base_user_agent=USER_AGENT, user_agent_use_env=False),
        known.CustomHookPolicy(),
    ]


def _bearer(url: str, token: Callable[[], str], noted: Callable[[Mapping[str, str]], None]) -> Any:
    """The policy that signs. The SDK's own refuses plain http, which the sandbox on loopback speaks."""
    own = _origin(url)

    def on_request(_: Any, request: Any) -> None:
        # A next page's address comes from the server: the token goes to no other one.
        if _origin(request.http_request.url) != own:
            raise InvalidRequest("Azure: a next page lies on another host", code="other-host")
        request.http_request.headers["Authorization"] = f"Bearer {token()}"

    def on_response(_: Any, __: Any, response: Any) -> None:
        noted(_lower(response.http_response.headers))

    base = importlib.import_module("azure.core.pipeline.policies").SansIOHTTPPolicy
    return type("Bearer", (base,), {"on_request": on_request, "on_response": on_response})()


def _transport(url: str) -> dict[str, Any]:
    return {
        "connection_timeout": CONNECT_S,
        "read_timeout": READ_S,
        # No proxy stands before this computer itself.
        "use_env_settings": not is_loopback(urlsplit(url).hostname or ""),
    }


class _Unused:
    """The client wants a credential, and with a policy of our own asks it nothing."""

    def get_token(self, *_: str, **__: Any) -> Any:
        raise InvalidRequest("Azure: the SDK asked for a token by itself", code="token")


def _never_sent(error: BaseException) -> bool:
    return any(type(one).__name__ in _BEFORE_SENDING for one in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """*error* and what lies inside: urllib3 keeps the reason in an attribute, requests in the arguments."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = [getattr(one, "inner_exception", None), getattr(one, "reason", None), *one.args]
        waiting += [each for each in inner if isinstance(each, BaseException)]


def _json(answer: Any) -> Any:
    try:
        return json.loads(answer.text() or "null")
    except Exception:
        return None  # whatever cannot be read is no document


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
