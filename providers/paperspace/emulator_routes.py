"""The emulated Paperspace's paths, and which verb of the contract each serves.

Not modelled: snapshots, shared drives, autoscaling groups, and everything of Gradient (notebooks, deployments).
"""

from __future__ import annotations

import re

_ROUTES: tuple[tuple[re.Pattern[str], dict[str, str]], ...] = tuple(
    (re.compile(f"/v1{pattern}"), methods)
    for pattern, methods in (
        ("/machine-availability", {"GET": "available"}),
        ("/machines", {"GET": "list", "POST": "create"}),
        ("/machines/([^/]+)", {"GET": "get", "PUT": "update", "DELETE": "delete"}),
        ("/machines/([^/]+)/start", {"PATCH": "start"}),
        ("/machines/([^/]+)/stop", {"PATCH": "stop"}),
        ("/machines/([^/]+)/restart", {"PATCH": "restart"}),
        ("/machine-events", {"GET": "events"}),
        ("/machine-events/([^/]+)", {"GET": "event"}),
        ("/os-templates", {"GET": "templates"}),
        ("/custom-templates", {"GET": "custom_templates"}),
        ("/startup-scripts", {"GET": "scripts", "POST": "add_script"}),
        ("/startup-scripts/([^/]+)", {"GET": "script", "PUT": "change_script", "DELETE": "delete_script"}),
        ("/private-networks", {"GET": "networks", "POST": "add_network"}),
        ("/private-networks/([^/]+)", {"GET": "network", "DELETE": "delete_network"}),
        ("/public-ips", {"GET": "ips", "POST": "claim_ip"}),
        ("/public-ips/([^/]+)", {"DELETE": "release_ip"}),
        ("/auth/session", {"GET": "session"}),
        ("/billing/account-standing", {"GET": "standing"}),
        ("/health", {"GET": "health"}),
    )
)

#: Handler to the verb of the contract; "list" with a name is "find". The rest is "other".
VERBS = {
    "available": "offers",
    "create": "launch",
    "list": "owned",
    "get": "find",
    "delete": "terminate",
    "session": "account",
}


def match(path: str) -> tuple[dict[str, str], str] | None:
    """The handlers by method for that path, and the id in it."""
    for pattern, methods in _ROUTES:
        if found := pattern.fullmatch(path):
            return methods, found[1] if pattern.groups else ""
    return None


def bearer(header: str) -> str | None:
    """The key of an Authorization header, or None."""
    scheme, _, key = header.strip().partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.strip() else None
