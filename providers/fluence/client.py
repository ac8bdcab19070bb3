"""Fluence's wire: one typed call per endpoint, and nothing of what the answers mean.

The trailing slashes are the documented ones; a wrong one would be answered with a redirect, which is not
followed. Three trees stand side by side: containers at the root, `/vms` and `/baremetal` below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from providers.base import Context, Facts
from providers.errors import OutcomeUnknown, ProviderError
from providers.fluence import wire
from providers.fluence.errors import NOT_FOUND, classify
from providers.fluence.wire import DefaultImage, Kind, Machine, Plan
from providers.http import Http, Reply

API_URL = "https://api.fluence.dev"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What `GET /v1/service/status` says; None where it does not."""

    maintenance: bool | None
    version: str | None


class Client:
    """The calls. All raise `ProviderError` subclasses only.

    Args:
        key: sent as `X-API-KEY` and in no other header.
        base_url: checked by `check_base_url`; `/gpu`, `/v1` and `/v2` come below it.
    """

    def __init__(self, context: Context, *, key: str, base_url: str, facts: Facts, account: str) -> None:
        self._http = Http(
            context,
            provider="fluence",
            base_url=base_url,
            headers={"X-API-KEY": key},
            classify=classify,
            secrets=(key,),
            facts=facts,
            account_key=account,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def plans(self, kind: Kind, *, verb: str) -> list[Plan]:
        """Everything that can be rented now in one tree."""
        if kind == "containers":
            return wire.container_plans(await self._get("/gpu/plans/", verb))
        return wire.machine_plans(kind, await self._get(f"/gpu/plans/{kind}", verb))

    async def default_images(self) -> list[DefaultImage]:
        """The container images that Fluence keeps."""
        return wire.default_images(await self._get("/gpu/default-images/", "launch"))

    async def create(self, kind: Kind, body: dict[str, Any]) -> str:
        """Rent, and return the new instance's id. Any 2xx counts: the exact code is not documented.

        Raises:
            OutcomeUnknown: accepted, but the answer names no id.
        """
        reply = await self._http.call("POST", _instances(kind), verb="launch", json_body=body)
        id_ = wire.text(wire.record(reply.parsed()).get("instance_id"))
        if id_ is None:
            raise OutcomeUnknown("fluence: created, but the answer names no instance_id", code="malformed")
        return id_

    async def machines(self, kind: Kind, *, verb: str) -> list[Machine]:
        """Every instance of one tree, ended ones included; no pages, no addresses."""
        return wire.machines(kind, await self._get(_instances(kind), verb))

    async def machine(self, kind: Kind, id_: str, *, verb: str) -> Machine | None:
        """One instance with its address, or None if the answer is 404."""
        try:
            answer = await self._get(_instance(kind, id_), verb)
        except ProviderError as error:
            if error.code == NOT_FOUND:
                return None
            raise
        found = wire.machine(kind, answer)
        if found is None:
            raise wire.malformed(f"the answer for {kind} instance {id_} has no id")
        return found

    async def delete(self, kind: Kind, id_: str) -> None:
        """Ask for the end. Repeatable: a second one is refused and changes nothing."""
        await self._http.call("DELETE", _instance(kind, id_), verb="terminate", repeatable=True)

    async def events(self, id_: str, *, last: int = 50) -> list[str]:
        """The newest lines of a container's events, Kubernetes style."""
        answer = await self._get(f"{_instance('containers', id_)}/events", "find", last=last)
        return [line for line in wire.rows(answer, "events") if isinstance(line, str)]

    async def balances(self) -> list[tuple[str, str]]:
        """Pairs of feature and balance in USD, from the account API."""
        found = []
        for row in wire.rows(await self._get("/v2/users/balances", "account"), "balances"):
            fields = wire.record(row)
            balance = wire.text(fields.get("balance"))
            if balance is not None:
                found.append((wire.text(fields.get("featureKey")) or "", balance))
        return found

    async def service_status(self) -> ServiceStatus:
        """Whether the service says that it is under maintenance. Needs no key."""
        fields = wire.record(await self._get("/v1/service/status", "account"))
        maintenance = fields.get("maintenanceMode")
        return ServiceStatus(maintenance if isinstance(maintenance, bool) else None, wire.text(fields.get("version")))

    async def server_time(self) -> datetime | None:
        """What the GPU service's `Date` header says after a read that needs the key, or None without one.

        Raises:
            AuthFailed: it does not take the key.
        """
        reply: Reply = await self._http.call("GET", _instances("vms"), verb="account")
        try:
            return parsedate_to_datetime(reply.headers.get("date", ""))
        except (ValueError, OverflowError):
            return None

    async def _get(self, path: str, verb: str, **params: Any) -> Any:
        reply = await self._http.call("GET", path, verb=verb, params=params or None)
        return reply.parsed()


def _instances(kind: Kind) -> str:
    return "/gpu/instances/" if kind == "containers" else f"/gpu/instances/{kind}"


def _instance(kind: Kind, id_: str) -> str:
    return f"{_instances(kind).rstrip('/')}/{quote(id_, safe='')}"
