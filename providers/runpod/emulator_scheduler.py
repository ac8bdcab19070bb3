"""Placement: which data centre or country gets a pod, and the refusals for want of capacity.

Sources: the API description of `createPod` (catalogue stock is a hint; 400 for want of capacity; data centres that
are named are binding, as clients found) and the recorded capacity text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from providers.runpod.emulator_market import Gpu, Market, cuda_choice, version
from providers.runpod.emulator_wire import CAPACITY, RULE_BROKEN, Refusal, not_found


@dataclass(frozen=True, slots=True)
class Wish:
    """What a create asks for, as far as placement goes.

    Attributes:
        data_centers: the only ones that will do; empty for any.
    """

    gpu: str
    count: int
    cloud: str
    data_centers: tuple[str, ...]
    exact_cuda: tuple[str, ...]
    min_cuda: str | None
    global_networking: bool

    @classmethod
    def of(cls, body: dict[str, Any]) -> Wish:
        """The wish in a valid create body.

        Raises:
            Refusal: it names something that this account does not have, or a CPU pod, of which there are none.
        """
        if "templateId" in body:
            raise not_found()
        if body.get("registry") is not None or body.get("mounts", {}).get("network"):
            # Neither can exist here; how v2 words an unknown id in a body was not seen.
            raise Refusal(400, RULE_BROKEN)
        if "gpu" not in body:
            raise Refusal(400, CAPACITY)
        gpu = body["gpu"]
        return cls(
            gpu=gpu["id"],
            count=int(gpu.get("count", 1)),
            cloud=body.get("cloud", "SECURE"),
            data_centers=tuple(body.get("dataCenterIds", ())),
            exact_cuda=tuple(gpu.get("allowedCudaVersions", ())),
            min_cuda=gpu.get("minCudaVersion"),
            global_networking=bool(body.get("globalNetworking", False)),
        )


def place(market: Market, wish: Wish) -> str | None:
    """Where *wish* fits best (most GPUs free, then by name), or None if it fits nowhere."""
    gpu = market.find(wish.gpu)
    if gpu is None or market.usd(gpu, wish.cloud) is None or wish.count > gpu.max_count[wish.cloud]:
        return None
    if cuda(gpu, wish) is None:
        return None
    places = [name for name in gpu.stock[wish.cloud] if _suits(market, wish, name)]
    fitting = [name for name in places if market.free(gpu, wish.cloud, name) >= wish.count]
    return min(fitting, key=lambda name: (-market.free(gpu, wish.cloud, name), name), default=None)


def cuda(gpu: Gpu, wish: Wish) -> str | None:
    """The newest CUDA version that the wish allows and that has hosts free."""
    versions = [name for name, free in cuda_choice(gpu, exact=wish.exact_cuda, minimum=wish.min_cuda) if free]
    return max(versions, key=version, default=None)


def _suits(market: Market, wish: Wish, name: str) -> bool:
    # COMMUNITY hosts have no data centre, so a request that names one fits none of them.
    if wish.data_centers and (wish.cloud != "SECURE" or name not in wish.data_centers):
        return False
    if not wish.global_networking:
        return True
    center = market.data_centers.get(name)
    return wish.cloud == "SECURE" and center is not None and center.global_network
