"""What the tests of the Fluence adapter share: names, a world with a turned clock, and answers by path."""

from __future__ import annotations

import copy
import json
from typing import Any

import httpx

from providers import naming
from providers.base import AttemptRef, Context, Instance, LaunchSpec, Listing, Offer, Query
from providers.env import ManualEnv
from providers.fluence.adapter import Fluence
from tests.contract import fluence_golden as golden

URL = "https://api.fluence.dev"
API_KEY = "flu-key-4711-never-shown"
OWNER = "00112233445566778899aabbccddeeff"
TOKEN = naming.make(OWNER, "abcdefgh2", 1)
OTHERS_TOKEN = naming.make("f" * 32, "abcdefgh2", 1)
PUBLIC_KEY = "ssh-ed25519 AAAAC3Nza me@here"

CONTAINER_ID = golden.CONTAINER_DETAIL["id"]
VM_ID = golden.VM_DETAIL["id"]
CONTAINERS, VMS, METAL = "/gpu/instances/", "/gpu/instances/vms", "/gpu/instances/baremetal"


class World:
    """An adapter with a clock that only sleeps turn, and a note of every text that no table knew."""

    def __init__(self, **settings: str) -> None:
        self.env = ManualEnv()
        self.unclassified: list[tuple[str, str, str]] = []
        self.context = Context(
            env=self.env,
            settings={"FLUENCE_API_KEY": API_KEY, **settings},
            owner=OWNER,
            on_unclassified=lambda provider, code, text: self.unclassified.append((provider, code, text)),
        )
        self.provider = Fluence(self.context)


def changed(sample: Any, **fields: Any) -> Any:
    """A deep copy of *sample* with other top-level fields."""
    return {**copy.deepcopy(sample), **fields}


def without(sample: Any, *fields: str) -> Any:
    """A deep copy of *sample* that lacks *fields*."""
    return {key: value for key, value in copy.deepcopy(sample).items() if key not in fields}


def spec(**fields: Any) -> LaunchSpec:
    """A launch spec under our mark."""
    base: dict[str, Any] = {
        "name": TOKEN,
        "owner": OWNER,
        "lease": "abcdefgh2",
        "ssh_public_key": PUBLIC_KEY,
    }
    return LaunchSpec(**{**base, **fields})


def attempt(offer: Offer, instance_id: str | None = None, **fields: Any) -> AttemptRef:
    """What a store would know of an attempt at *offer*."""
    kind = str(offer.native["kind"])
    return AttemptRef(
        token=TOKEN,
        account=offer.account or "",
        offer=offer,
        spec=spec(**fields),
        instance_id=instance_id,
        handle={"kind": kind} if instance_id else None,
    )


def instance(kind: str, id_: str, world: World) -> Instance:
    """What a store hands to `terminate`."""
    return Instance(provider="fluence", account="x", id=id_, handle={"kind": kind}, token=TOKEN)


def serve_plans(router: Any, containers: Any = None, vms: Any = None, metal: Any = None) -> None:
    """Answer the three plan lists; what is not given is empty."""
    router.get("/gpu/plans/").respond(json=containers if containers is not None else [])
    router.get("/gpu/plans/vms").respond(json=vms if vms is not None else {"data": []})
    router.get("/gpu/plans/baremetal").respond(json=metal if metal is not None else {"data": []})


def serve_golden_plans(router: Any) -> None:
    """Answer the plan lists with the documented samples."""
    serve_plans(router, golden.CONTAINER_PLANS, golden.VM_PLANS)


async def listing(world: World, *gpus: str) -> Listing:
    """All offers, or those of *gpus*."""
    return await world.provider.offers(Query(gpus=gpus))


async def vm_offer(world: World, router: Any) -> Offer:
    """The sample's only VM offer."""
    serve_golden_plans(router)
    return (await listing(world, "l40")).offers[0]


async def container_offer(world: World, router: Any) -> Offer:
    """The first of the sample's two container offers (US)."""
    serve_golden_plans(router)
    return (await listing(world, "rtx-4090")).offers[0]


def sent(route: Any, call: int = -1) -> Any:
    """The JSON body of a call that a route has seen."""
    return json.loads(route.calls[call].request.content)


def answer(case: str) -> httpx.Response:
    """One of the documented refusals, by its name in the golden samples."""
    status, body = golden.ERRORS[case]
    return httpx.Response(status, json=body)
