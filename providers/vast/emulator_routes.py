"""Which call is which: paths (with their trailing slashes), methods, and what the sandbox's verbs mean here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Route:
    """One call.

    Attributes:
        name: of the handler, and in the setting `second_factor`.
        limit: the setting of its rate limit, or None. Every call counts for itself, the two searches together.
        verb: of the sandbox's contract.
        key: ``account`` needs the account's key, ``instance`` takes the key of that instance too, ``any`` none.
    """

    name: str
    limit: str | None
    verb: str = "other"
    key: Literal["account", "instance", "any"] = "account"


_ID = r"(?P<id>[^/]+)"
_TABLE: list[tuple[str, dict[str, Route]]] = [
    ("/api/v0/bundles/", {"POST": Route("search", "search", "offers", "any")}),
    ("/api/v0/search/asks/", {"PUT": Route("search_asks", "search", "offers", "any")}),
    (f"/api/v0/asks/{_ID}/", {"PUT": Route("create", "create", "launch")}),
    ("/api/v0/launch_instance/", {"PUT": Route("launch", "launch", "launch")}),
    (
        "/api/v0/instances/",
        {
            "GET": Route("list_old", "list", "owned"),
            "PUT": Route("manage_many", "manage"),
            "DELETE": Route("destroy_many", "destroy", "terminate"),
        },
    ),
    ("/api/v1/instances/", {"GET": Route("list", "list", "owned")}),
    (
        f"/api/v0/instances/{_ID}/",
        {
            "GET": Route("show", "show", "find", "instance"),
            "PUT": Route("manage", "manage", "other", "instance"),
            "DELETE": Route("destroy", "destroy", "terminate", "instance"),
        },
    ),
    (f"/api/v0/instances/bid_price/{_ID}/", {"PUT": Route("change_bid", "change_bid")}),
    (f"/api/v0/instances/reboot/{_ID}/", {"PUT": Route("reboot", "reboot", "other", "instance")}),
    (f"/api/v0/instances/recycle/{_ID}/", {"PUT": Route("recycle", "reboot", "other", "instance")}),
    (f"/api/v0/instances/request_logs/{_ID}/?", {"PUT": Route("request_logs", None)}),
    (
        f"/api/v0/instances/{_ID}/ssh/",
        {"GET": Route("instance_keys", None), "POST": Route("attach", "ssh")},
    ),
    (f"/api/v0/instances/{_ID}/ssh/(?P<key>[^/]+)/", {"DELETE": Route("detach", "detach")}),
    ("/api/v0/ssh/", {"GET": Route("ssh_show", "ssh"), "POST": Route("ssh_add", "ssh")}),
    (f"/api/v0/ssh/{_ID}/", {"DELETE": Route("ssh_delete", "ssh")}),
    # The official client asks for the account without the slash.
    ("/api/v0/users/current/?", {"GET": Route("user", None, "account")}),
    ("/api/v0/gpu_types/", {"GET": Route("gpu_types", None, "other", "any")}),
    ("/api/v0/gpu_names/unique/", {"GET": Route("gpu_names", None, "other", "any")}),
    ("/api/v0/metrics/gpu/current/", {"GET": Route("metrics", "metrics")}),
    ("/api/v0/charges/", {"GET": Route("charges", "charges")}),
    # Not the API's: where it uploads logs to, which takes no key.
    ("/instance_logs/(?P<id>[a-z0-9]+).log", {"GET": Route("log_file", None, "other", "any")}),
]
_COMPILED = [(re.compile(pattern), methods) for pattern, methods in _TABLE]


def match(path: str) -> tuple[dict[str, Route], dict[str, str]] | None:
    """The methods of *path* and the parts of it, or None if there is nothing."""
    for pattern, methods in _COMPILED:
        if found := pattern.fullmatch(path):
            return methods, found.groupdict()
    return None
