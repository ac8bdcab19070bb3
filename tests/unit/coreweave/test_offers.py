"""What is for rent: idle GPUs counted by node, and nodes that may be added."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest

from providers import errors
from providers.base import EgressTier, Offer, Query
from providers.coreweave.adapter import CoreWeave
from tests.unit.coreweave.conftest import OTHER_OWNER, OWNER, POOLS, Api, gpu_node, only, status

PODS = "/api/v1/namespaces/elsewhere/pods"
GENERIC = {"nvidia.com/gpu.product": "NVIDIA-L40", "nvidia.com/gpu.memory": "46068", "kubernetes.io/arch": "amd64"}


def busy(api: Api, name: str, node: str, gpus: int, *, phase: str = "Running", namespace: str = "elsewhere") -> None:
    container = {"name": "x", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}, "requests": {"cpu": "1"}}}
    spec = {"nodeName": node, "containers": [container]}
    path = f"/api/v1/namespaces/{namespace}/pods"
    api.put(path, {"metadata": {"name": name}, "spec": spec, "status": {"phase": phase}})


async def test_idle_gpus_cost_nothing_more_and_show_their_share_of_the_node(cloud: CoreWeave, api: Api) -> None:
    api.put("/api/v1/nodes", gpu_node())
    busy(api, "a", "g1", 3)
    offer = await only(cloud)
    assert (offer.gpu, offer.gpu_count, offer.pricing, offer.usd_per_hour) == ("l40", 1, "prepaid", Decimal(0))
    assert (offer.available, offer.available_count, offer.instance_type) == (True, 5, "gd-8xl40-i128")
    assert (offer.region, offer.country, offer.market) == ("US-EAST-04", "US", "specialist")
    assert offer.native["node_usd_per_hour"] == "10.00"
    assert offer.native["allocated_usd_per_hour"] == "1.25"
    assert "2026-10-04" in offer.native["price_source"]
    assert "bills on" in offer.native["note"]
    assert (offer.egress, offer.egress_evidence, offer.source) == ((EgressTier(),), "claim", "live")
    assert offer.address_usd_per_hour == Decimal("0.005479")
    assert offer.disk_gib == 894
    assert msgspec.json.decode(msgspec.json.encode(offer), type=Offer) == offer


async def test_a_share_leaves_room_for_the_nodes_own_pods(cloud: CoreWeave, api: Api) -> None:
    api.put("/api/v1/nodes", gpu_node())
    offer = await only(cloud, count=8)
    # 127 CPUs less 8, and 1001 GiB less 64.
    assert offer.native["cpu"] == "119000m"
    assert offer.vcpus == 119
    assert offer.memory_gib == pytest.approx(937.4, abs=0.1)


async def test_only_pods_that_hold_gpus_count(cloud: CoreWeave, api: Api) -> None:
    api.put("/api/v1/nodes", gpu_node())
    busy(api, "over", "g1", 8, phase="Succeeded")
    busy(api, "failed", "g1", 8, phase="Failed")
    busy(api, "test", "g1", 8, namespace="cw-hpc-verification")
    assert (await only(cloud)).available_count == 8


async def test_pods_of_several_gpus_must_fit_on_one_node(cloud: CoreWeave, api: Api) -> None:
    for name in ("g1", "g2"):
        api.put("/api/v1/nodes", gpu_node(name))
        busy(api, f"on-{name}", name, 5)
    assert (await only(cloud, count=3)).available_count == 2
    four = await only(cloud, count=4)
    assert (four.available, four.available_count) == (False, 0)


async def test_a_node_whose_cpus_are_taken_has_no_room(cloud: CoreWeave, api: Api) -> None:
    api.put("/api/v1/nodes", gpu_node())
    container = {"name": "x", "resources": {"requests": {"cpu": "125"}}}
    api.put(PODS, {"metadata": {"name": "a"}, "spec": {"nodeName": "g1", "containers": [container]}})
    assert (await only(cloud)).available is False


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"unschedulable": True}},
        {"spec": {"taints": [{"key": "node.coreweave.cloud/reserved", "effect": "NoSchedule"}]}},
        {"spec": {"taints": [{"key": "team", "effect": "NoExecute"}]}},
        {"conditions": [{"type": "Ready", "status": "False"}]},
        {"conditions": []},
    ],
)
async def test_a_node_that_takes_no_pods_is_listed_as_sold_out(
    cloud: CoreWeave, api: Api, change: dict[str, Any]
) -> None:
    api.put("/api/v1/nodes", gpu_node(**change))
    offer = await only(cloud)
    assert (offer.available, offer.available_count) == (False, 0)


async def test_a_node_in_repair_is_not_for_rent(cloud: CoreWeave, api: Api) -> None:
    node = gpu_node()
    node["metadata"]["labels"]["node.coreweave.cloud/state"] = "triage"
    api.put("/api/v1/nodes", node)
    assert (await only(cloud)).available is False


async def test_usual_gpu_taints_and_configured_ones_are_tolerated(connect: Callable[..., CoreWeave], api: Api) -> None:
    taints = [{"key": key, "effect": "NoSchedule"} for key in ("nvidia.com/gpu", "is_gpu", "team/gpu")]
    api.put("/api/v1/nodes", gpu_node(spec={"taints": taints}))
    adapter = connect(ORCH_COREWEAVE_TOLERATIONS="team/gpu")
    assert (await only(adapter)).available is True
    await adapter.aclose()


async def test_any_cluster_with_gpu_feature_discovery_can_be_used(cloud: CoreWeave, api: Api) -> None:
    api.has_pools = False
    api.put("/api/v1/nodes", gpu_node(labels=GENERIC, gpus=2))
    offer = await only(cloud)
    assert (offer.gpu, offer.market, offer.instance_type, offer.native["product"]) == ("l40", "own", None, "NVIDIA-L40")
    assert (offer.egress, offer.address_usd_per_hour, offer.country) == (None, None, None)
    assert "node_usd_per_hour" not in offer.native
    assert offer.disk_gib == 7


async def test_nodes_of_one_kind_in_several_zones_are_one_offer(cloud: CoreWeave, api: Api) -> None:
    for name, zone, region in (("a", "r1-a", "r1"), ("b", "r1-b", "r1"), ("c", "r2-a", "r2")):
        place = {"topology.kubernetes.io/zone": zone, "topology.kubernetes.io/region": region}
        api.put("/api/v1/nodes", gpu_node(name, gpus=2, labels={**GENERIC, **place}))
    found = (await cloud.offers(Query())).offers
    assert len({offer.offer_id for offer in found}) == len(found) == 2
    one, other = sorted(found, key=lambda offer: offer.region or "")
    assert (one.region, one.zone, one.available_count) == ("r1", None, 4)
    assert (other.region, other.zone, other.available_count) == ("r2", "r2-a", 2)
    assert (await cloud.price(one)) is not None


@pytest.mark.parametrize(
    ("product", "more", "gpu"),
    [
        ("NVIDIA-H100-80GB-HBM3", {}, "h100-sxm"),
        ("NVIDIA-A100-SXM4-80GB", {}, "a100-80gb"),
        ("NVIDIA-Something-New", {}, "something-new"),
        ("NVIDIA-L40-SHARED", {}, None),
        ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", {}, None),
        ("NVIDIA-L40", {"nvidia.com/gpu.sharing-strategy": "time-slicing"}, None),
    ],
)
async def test_a_whole_gpu_is_named_and_a_slice_is_left_out(
    cloud: CoreWeave, api: Api, product: str, more: dict[str, str], gpu: str | None
) -> None:
    api.put("/api/v1/nodes", gpu_node(labels={"nvidia.com/gpu.product": product, **more}))
    assert [offer.gpu for offer in (await cloud.offers(Query())).offers] == ([gpu] if gpu else [])


async def test_coreweaves_class_label_names_gpus_of_types_that_are_not_in_the_snapshot(
    cloud: CoreWeave, api: Api
) -> None:
    labels = {"node.kubernetes.io/instance-type": "gd-new", "gpu.nvidia.com/class": "H100_NVLINK_80GB"}
    api.put("/api/v1/nodes", gpu_node(labels=labels))
    assert (await only(cloud)).gpu == "h100-sxm"


async def test_without_sight_of_other_namespaces_stock_is_unknown_and_said_so(cloud: CoreWeave, api: Api) -> None:
    api.put("/api/v1/nodes", gpu_node())
    message = 'pods is forbidden: User "u" cannot list resource "pods" in API group "" at the cluster scope'
    api.refuse("GET", "/api/v1/pods", status(403, "Forbidden", message))
    listing = await cloud.offers(Query())
    assert [offer.available for offer in listing.offers] == [None]
    assert "not known" in listing.note


async def test_what_is_not_there_is_named_with_what_is(cloud: CoreWeave, api: Api) -> None:
    api.put("/api/v1/nodes", gpu_node())
    listing = await cloud.offers(Query(gpus=("h200",)))
    assert listing.offers == []
    assert "h200" in listing.note
    assert "has l40" in listing.note


async def test_without_leave_no_node_is_offered_and_none_is_asked_for(cloud: CoreWeave, api: Api) -> None:
    listing = await cloud.offers(Query())
    assert listing.offers == []
    assert POOLS not in api.calls("GET")


async def test_nodes_that_may_be_added_are_offered_whole(managed: CoreWeave, api: Api) -> None:
    offer = await only(managed, gpus=("l40",))
    assert (offer.pricing, offer.gpu_count, offer.usd_per_hour) == ("on-demand", 8, Decimal("10.00"))
    assert (offer.available, offer.billing.while_booting, offer.vcpus) == (None, False, 120)
    assert offer.native["kind"] == "node"


async def test_types_without_a_known_price_are_left_out(managed: CoreWeave, api: Api) -> None:
    listed = {offer.instance_type for offer in (await managed.offers(Query())).offers}
    assert "gd-8xh100ib-i128" in listed
    assert "b300-8x" not in listed


@pytest.mark.parametrize(
    ("conditions", "available"),
    [
        ([("Quota", "True", "Under"), ("Capacity", "True", "Sufficient")], True),
        ([("Quota", "False", "NotSet"), ("Capacity", "True", "Sufficient")], False),
        ([("Quota", "True", "Under"), ("Capacity", "False", "QueuedAwaitingCapacity")], False),
        ([("Quota", "True", "Under"), ("Capacity", "Unknown", "QueuedAwaitingCapacity")], False),
        ([], None),
    ],
)
async def test_other_pools_of_the_type_tell_whether_a_node_would_come(
    managed: CoreWeave, api: Api, conditions: list[tuple[str, str, str]], available: bool | None
) -> None:
    rows = [{"type": kind, "status": said, "reason": reason} for kind, said, reason in conditions]
    pool = {"metadata": {"name": "theirs"}, "spec": {"instanceType": "gd-8xl40-i128"}, "status": {"conditions": rows}}
    api.put(POOLS, pool)
    assert (await only(managed, gpus=("l40",))).available is available


async def test_the_limit_of_nodes_counts_ours_alone(managed: CoreWeave, api: Api) -> None:
    for name, owner in (("a", OWNER), ("b", OTHER_OWNER)):
        mark = {"app.kubernetes.io/managed-by": "orch", "orch.dev/owner": owner}
        pool = {"metadata": {"name": name, "labels": mark}, "spec": {"instanceType": "b200-8x", "targetNodes": 1}}
        api.put(POOLS, pool)
    assert (await only(managed, gpus=("l40",))).available is None
    mark = {"app.kubernetes.io/managed-by": "orch", "orch.dev/owner": OWNER}
    pool = {"metadata": {"name": "c", "labels": mark}, "spec": {"instanceType": "b200-8x", "targetNodes": 1}}
    api.put(POOLS, pool)
    full = await only(managed, gpus=("l40",))
    assert full.available is False
    assert "limit of 2" in full.native["note"]


async def test_a_cluster_without_node_pools_says_that_none_can_be_added(managed: CoreWeave, api: Api) -> None:
    api.has_pools = False
    listing = await managed.offers(Query())
    assert listing.offers == []
    assert "no NodePools" in listing.note


async def test_negotiated_rates_come_from_settings_then_from_the_cluster_then_from_the_snapshot(
    connect: Callable[..., CoreWeave], api: Api
) -> None:
    more = {"ORCH_COREWEAVE_MANAGED": "1", "ORCH_COREWEAVE_PRICES": "gd-8xl40-i128=8"}
    adapter = connect(**more)
    data = {"gd-8xl40-i128": "7", "gd-8xl40s-i128": "15.5", "gd-8xl40s-i128.spot": "6", "b200-8x": "?"}
    api.put("/api/v1/namespaces/orch/configmaps", {"metadata": {"name": "orch-prices"}, "data": data})
    listing = await adapter.offers(Query(pricing=("on-demand", "spot")))
    prices = {(offer.instance_type, offer.pricing): offer.usd_per_hour for offer in listing.offers}
    assert prices["gd-8xl40-i128", "on-demand"] == Decimal(8)
    assert prices["gd-8xl40s-i128", "on-demand"] == Decimal("15.5")
    assert prices["gd-8xl40s-i128", "spot"] == Decimal(6)
    assert prices["b200-8x", "on-demand"] == Decimal("68.80")
    assert ("gd-8xl40-i128", "spot") not in prices
    await adapter.aclose()


async def test_a_quote_is_read_anew_and_may_have_changed(managed: CoreWeave, api: Api) -> None:
    offer = await only(managed, gpus=("l40",))
    same = await managed.price(offer)
    assert same is not None
    assert (same.offer_id, same.usd_per_hour) == (offer.offer_id, Decimal("10.00"))
    data = {"gd-8xl40-i128": "20"}
    api.put("/api/v1/namespaces/orch/configmaps", {"metadata": {"name": "orch-prices"}, "data": data})
    dearer = await managed.price(offer)
    assert dearer is not None
    assert dearer.usd_per_hour == Decimal(20)


async def test_an_idle_offer_is_gone_when_its_nodes_are(cloud: CoreWeave, api: Api) -> None:
    api.put("/api/v1/nodes", gpu_node())
    offer = await only(cloud, count=2)
    busy(api, "a", "g1", 7)
    now = await cloud.price(offer)
    assert now is not None
    assert now.available is False
    del api.objects["/api/v1/nodes/g1"]
    assert await cloud.price(offer) is None


async def test_a_listing_is_read_page_by_page(cloud: CoreWeave, api: Api) -> None:
    first = {"kind": "NodeList", "metadata": {"continue": "more"}, "items": [gpu_node("g1")]}
    second = {"kind": "NodeList", "metadata": {}, "items": [gpu_node("g2")]}
    api.refuse("GET", "/api/v1/nodes", httpx.Response(200, json=first), httpx.Response(200, json=second))
    assert (await only(cloud)).available_count == 16


async def test_a_listing_that_expires_half_way_is_read_anew(cloud: CoreWeave, api: Api) -> None:
    api.put("/api/v1/nodes", gpu_node("g1"))
    first = {"kind": "NodeList", "metadata": {"continue": "more"}, "items": [gpu_node("old")]}
    expired = [status(410, "Expired", "The provided continue parameter is too old") for _ in range(3)]
    api.refuse("GET", "/api/v1/nodes", httpx.Response(200, json=first), *expired)
    assert (await only(cloud)).available_count == 8


@pytest.mark.parametrize("body", [{"kind": "NodeList"}, {"items": None}, {"items": [{"x": 1}]}, {"items": "many"}, []])
async def test_a_listing_of_another_shape_raises(cloud: CoreWeave, api: Api, body: Any) -> None:
    if body == {"kind": "NodeList"}:
        api.refuse("GET", "/api/v1/nodes", httpx.Response(200, json=body))
        assert (await cloud.offers(Query())).offers == []
        return
    api.refuse("GET", "/api/v1/nodes", httpx.Response(200, json=body))
    with pytest.raises(errors.Unavailable):
        await cloud.offers(Query())


async def test_the_users_own_egress_price_wins(connect: Callable[..., CoreWeave], api: Api) -> None:
    api.put("/api/v1/nodes", gpu_node(labels=GENERIC))
    adapter = connect(ORCH_COREWEAVE_EGRESS_USD_PER_GB="0.05")
    offer = await only(adapter)
    assert offer.egress == (EgressTier(usd_per_gb=Decimal("0.05")),)
    assert offer.egress_evidence == "contract"
    await adapter.aclose()
