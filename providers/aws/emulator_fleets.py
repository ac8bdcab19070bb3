"""CreateFleet of type instant with its launch templates, and Spot placement scores.

An instant fleet makes one attempt at each pool and answers 200 whatever comes of it: instances, and an error for
every pool that failed.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import providers.aws.emulator_order as orders
from providers.aws.emulator_cloud import Action, Cloud
from providers.aws.emulator_instance import Instance
from providers.aws.emulator_launch import forbidden, mismatch
from providers.aws.emulator_market import Place
from providers.aws.emulator_network import Site, Template
from providers.aws.emulator_order import Order, fingerprint
from providers.aws.emulator_wire import Call, Refusal, Tree, branch, items, number, tag_specification, text

_CHEAPEST_FIRST = ("lowest-price", "lowestPrice", "price-capacity-optimized", "priceCapacityOptimized")


def create_launch_template(cloud: Cloud, call: Call) -> Tree:
    site, name = cloud.network.site(call.account, call.region), call.need("LaunchTemplateName")
    data = branch(call.params, "LaunchTemplateData")
    if not data:
        raise Refusal("MissingParameter", "The request must contain the parameter LaunchTemplateData")
    found = next((one for one in site.templates.values() if one.name == name), None)
    token = call.text("ClientToken") or ""
    if found is not None and not (token and token == found.token and data == found.data):
        raise Refusal("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
    if found is None:
        found = Template(cloud.network.id("lt"), name, token, data)
        site.templates[found.id] = found
    shown = {
        "launchTemplateId": found.id,
        "launchTemplateName": name,
        "createTime": cloud.world.now(),
        "defaultVersionNumber": 1,
        "latestVersionNumber": 1,
    }
    return {"launchTemplate": shown}


def delete_launch_template(cloud: Cloud, call: Call) -> Tree:
    site = cloud.network.site(call.account, call.region)
    found = _template(call.params, site)
    del site.templates[found.id]
    return {"launchTemplate": {"launchTemplateId": found.id, "launchTemplateName": found.name}}


def _template(node: Tree, site: Site) -> Template:
    key, name = text(node, "LaunchTemplateId"), text(node, "LaunchTemplateName")
    found = next((one for one in site.templates.values() if key == one.id or (key is None and name == one.name)), None)
    if found is None:
        kind = "InvalidLaunchTemplateId.NotFound" if key else "InvalidLaunchTemplateName.NotFoundException"
        raise Refusal(kind, "The specified launch template does not exist.")
    return found


def create_fleet(cloud: Cloud, call: Call) -> Tree:
    if call.text("Type") != "instant":
        raise Refusal("Unsupported", "This sandbox makes fleets of type instant only.")
    site = cloud.network.site(call.account, call.region)
    capacity = branch(call.params, "TargetCapacitySpecification")
    count = number(capacity, "TotalTargetCapacity")
    if count is None or count < 1:
        raise Refusal("MissingParameter", "The request must contain the parameter TotalTargetCapacity")
    pools = _pools(cloud, call, site, spot=text(capacity, "DefaultTargetCapacityType") == "spot")
    about = " ".join(run.text("InstanceType") or "" for _, run in pools)
    if cloud.fault("forbidden", verb="launch", subject=about):
        raise forbidden("ec2:CreateFleet")
    if call.flag("DryRun"):
        raise Refusal("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
    token, asked = call.text("ClientToken") or "", fingerprint(call.params)
    scope = (call.account, call.region, "fleet", token)
    if token and scope in cloud.fleet.tokens:
        before, reservations = cloud.fleet.tokens[scope]
        if before != asked:
            raise mismatch()
        made = [cloud.fleet.of_reservation(one) for one in reservations.split(",") if one]
        return _answer(cloud, [], made)
    errors, made = _fill(cloud, call, pools, count)
    reservations = ",".join(group[0].reservation for group in made)
    if token:
        cloud.fleet.tokens[scope] = (asked, reservations)
    return _answer(cloud, errors, made)


def _pools(cloud: Cloud, call: Call, site: Site, *, spot: bool) -> list[tuple[Tree, Call]]:
    """One RunInstances for every override, in the order in which the strategy tries them."""
    pools = []
    for config in call.items("LaunchTemplateConfigs"):
        template = _template(branch(config, "LaunchTemplateSpecification"), site)
        for override in items(config, "Overrides") or [{}]:
            pools.append((override, _run(call, template, override, spot=spot)))
    if not pools:
        raise Refusal("MissingParameter", "The request must contain the parameter LaunchTemplateConfigs")
    options = branch(call.params, "SpotOptions" if spot else "OnDemandOptions")
    strategy = text(options, "AllocationStrategy") or "lowest-price"
    if strategy in _CHEAPEST_FIRST:
        pools.sort(key=lambda pool: _price(cloud, pool[1], spot=spot))
    elif "prioritized" in strategy:
        pools.sort(key=lambda pool: Decimal(text(pool[0], "Priority") or "1e9"))
    return pools


def _run(call: Call, template: Template, override: Tree, *, spot: bool) -> Call:
    params: dict[str, Any] = {**template.data, "MinCount": "1", "MaxCount": "1"}
    for name in ("InstanceType", "ImageId", "KeyName"):
        if name in override:
            params[name] = override[name]
    zone = {name: override[name] for name in ("AvailabilityZone", "AvailabilityZoneId") if name in override}
    if zone:
        params["Placement"] = {**branch(params, "Placement"), **zone}
    if "SubnetId" in override:
        if cards := branch(params, "NetworkInterface"):
            params["NetworkInterface"] = {k: {**card, "SubnetId": override["SubnetId"]} for k, card in cards.items()}
        else:
            params["SubnetId"] = override["SubnetId"]
    if spot:
        price = {"MaxPrice": override["MaxPrice"]} if "MaxPrice" in override else {}
        params["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": price}
    return Call(call.service, "RunInstances", params, call.region, account=call.account, verb="launch")


def _price(cloud: Cloud, run: Call, *, spot: bool) -> Decimal:
    name = run.text("InstanceType") or ""
    if name not in cloud.market.kinds:
        return Decimal("Infinity")
    kind, zone = cloud.market.kinds[name], text(branch(run.params, "Placement"), "AvailabilityZone")
    subnet = cloud.network.site(run.account, run.region).subnets.get(run.text("SubnetId") or "")
    zone = subnet.zone if subnet else zone
    if not spot:
        return cloud.market.on_demand(kind, run.region) or Decimal("Infinity")
    zones = [zone] if zone else cloud.market.zones_of(kind, run.region)
    prices = [cloud.market.spot(Place(kind, run.region, one)) for one in zones]
    return min((price for price in prices if price is not None), default=Decimal("Infinity"))


def _fill(
    cloud: Cloud, call: Call, pools: list[tuple[Tree, Call]], count: int
) -> tuple[list[Tree], list[list[Instance]]]:
    errors: list[Tree] = []
    made: list[list[Instance]] = []
    missing = count
    for override, run in pools:
        if missing == 0:
            break
        try:
            order = _order(cloud, call, run, missing)
            made.append(cloud.launcher.make(run, order))
            missing -= len(made[-1])
        except Refusal as problem:
            shown = {_lower(name): value for name, value in override.items() if isinstance(value, str)}
            error = {"errorCode": problem.code, "errorMessage": problem.message}
            spot = "InstanceMarketOptions" in run.params
            lifecycle = "spot" if spot else "on-demand"
            errors.append({"launchTemplateAndOverrides": {"overrides": shown}, "lifecycle": lifecycle, **error})
    return errors, made


def _lower(name: str) -> str:
    return name[0].lower() + name[1:]


def _order(cloud: Cloud, call: Call, run: Call, missing: int) -> Order:
    order = orders.read(run, cloud.market, cloud.network.site(call.account, call.region))
    # The fleet's own tags of kind "fleet" do not reach instances; those of kind "instance" do.
    tags = tag_specification(call, "instance", ("fleet", "instance", "volume", "network-interface"))
    return replace(order, least=1, most=missing, tags={**order.tags, **tags})


def _answer(cloud: Cloud, errors: list[Tree], made: list[list[Instance]]) -> Tree:
    rows = [
        {
            "lifecycle": group[0].market,
            "instanceIds": [one.id for one in group],
            "instanceType": group[0].kind,
            "availabilityZone": group[0].zone,
            "subnetId": group[0].subnet,
        }
        for group in made
    ]
    return {"fleetId": f"fleet-{cloud.world.uuid()}", "errorSet": errors, "fleetInstanceSet": rows}


def get_spot_placement_scores(cloud: Cloud, call: Call) -> Tree:
    """Scores from 1 to 10 out of the sandbox's own stock; fewer than three types score low, as AWS does."""
    count, names = call.number("TargetCapacity"), call.items("InstanceType")
    if count is None or not names:
        raise Refusal("MissingParameter", "The request must contain the parameters TargetCapacity and InstanceType")
    cap, rows = (10 if len(names) >= 3 else 3), []
    for region in call.items("RegionName") or [call.region]:
        zones: dict[str, int] = {}
        for place in cloud.market.places(region) if region in cloud.market.regions else ():
            if place.kind.name in names:
                zones[place.zone] = zones.get(place.zone, 0) + cloud.fleet.free(place, spot=True)
        if call.flag("SingleAvailabilityZone"):
            for zone, free in zones.items():
                score = _score(free, count, cap)
                rows.append({"region": region, "availabilityZoneId": cloud.market.zone_id(zone), "score": score})
        elif zones:
            rows.append({"region": region, "score": _score(sum(zones.values()), count, cap)})
    rows.sort(key=lambda row: -int(str(row["score"])))
    return {"spotPlacementScoreSet": rows[:10]}


def _score(free: int, wanted: int, cap: int) -> int:
    return max(1, min(cap, free // max(1, wanted)))


ACTIONS = {
    "CreateLaunchTemplate": Action(
        create_launch_template, "ClientToken LaunchTemplateName VersionDescription LaunchTemplateData TagSpecification"
    ),
    "DeleteLaunchTemplate": Action(delete_launch_template, "LaunchTemplateId LaunchTemplateName"),
    "CreateFleet": Action(
        create_fleet,
        "ClientToken SpotOptions OnDemandOptions LaunchTemplateConfigs TargetCapacitySpecification Type "
        "TagSpecification TerminateInstancesWithExpiration ValidFrom ValidUntil ReplaceUnhealthyInstances "
        "ExcessCapacityTerminationPolicy",
    ),
    "GetSpotPlacementScores": Action(
        get_spot_placement_scores,
        "InstanceType TargetCapacity TargetCapacityUnitType SingleAvailabilityZone RegionName MaxResults NextToken",
    ),
}
