"""The emulated Google Cloud's inserts: from a body to an operation, in which it may still fail.

Refused at once are: who may not, what breaks a rule, what does not exist, a name that is taken, and the project's
quota of GPUs. No capacity and a region's quota show up later, inside the operation; nothing is left of the instance
then. A ``requestId`` that is known leads to the first operation, also if that one failed.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

from providers.gcp.emulator_cloud import Cloud
from providers.gcp.emulator_instance import Disk, Instance
from providers.gcp.emulator_market import Shape
from providers.gcp.emulator_operations import Failure, Operation
from providers.gcp.emulator_rules import Order
from providers.gcp.emulator_wire import Call, Refusal, exists, forbidden, invalid
from providers.sandbox.faults import Fault

_DIGITS = "0123456789"
_HELP = {
    "help": {
        "links": [
            {
                "description": "Troubleshooting documentation",
                "url": "https://cloud.google.com/compute/docs/resource-error",
            }
        ]
    }
}


def replayed(cloud: Cloud, call: Call, target: str) -> Operation | None:
    """The operation of the first request with this ``requestId``, if there was one.

    Raises:
        Refusal: the id is no UUID, or the zero one.
    """
    request_id = call.query.get("requestId")
    if request_id is None:
        return None
    try:
        if uuid.UUID(request_id).int == 0 or len(request_id) != 36:
            raise ValueError
    except ValueError:
        raise invalid("requestId", request_id, "Must be a valid UUID that is not zero.") from None
    return cloud.operations.replayed(f"{call.name} {target}", request_id)


def insert(cloud: Cloud, call: Call) -> Operation:
    """Serve one insert.

    Raises:
        Refusal: it is refused at once.
    """
    body, zone = call.body, call.zone
    about = _about(cloud, body, zone)
    place = f"projects/{call.project}/zones/{zone}/instances"
    cloud.allow(call, "compute.instances.create", f"{place}/{body.get('name')}")
    if _take(cloud, "forbidden", about):
        raise forbidden("compute.instances.create", f"{place}/{body.get('name')}")
    if (first := replayed(cloud, call, place)) is not None:
        return first
    _check_gone(cloud, call, about)
    order = cloud.rules.read(body, zone)
    if cloud.fleet.find(zone, order.name):
        raise exists(f"{place}/{order.name}")
    for disk in order.disks:
        if cloud.fleet.disk(zone, disk.name):
            raise exists(f"projects/{call.project}/zones/{zone}/disks/{disk.name}")
    odd = _take(cloud, "unknown_code", about)
    if odd and odd.args.get("where") == "http":
        raise Refusal(int(odd.args.get("status", 400)), _odd_code(odd), "The request was refused by policy 7731.")
    short = _take(cloud, "quota", about)
    cloud.quotas.refuse_global(order, forced=bool(short and short.args.get("metric") == "GPUS_ALL_REGIONS"))
    failure = _failure(cloud, order, zone, about, odd, short)
    if failure and failure.code == "QUOTA_EXCEEDED" and cloud.options.quota_at_once:
        raise Refusal(403, "quotaExceeded", failure.message, domain="usageLimits")
    return _make(cloud, call, order, place, failure)


def _make(cloud: Cloud, call: Call, order: Order, place: str, failure: Failure | None) -> Operation:
    instance, disks = _instance(cloud, call, order)
    target = f"{place}/{order.name}"
    if failure is None:
        _spoil(cloud, instance)
    operation = cloud.operations.begin(
        "insert",
        call.project,
        f"zones/{call.zone}",
        target,
        instance.id,
        user=call.user,
        request=f"{call.name} {place}",
        request_id=call.query.get("requestId", ""),
        seconds=_seconds(cloud, instance, failure),
        failure=failure,
    )
    instance.insert = operation.name
    short = order.model == "FLEX_START" and not cloud.market.free(call.zone, order.shape.name, order.model)
    cloud.fleet.add(instance, disks, hold=failure is None and not short)
    if failure is not None:
        cloud.fleet.plan_stockout(instance, instance.created_at)
    elif short:
        instance.status = "PENDING"
    else:
        cloud.fleet.boot(instance, instance.created_at)
    return operation


def _seconds(cloud: Cloud, instance: Instance, failure: Failure | None) -> float | None:
    """After how long the operation ends."""
    if failure is not None:
        return cloud.options.stockout_s
    if instance.stuck == "operation":
        return None
    if instance.model == "FLEX_START":
        return cloud.options.start_s
    return cloud.fleet.boot_s(instance.model)


def _instance(cloud: Cloud, call: Call, order: Order) -> tuple[Instance, list[Disk]]:
    world, now = cloud.world, cloud.world.now()
    instance = Instance(
        id=f"2{world.letters(18, _DIGITS)}",
        name=order.name,
        project=call.project,
        zone=call.zone,
        shape=order.shape.name,
        model=order.model,
        created_at=now,
        attached=order.attached,
        labels=order.labels,
        metadata=order.metadata,
        tags=order.tags,
        scheduling=order.scheduling,
        description=order.description,
        deletion_protection=order.deletion_protection,
        service_accounts=order.service_accounts,
        nat=order.nat,
    )
    if cloud.options.visible_s:
        instance.hidden_until = now + timedelta(seconds=cloud.options.visible_s * world.boot_scale)
        instance.hidden_get = True
    disks = [
        Disk(
            id=f"3{world.letters(18, _DIGITS)}",
            name=disk.name,
            zone=call.zone,
            kind=disk.kind,
            size_gb=disk.size_gb,
            image=f"projects/{disk.image.project}/global/images/{disk.image.name}",
            owner=instance.id,
            user=instance.name,
            auto_delete=disk.auto_delete,
            boot=disk.boot,
            created_at=now,
            labels=disk.labels,
        )
        for disk in order.disks
    ]
    return instance, disks


# What goes wrong.


def _about(cloud: Cloud, body: dict[str, Any], zone: str) -> str:
    """What faults may name an insert by, from a body that nobody has checked yet."""
    kind = str(body.get("machineType")).rpartition("/")[2]
    shape = cloud.market.shapes.get(kind)
    scheduling = body.get("scheduling")
    model = scheduling.get("provisioningModel", "STANDARD") if isinstance(scheduling, dict) else "STANDARD"
    gpus = f"{shape.gpu if shape else ''} {body.get('guestAccelerators') or ''}"
    return f"{kind} {gpus} {zone} {model} {body.get('name')}"


def _take(cloud: Cloud, kind: str, about: str) -> Fault | None:
    return cloud.fault(kind, verb="launch", subject=about)


def _check_gone(cloud: Cloud, call: Call, about: str) -> None:
    if _take(cloud, "gone", about):
        cloud.market.remove(call.zone, str(call.body.get("machineType")).rpartition("/")[2])


def _odd_code(odd: Fault) -> str:
    return str(odd.args.get("code", "HOST_POLICY_VIOLATION_7731"))


def _failure(
    cloud: Cloud, order: Order, zone: str, about: str, odd: Fault | None, short: Fault | None
) -> Failure | None:
    if odd is not None:
        status = int(odd.args.get("status", 400))
        return Failure(_odd_code(odd), "The request was refused by host policy 7731.", status)
    forced = None if short is None else str(short.args.get("metric", "*"))
    if (failure := cloud.quotas.failure(order, zone, metric=forced)) is not None:
        return failure
    if sold := _take(cloud, "sold_out", about):
        return stockout(cloud, order.shape, order.model, zone, order.attached, str(sold.args.get("code", "")))
    if order.model != "FLEX_START" and not cloud.market.free(zone, order.shape.name, order.model):
        return stockout(cloud, order.shape, order.model, zone, order.attached)
    if _doomed_inside(cloud, about) and cloud.fault("fail_after_accept", subject=about):
        return Failure("INTERNAL_ERROR", "Internal error. Please try again or contact Google Support.", 500)
    return None


def _doomed_inside(cloud: Cloud, about: str) -> bool:
    """Whether the next fault of that kind wants the operation to fail."""
    waiting = (one for one in cloud.world.faults.waiting if one.kind == "fail_after_accept" and one.times)
    found = next((one for one in waiting if one.subject.casefold() in about.casefold()), None)
    return found is not None and found.args.get("how") == "operation"


def stockout(
    cloud: Cloud, shape: Shape, model: str, zone: str, attached: tuple[str, int] | None = None, code: str = ""
) -> Failure:
    """The zone has none left; the details may name zones that have."""
    code = code or cloud.options.stockout_code
    others = cloud.market.elsewhere(zone, shape.name, model)
    attachment = "" if attached is None else f"{attached[0]}:{attached[1]}"
    what = f"A {shape.name} VM instance" + (f" with {attached[1]} {attached[0]} accelerator(s)" if attached else "")
    hint = f" Consider trying your request in the {', '.join(others)} zone(s)." if others else ""
    text = (
        f"{what} is currently unavailable in the {zone} zone.{hint} Alternatively, you can try your request again "
        "with a different VM hardware configuration or at a later time."
    )
    info = {
        "reason": "resource_availability",
        "domain": "compute.googleapis.com",
        "metadatas": {
            "attachment": attachment,
            "vmType": shape.name,
            "zone": zone,
            "zonesAvailable": ",".join(others),
        },
    }
    message = (
        f"The zone 'projects/{cloud.options.project}/zones/{zone}' does not have enough resources available to "
        "fulfill the request.  Try a different zone, or try again later."
    )
    if code.endswith("_WITH_DETAILS"):
        message = message.partition("  ")[0] + "  '(resource type:compute)'."
    details: list[dict[str, Any]] = [
        _HELP,
        {"localizedMessage": {"locale": "en-US", "message": text}},
        {"errorInfo": info},
    ]
    return Failure(code, message, 503, details)


def _spoil(cloud: Cloud, instance: Instance) -> None:
    """What will go wrong with a new instance."""
    about, start = instance.subject(), instance.created_at
    if doom := cloud.fault("fail_after_accept", subject=about):
        instance.doomed = str(doom.args.get("seconds", 30))
    if stuck := cloud.fault("boot_stuck", subject=about):
        instance.stuck = str(stuck.args.get("how", "operation"))
    if wrong := cloud.fault("wrong_gpu", subject=about):
        instance.device = (str(wrong.args.get("gpu", "Tesla K80")), int(wrong.args.get("memory_mib", 11441)))
    if lag := cloud.fault("list_lag", subject=about):
        instance.hidden_until = start + timedelta(seconds=float(lag.args.get("seconds", 30)))
        instance.hidden_get = bool(lag.args.get("get", False))


def move_prices(cloud: Cloud) -> None:
    """Let waiting price changes happen: one takes every family and region that its subject is about."""
    places = [(family, region) for family in cloud.market.families for region in cloud.market.regions.values()]
    texts = {(family, region.name): cloud.market.subject(family, region) for family, region in places}
    for verb in ("offers", "price"):
        change = cloud.fault("price_changed", verb=verb, subject="\n".join(texts.values()))
        if change is None:
            continue
        for (family, region), text in texts.items():
            # A fault that lasts for ever means one lasting rise, not one with every read.
            again = change.times < 0 and cloud.market.changed(family, region)
            if change.subject.casefold() in text.casefold() and not again:
                cloud.market.change_price(family, region, Decimal(str(change.args.get("factor", "1.5"))))
