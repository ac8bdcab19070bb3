"""What an instance's body may hold at the emulated Google Cloud, and what becomes of it.

Source: the description of Compute v1, Google's pages on GPUs, Spot VMs, labels, metadata and naming; which machine
types take which disks and GPUs: dstack and gpuhunt. The words of refusals are close to Google's, not the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from providers.gcp.emulator_market import MODELS, Image, Market, Shape
from providers.gcp.emulator_options import Options
from providers.gcp.emulator_wire import Refusal, int_of, invalid, last, missing, path_of, text_of

NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_KEY = re.compile(r"[^\W\dA-Z_][\w-]{0,62}")
_LABEL_VALUE = re.compile(r"[\w-]{0,63}")
_META_KEY = re.compile(r"[a-zA-Z0-9-_]{1,128}")
_META_BYTES = 256 * 1024
_ALL_META_BYTES = 512 * 1024
_MOST_LABELS = 64
_RUN_S = (30, 120 * 86400)
_FLEX_S = (600, 7 * 86400)
_REGEX = "Must be a match of regex '(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)'"


@dataclass(slots=True)
class DiskOrder:
    """A disk that is to be made."""

    name: str
    kind: str
    size_gb: int
    image: Image
    auto_delete: bool
    boot: bool
    labels: dict[str, str]


@dataclass(slots=True)
class Order:
    """An instance that is to be made; all of it is known to be possible."""

    name: str
    shape: Shape
    attached: tuple[str, int] | None
    scheduling: dict[str, Any]
    disks: list[DiskOrder]
    nat: dict[str, str] | None
    labels: dict[str, str]
    metadata: dict[str, str]
    tags: list[str]
    description: str = ""
    deletion_protection: bool = False
    service_accounts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def model(self) -> str:
        """The provisioning model."""
        return str(self.scheduling["provisioningModel"])


class Rules:
    """Reads bodies of inserts."""

    def __init__(self, market: Market, options: Options) -> None:
        self.market = market
        self.options = options

    def read(self, body: dict[str, Any], zone: str) -> Order:
        """The order that *body* is.

        Raises:
            Refusal: it breaks a rule, or names something that there is not.
        """
        name = body.get("name")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise invalid("resource.name", name, _REGEX)
        shape = self._shape(body.get("machineType"), zone)
        attached = self._attached(_objects(body, "guestAccelerators"), shape, zone)
        scheduling = _scheduling(_object(body, "scheduling"), gpus=bool(attached or shape.gpus))
        model = scheduling["provisioningModel"]
        if model not in shape.models:
            # That these types are not sold so is documented; how an insert is refused is not.
            text = f"Machine type {shape.name} does not support the provisioning model {model}."
            raise invalid("resource.scheduling.provisioningModel", model, text)
        return Order(
            name=name,
            shape=shape,
            attached=attached,
            scheduling=scheduling,
            disks=self._disks(_objects(body, "disks"), shape, zone, name),
            nat=self._nat(_objects(body, "networkInterfaces")),
            labels=labels(body.get("labels", {})),
            metadata=_metadata(_object(body, "metadata")),
            tags=_tags(_object(body, "tags")),
            description=str(body.get("description", "")),
            deletion_protection=bool(body.get("deletionProtection", False)),
            service_accounts=_objects(body, "serviceAccounts"),
        )

    def _shape(self, value: Any, zone: str) -> Shape:
        path = path_of(value) if isinstance(value, str) else ""
        match = re.fullmatch(r"(?:projects/[^/]+/)?zones/([^/]+)/machineTypes/([^/]+)", path)
        if match is None:
            why = "The URL is malformed. It must be zones/ZONE/machineTypes/TYPE."
            raise invalid("resource.machineType", value, why)
        if match[1] != zone:
            raise invalid("resource.machineType", value, f"The machine type must be in the zone '{zone}'.")
        found = self.market.shape(zone, match[2])
        if found is not None:
            return found
        if self.options.missing_type == "invalid":
            why = f"Machine type with name '{match[2]}' does not exist in zone '{zone}'."
            raise invalid("resource.machineType", value, why)
        raise missing(f"projects/{self.options.project}/zones/{zone}/machineTypes/{match[2]}")

    def _attached(self, wanted: list[dict[str, Any]], shape: Shape, zone: str) -> tuple[str, int] | None:
        if not wanted:
            return None
        if len(wanted) > 1:
            raise invalid("resource.guestAccelerators", len(wanted), "Only one accelerator type is allowed.")
        kind, count = str(wanted[0].get("acceleratorType")), wanted[0].get("acceleratorCount")
        path = path_of(kind)
        match = re.fullmatch(r"(?:projects/[^/]+/)?zones/([^/]+)/acceleratorTypes/([^/]+)", path)
        if match is None or match[1] != zone:
            raise invalid("resource.guestAccelerators[0].acceleratorType", kind, "The URL is malformed.")
        gpu = self.market.gpus.get(match[2])
        if gpu is None or zone not in gpu.zones:
            raise missing(f"projects/{self.options.project}/zones/{zone}/acceleratorTypes/{match[2]}")
        if (shape.gpu, shape.gpus) == (gpu.name, count) and self.options.bundled_gpus == "accept":
            return None
        if shape.family != gpu.family or not gpu.attach:
            raise Refusal(
                400,
                "invalid",
                f"[{gpu.name}] features and [{shape.name}] features are not compatible for creating instance.",
            )
        if not isinstance(count, int) or count not in gpu.attach:
            raise invalid("resource.guestAccelerators[0].acceleratorCount", count, "The number is not allowed.")
        if shape.vcpus > gpu.attach[count]:
            why = f"{count} {gpu.name} can be attached to {gpu.attach[count]} vCPUs at most."
            raise invalid("resource.machineType", shape.name, why)
        return gpu.name, count

    def _disks(self, wanted: list[dict[str, Any]], shape: Shape, zone: str, name: str) -> list[DiskOrder]:
        if not wanted:
            raise Refusal(
                400, "invalid", "Invalid value for field 'resource.disks': ''. At least one disk is required."
            )
        made = [self._disk(disk, shape, zone, name, number) for number, disk in enumerate(wanted)]
        if [disk.boot for disk in made] != [True] + [False] * (len(made) - 1):
            raise invalid("resource.disks[0]", "", "Boot disk must be the first disk attached to the instance.")
        if len({disk.name for disk in made}) < len(made):
            raise invalid("resource.disks", "", "Disk names must be unique.")
        return made

    def _disk(self, disk: dict[str, Any], shape: Shape, zone: str, name: str, number: int) -> DiskOrder:
        where = f"resource.disks[{number}]"
        new = _object(disk, "initializeParams")
        if not new.get("sourceImage"):
            # Disks that are there already could be attached, too; this sandbox makes new ones only.
            raise invalid(f"{where}.initializeParams.sourceImage", "", "A source image must be specified.")
        image = self._image(str(new["sourceImage"]))
        size = int_of(new.get("diskSizeGb", disk.get("diskSizeGb", image.size_gb)))
        if size is None or size > 65536:
            raise invalid(f"{where}.initializeParams.diskSizeGb", new.get("diskSizeGb"), "Must be a number of GB.")
        if size < image.size_gb:
            why = f"Requested disk size cannot be smaller than the image size ({image.size_gb} GB)"
            raise invalid(f"{where}.initializeParams.diskSizeGb", size, why)
        disk_name = new.get("diskName", name if number == 0 else f"{name}-{number}")
        if not isinstance(disk_name, str) or not NAME.fullmatch(disk_name):
            raise invalid(f"{where}.initializeParams.diskName", disk_name, _REGEX)
        kind = self._disk_kind(new.get("diskType", "pd-standard"), shape, zone, where)
        auto_delete, boot = bool(disk.get("autoDelete", False)), bool(disk.get("boot", False))
        return DiskOrder(disk_name, kind, size, image, auto_delete, boot, labels(new.get("labels", {})))

    def _disk_kind(self, value: Any, shape: Shape, zone: str, where: str) -> str:
        path = path_of(str(value))
        if "/" in path and not re.fullmatch(rf"(?:projects/[^/]+/)?zones/{zone}/diskTypes/[^/]+", path):
            raise invalid(f"{where}.initializeParams.diskType", value, "The URL is malformed.")
        kind = last(path)
        if kind not in self.market.disks:
            raise missing(f"projects/{self.options.project}/zones/{zone}/diskTypes/{kind}")
        if kind not in shape.disks:
            raise Refusal(400, "invalid", f"{kind} disk type cannot be used by {shape.name} machine type.")
        return kind

    def _image(self, text: str) -> Image:
        path = path_of(text)
        match = re.fullmatch(r"projects/([^/]+)/global/images/(?:family/([^/]+)|([^/]+))", path)
        if match is None:
            raise invalid("resource.disks[0].initializeParams.sourceImage", text, "The URL is malformed.")
        found = self.market.image(match[1], family=match[2] or "", name=match[3] or "")
        if found is None:
            raise missing(path)
        return found

    def _nat(self, interfaces: list[dict[str, Any]]) -> dict[str, str] | None:
        if len(interfaces) != 1:
            raise invalid(
                "resource.networkInterfaces", len(interfaces), "Exactly one network interface is required here."
            )
        network = path_of(str(interfaces[0].get("network", "global/networks/default")))
        if last(network) != "default":
            raise missing(f"projects/{self.options.project}/global/networks/{last(network)}")
        configs = _objects(interfaces[0], "accessConfigs")
        if not configs:
            return None
        config = configs[0]
        if config.get("natIP"):
            raise invalid(
                "resource.networkInterfaces[0].accessConfigs[0].natIP", config["natIP"], "The address is not reserved."
            )
        kind, tier = config.get("type", "ONE_TO_ONE_NAT"), config.get("networkTier", "PREMIUM")
        if kind != "ONE_TO_ONE_NAT":
            raise invalid("resource.networkInterfaces[0].accessConfigs[0].type", kind, "Unknown type.")
        if tier not in ("PREMIUM", "STANDARD"):
            raise invalid("resource.networkInterfaces[0].accessConfigs[0].networkTier", tier, "Unknown tier.")
        return {"type": kind, "name": str(config.get("name", "External NAT")), "networkTier": tier}


def _scheduling(body: dict[str, Any], *, gpus: bool) -> dict[str, Any]:
    """The scheduling with everything that Google fills in."""
    where = "resource.scheduling"
    preemptible = bool(body.get("preemptible", False))
    model = body.get("provisioningModel") or ("SPOT" if preemptible else "STANDARD")
    if model not in MODELS:
        # RESERVATION_BOUND needs a reservation, and there is none.
        raise invalid(f"{where}.provisioningModel", model, "The provisioning model cannot be used.")
    spot, short = model == "SPOT", model in ("SPOT", "FLEX_START")
    restart = body.get("automaticRestart", not short)
    if spot and restart:
        raise Refusal(400, "invalid", "Scheduling must have preemptible be false when AutomaticRestart is true.")
    host = body.get("onHostMaintenance") or ("TERMINATE" if short else "MIGRATE")
    if host not in ("MIGRATE", "TERMINATE"):
        raise invalid(f"{where}.onHostMaintenance", host, "Unknown value.")
    if gpus and host != "TERMINATE":
        raise Refusal(400, "invalid", "Instances with guest accelerators do not support live migration.")
    if spot and host != "TERMINATE":
        raise Refusal(400, "invalid", "Preemptible instances must have onHostMaintenance be TERMINATE.")
    made: dict[str, Any] = {
        "onHostMaintenance": host,
        "automaticRestart": bool(restart),
        "preemptible": spot,
        "provisioningModel": model,
    }
    duration = _duration(body.get("maxRunDuration"), _FLEX_S if model == "FLEX_START" else _RUN_S)
    action = body.get("instanceTerminationAction")
    if action not in (None, "DELETE", "STOP"):
        raise invalid(f"{where}.instanceTerminationAction", action, "Unknown value.")
    if model == "FLEX_START" and (duration is None or action != "DELETE"):
        raise invalid(f"{where}.provisioningModel", model, "It needs maxRunDuration and the termination action DELETE.")
    if action is not None and not spot and duration is None:
        why = "You cannot specify a termination action for a VM instance that has the standard provisioning model."
        raise invalid(f"{where}.instanceTerminationAction", action, why)
    if duration is not None:
        made["maxRunDuration"] = {"seconds": str(duration)}
    if spot or duration is not None:
        made["instanceTerminationAction"] = action or "STOP"
    return made


def _duration(value: Any, bounds: tuple[int, int]) -> int | None:
    if value is None:
        return None
    seconds = int_of(value.get("seconds")) if isinstance(value, dict) else None
    if seconds is None or not bounds[0] <= seconds <= bounds[1]:
        why = f"Must be between {bounds[0]} and {bounds[1]} seconds."
        raise invalid("resource.scheduling.maxRunDuration", value, why)
    return seconds


def labels(value: Any) -> dict[str, str]:
    """Labels that keep the rules.

    Raises:
        Refusal: they do not.
    """
    if not isinstance(value, dict) or len(value) > _MOST_LABELS:
        raise invalid("resource.labels", value, "There may be 64 labels at most.")
    for key, text in value.items():
        if not _LABEL_KEY.fullmatch(key) or key != key.lower():
            raise invalid(
                "resource.labels", key, "Label keys must begin with a lowercase letter and have 63 characters at most."
            )
        if not isinstance(text, str) or not _LABEL_VALUE.fullmatch(text) or text != text.lower():
            raise invalid(
                "resource.labels", text, "Label values may have 63 lowercase letters, digits, _ and - at most."
            )
    return dict(value)


def _metadata(body: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, item in enumerate(_objects(body, "items", "resource.metadata.items")):
        key, value = item.get("key"), text_of(item.get("value", ""))
        if not isinstance(key, str) or not _META_KEY.fullmatch(key):
            raise invalid(
                f"resource.metadata.items[{number}].key", key, "Must be a match of regex '[a-zA-Z0-9-_]{1,128}'"
            )
        if key in found:
            raise invalid(f"resource.metadata.items[{number}].key", key, "Metadata has duplicate key.")
        if value is None or len(value.encode()) > _META_BYTES:
            raise invalid(f"resource.metadata.items[{number}].value", "...", "Value is too large.")
        found[key] = value
    if sum(len(key) + len(value.encode()) for key, value in found.items()) > _ALL_META_BYTES:
        raise invalid("resource.metadata", "...", "Metadata is too large.")
    return found


def _tags(body: dict[str, Any]) -> list[str]:
    items = body.get("items", [])
    if not isinstance(items, list) or len(items) > 64:
        raise invalid("resource.tags.items", items, "There may be 64 tags at most.")
    for tag in items:
        if not isinstance(tag, str) or not NAME.fullmatch(tag):
            raise invalid("resource.tags.items[0]", tag, _REGEX)
    return list(items)


def _object(body: dict[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name, {})
    if not isinstance(value, dict):
        raise invalid(f"resource.{name}", value, "Must be an object.")
    return value


def _objects(body: dict[str, Any], name: str, where: str = "") -> list[dict[str, Any]]:
    value = body.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise invalid(where or f"resource.{name}", value, "Must be a list of objects.")
    return value
