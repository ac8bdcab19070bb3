"""How the emulated Google Cloud writes things. int64 is a string; what is not known is absent."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from providers.gcp.emulator_fleet import Fleet
from providers.gcp.emulator_instance import Disk, Instance
from providers.gcp.emulator_market import DiskType, Gpu, Image, Market, Region, Shape
from providers.gcp.emulator_options import Options
from providers.gcp.emulator_wire import fingerprint, link, number_of, stamp

Item = dict[str, Any]
_BORN = "2019-03-05T10:00:00.000-08:00"
_PLATFORMS = {"g2": "Intel Cascade Lake", "a2": "Intel Cascade Lake", "g4": "AMD Turin", "n1": "Intel Skylake"}


def instance(it: Instance, fleet: Fleet, options: Options) -> Item:
    """An instance wherever one stands."""
    zone = f"projects/{it.project}/zones/{it.zone}"
    gpu, count = fleet.gpu_of(it)
    known: Item = {
        "kind": "compute#instance",
        "id": it.id,
        "creationTimestamp": stamp(it.created_at),
        "name": it.name,
        "description": it.description,
        "tags": {"fingerprint": fingerprint(it.tags)} | ({"items": list(it.tags)} if it.tags else {}),
        "machineType": link(f"{zone}/machineTypes/{it.shape}"),
        "status": options.status_words.get(it.status, it.status),
        "zone": link(zone),
        "canIpForward": False,
        "networkInterfaces": [_interface(it)],
        "disks": [_attached(disk, number, it) for number, disk in enumerate(fleet.disks_of(it))],
        "metadata": _metadata(it),
        "selfLink": link(it.path),
        "scheduling": _scheduling(it),
        "cpuPlatform": _PLATFORMS.get(fleet.shape_of(it).family, "Intel Sapphire Rapids") if it.started_at else None,
        "labels": dict(it.labels) or None,
        "labelFingerprint": fingerprint(sorted(it.labels.items())),
        "startRestricted": False,
        "deletionProtection": it.deletion_protection,
        "shieldedInstanceConfig": {"enableSecureBoot": False, "enableVtpm": True, "enableIntegrityMonitoring": True},
        "fingerprint": fingerprint((it.status, it.labels, it.tags)),
        "lastStartTimestamp": None if it.started_at is None else stamp(it.started_at),
        "lastStopTimestamp": None if it.stopped_at is None else stamp(it.stopped_at),
        "serviceAccounts": it.service_accounts or None,
    }
    if gpu is not None:
        accelerator = link(f"{zone}/acceleratorTypes/{gpu.name}")
        known["guestAccelerators"] = [{"acceleratorType": accelerator, "acceleratorCount": count}]
    return {key: value for key, value in known.items() if value is not None}


def _scheduling(it: Instance) -> Item:
    made = dict(it.scheduling)
    if (duration := made.get("maxRunDuration")) and it.started_at is not None:
        end = it.started_at.timestamp() + int(duration["seconds"])
        made["terminationTime"] = stamp(datetime.fromtimestamp(end, it.started_at.tzinfo))
    return made


def _interface(it: Instance) -> Item:
    region = it.zone.rpartition("-")[0]
    made: Item = {
        "kind": "compute#networkInterface",
        "name": "nic0",
        "network": link(f"projects/{it.project}/global/networks/{it.network}"),
        "subnetwork": link(f"projects/{it.project}/regions/{region}/subnetworks/{it.network}"),
        "networkIP": it.private_ip,
        "stackType": "IPV4_ONLY",
        "fingerprint": fingerprint((it.id, it.nat_ip)),
    }
    if it.nat is not None:
        config = {"kind": "compute#accessConfig", **it.nat}
        made["accessConfigs"] = [config | ({"natIP": it.nat_ip} if it.nat_ip else {})]
    return made


def _attached(disk: Disk, number: int, it: Instance) -> Item:
    return {
        "kind": "compute#attachedDisk",
        "type": "PERSISTENT",
        "mode": "READ_WRITE",
        "source": link(f"projects/{it.project}/zones/{disk.zone}/disks/{disk.name}"),
        "deviceName": f"persistent-disk-{number}",
        "index": number,
        "boot": disk.boot,
        "autoDelete": disk.auto_delete,
        "interface": "NVME" if disk.kind.startswith("hyperdisk") else "SCSI",
        "diskSizeGb": str(disk.size_gb),
        "architecture": "X86_64",
    }


def _metadata(it: Instance) -> Item:
    made: Item = {"kind": "compute#metadata", "fingerprint": fingerprint(sorted(it.metadata.items()))}
    if it.metadata:
        made["items"] = [{"key": key, "value": value} for key, value in it.metadata.items()]
    return made


def disk(it: Disk, project: str) -> Item:
    """A disk wherever one stands."""
    zone = f"projects/{project}/zones/{it.zone}"
    made: Item = {
        "kind": "compute#disk",
        "id": it.id,
        "creationTimestamp": stamp(it.created_at),
        "name": it.name,
        "sizeGb": str(it.size_gb),
        "zone": link(zone),
        "status": "READY",
        "sourceImage": link(it.image),
        "selfLink": link(f"{zone}/disks/{it.name}"),
        "type": link(f"{zone}/diskTypes/{it.kind}"),
        "physicalBlockSizeBytes": "4096",
        "labelFingerprint": fingerprint(sorted(it.labels.items())),
        "architecture": "X86_64",
    }
    if it.labels:
        made["labels"] = dict(it.labels)
    if it.user:
        made["users"] = [link(f"{zone}/instances/{it.user}")]
    return made


def machine_type(shape: Shape, zone: str, project: str, market: Market) -> Item:
    """A machine type in a zone. A share of a GPU is counted as one; only the description tells."""
    made: Item = {
        "kind": "compute#machineType",
        "id": number_of("machineType", zone, shape.name),
        "creationTimestamp": _BORN,
        "name": shape.name,
        "description": _words(shape, market),
        "guestCpus": shape.vcpus,
        "memoryMb": shape.memory_mb,
        "imageSpaceGb": 0,
        "maximumPersistentDisks": 128,
        "maximumPersistentDisksSizeGb": "263168",
        "zone": zone,
        "selfLink": link(f"projects/{project}/zones/{zone}/machineTypes/{shape.name}"),
        "isSharedCpu": shape.shared_cpu,
        "architecture": "X86_64",
    }
    if shape.gpus:
        made["accelerators"] = [{"guestAcceleratorType": shape.gpu, "guestAcceleratorCount": shape.gpus}]
    if shape.ssds:
        made["bundledLocalSsds"] = {"defaultInterface": "NVME", "partitionCount": shape.ssds}
    return made


def _words(shape: Shape, market: Market) -> str:
    host = f"{shape.vcpus} vCPUs, {shape.memory_gib:g}GB RAM"
    if not shape.gpus:
        return host.replace("GB", " GB")
    gpu = market.gpus[shape.gpu].title
    if shape.share:
        return f"Graphics Optimized: {shape.share} {gpu} GPU, {host}"
    kind = "Graphics" if shape.family in ("g2", "g4") else "Accelerator"
    return f"{kind} Optimized: {shape.gpus} {gpu} GPU{'s' if shape.gpus > 1 else ''}, {host}"


def accelerator_type(gpu: Gpu, zone: str, project: str) -> Item:
    """A GPU in a zone."""
    return {
        "kind": "compute#acceleratorType",
        "id": number_of("acceleratorType", zone, gpu.name),
        "creationTimestamp": _BORN,
        "name": gpu.name,
        "description": gpu.title,
        "zone": link(f"projects/{project}/zones/{zone}"),
        "selfLink": link(f"projects/{project}/zones/{zone}/acceleratorTypes/{gpu.name}"),
        "maximumCardsPerInstance": gpu.largest,
    }


def disk_type(kind: DiskType, zone: str, project: str) -> Item:
    """A kind of disk in a zone."""
    return {
        "kind": "compute#diskType",
        "id": number_of("diskType", zone, kind.name),
        "creationTimestamp": _BORN,
        "name": kind.name,
        "description": kind.sku,
        "validDiskSize": "10GB-65536GB",
        "zone": link(f"projects/{project}/zones/{zone}"),
        "selfLink": link(f"projects/{project}/zones/{zone}/diskTypes/{kind.name}"),
        "defaultDiskSizeGb": "100",
    }


def zone(name: str, project: str) -> Item:
    """A zone."""
    return {
        "kind": "compute#zone",
        "id": number_of("zone", name),
        "creationTimestamp": _BORN,
        "name": name,
        "description": name,
        "status": "UP",
        "region": link(f"projects/{project}/regions/{name.rpartition('-')[0]}"),
        "selfLink": link(f"projects/{project}/zones/{name}"),
        "availableCpuPlatforms": ["Intel Skylake", "Intel Cascade Lake", "Intel Sapphire Rapids"],
        "supportsPzs": False,
    }


def region(it: Region, project: str, quotas: list[Item]) -> Item:
    """A region with its quotas."""
    return {
        "kind": "compute#region",
        "id": number_of("region", it.name),
        "creationTimestamp": _BORN,
        "name": it.name,
        "description": it.name,
        "status": "UP",
        "zones": [link(f"projects/{project}/zones/{name}") for name in it.zones],
        "quotas": quotas,
        "selfLink": link(f"projects/{project}/regions/{it.name}"),
        "supportsPzs": False,
    }


def project(options: Options, quotas: list[Item]) -> Item:
    """The project."""
    return {
        "kind": "compute#project",
        "id": options.project_number,
        "creationTimestamp": "2025-01-15T01:00:00.000-08:00",
        "name": options.project,
        "commonInstanceMetadata": {"kind": "compute#metadata", "fingerprint": fingerprint(())},
        "quotas": quotas,
        "selfLink": link(f"projects/{options.project}"),
        "defaultServiceAccount": f"{options.project_number}-compute@developer.gserviceaccount.com",
        "xpnProjectStatus": "UNSPECIFIED_XPN_PROJECT_STATUS",
        "defaultNetworkTier": "PREMIUM",
        "vmDnsSetting": "ZONAL_ONLY",
    }


def image(it: Image) -> Item:
    """An image."""
    path = f"projects/{it.project}/global/images/{it.name}"
    return {
        "kind": "compute#image",
        "id": number_of("image", it.project, it.name),
        "creationTimestamp": "2026-11-03T09:00:00.000-08:00",
        "name": it.name,
        "description": it.family,
        "sourceType": "RAW",
        "rawDisk": {"source": "", "containerType": "TAR"},
        "status": "READY",
        "archiveSizeBytes": str(it.size_gb * 2**28),
        "diskSizeGb": str(it.size_gb),
        "licenses": [link("projects/ubuntu-os-cloud/global/licenses/ubuntu-2204-lts")],
        "family": it.family,
        "selfLink": link(path),
        "labelFingerprint": fingerprint(()),
        "guestOsFeatures": [{"type": "GVNIC"}, {"type": "UEFI_COMPATIBLE"}, {"type": "VIRTIO_SCSI_MULTIQUEUE"}],
        "storageLocations": ["us"],
        "architecture": "X86_64",
        "enableConfidentialCompute": False,
    }


def with_extras(value: Any) -> Any:
    """The same answer with fields that no documentation knows, in every object but maps by name."""
    if isinstance(value, dict):
        by_name = bool(value) and all(
            isinstance(one, (dict, str)) and ("/" in key or key == "global") for key, one in value.items()
        )
        more = {} if by_name else {"xNewField": {"since": "later"}}
        return {key: one if key == "labels" else with_extras(one) for key, one in value.items()} | more
    if isinstance(value, list):
        return [with_extras(one) for one in value]
    return value
