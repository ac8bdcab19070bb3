"""What every handler of the emulated Azure works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.responses import Response

from providers.azure.emulator_auth import Tokens
from providers.azure.emulator_life import Life
from providers.azure.emulator_market import Market
from providers.azure.emulator_options import Options
from providers.azure.emulator_resources import Operation
from providers.azure.emulator_store import Store
from providers.azure.emulator_wire import Call, Refusal
from providers.sandbox.faults import Fault
from providers.sandbox.world import World


class TakeFault(Protocol):
    """`Emulator.fault`."""

    def __call__(self, kind: str, *, verb: str = "*", subject: str = "") -> Fault | None: ...


@dataclass(slots=True)
class Cloud:
    """One emulated Azure.

    Attributes:
        price_list: the items of the price list, and for which changed prices they were written down.
    """

    world: World
    options: Options
    market: Market
    store: Store
    life: Life
    tokens: Tokens
    fault: TakeFault
    price_list: tuple[str, list[dict[str, Any]]] = ("unwritten", [])

    def running(self, call: Call, operation: Operation, *, location: bool = False) -> dict[str, str]:
        """The headers that point to a long-running operation.

        Args:
            location: give `Location`, too, as answers to DELETE and POST do.
        """
        url = operation_url(call, operation, self.options.subscription)
        headers = {"azure-asyncoperation": url, "azure-asyncnotification": "Enabled"}
        if location:
            headers["location"] = f"{url}&monitor=true"
        if self.options.retry_after:
            headers["retry-after"] = "10" if operation.namespace == "Microsoft.Compute" else "3"
        return headers

    def place(self, location: object, kind: str) -> str:
        """The region that a body names.

        Raises:
            Refusal: it names none, or one that there is not.
        """
        if not isinstance(location, str) or not location:
            raise Refusal("LocationRequired", "The location property is required for this definition.")
        found = self.market.place(location)
        if found is None:
            regions = ",".join(sorted([*self.market.regions, *self.market.elsewhere]))
            text = (
                f"The provided location '{location}' is not available for resource type '{kind}'. "
                f"List of available regions for the resource type is '{regions}'."
            )
            raise Refusal("LocationNotAvailableForResourceType", text)
        return found


Handler = Callable[[Cloud, Call], Response]


def operation_url(call: Call, operation: Operation, subscription: str) -> str:
    """Where a long-running operation is asked after; absolute, as Azure's are."""
    home = f"{call.base}/subscriptions/{subscription}"
    version = call.api_version or "2026-04-01"
    if operation.namespace == "Microsoft.Resources":
        return f"{home}/operationresults/{operation.id}?api-version={version}"
    place = f"{home}/providers/{operation.namespace}/locations/{operation.location}/operations/{operation.id}"
    if operation.namespace == "Microsoft.Compute":
        return f"{place}?p={operation.id}&api-version={version}"
    return f"{place}?api-version={version}"
