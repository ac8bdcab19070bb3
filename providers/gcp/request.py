"""The body of an insert: everything comes from the saved spec, so a replay is word for word the same."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from providers.base import LaunchSpec, Offer
from providers.errors import InvalidRequest
from providers.gcp import offers, userdata

OWNER_LABEL, LEASE_LABEL, TOKEN_LABEL = "orch-owner", "orch-lease", "orch-token"
TAG = "orch"
DEFAULT_NETWORK = "default"
#: What `maxRunDuration` may be (the documented longest is 120 days). Beyond, there is no timer.
LEAST_RUN_S, MOST_RUN_S = 60, 120 * 86_400
_NAMESPACE = uuid.UUID("6f8154fd-64e4-5b1c-9d26-2b6a3a9c5d0e")


def request_id(what: str, token: str, zone: str) -> str:
    """The same UUID for the same create, so that a repeat refers to the first one's operation."""
    return str(uuid.uuid5(_NAMESPACE, f"{what}/{zone}/{token}"))


def run_seconds(ends_at: datetime | None, now: datetime) -> int | None:
    """How long the machine may run before Google itself deletes it; None for no timer."""
    if ends_at is None:
        return None
    seconds = max(LEAST_RUN_S, int((ends_at - now).total_seconds()) + 1)
    return seconds if seconds <= MOST_RUN_S else None


def labels(spec: LaunchSpec, token: str) -> dict[str, str]:
    """Our mark: the full owner id, the lease and the name."""
    return {OWNER_LABEL: spec.owner, LEASE_LABEL: spec.lease, TOKEN_LABEL: token}


def instance(offer: Offer, spec: LaunchSpec, token: str, *, project: str) -> dict[str, Any]:
    """What `instances.insert` is sent for exactly *offer*; *spec* has been resolved."""
    zone, native = offers.zone_of(offer), spec.native
    place = f"zones/{zone}"
    marks = labels(spec, token)
    body: dict[str, Any] = {
        "name": token,
        "machineType": f"{place}/machineTypes/{offers.machine_type_of(offer)}",
        "labels": marks,
        # The machine's own tag is what its firewall rule, if it has one, is for.
        "tags": {"items": [TAG, token] if native.get("firewall") else [TAG]},
        "disks": [_boot_disk(offer, spec, place, marks)],
        "networkInterfaces": [
            {
                "network": _network(str(native.get("network") or DEFAULT_NETWORK)),
                "accessConfigs": [
                    {
                        "type": "ONE_TO_ONE_NAT",
                        "name": "External NAT",
                        "networkTier": str(offer.native.get("network_tier") or "PREMIUM"),
                    }
                ],
            }
        ],
        "scheduling": _scheduling(offer, spec),
        "metadata": {"items": _metadata(spec)},
    }
    if offer.native.get("attached"):
        accelerator = offer.native["accelerator"]
        body["guestAccelerators"] = [
            {
                "acceleratorType": f"projects/{project}/{place}/acceleratorTypes/{accelerator}",
                "acceleratorCount": int(offer.native["accelerator_count"]),
            }
        ]
    return body


def _boot_disk(offer: Offer, spec: LaunchSpec, place: str, marks: dict[str, str]) -> dict[str, Any]:
    kind = offer.native.get("disk_type") or "pd-balanced"
    return {
        "boot": True,
        "autoDelete": True,
        "initializeParams": {
            "sourceImage": str(spec.native["image"]),
            "diskSizeGb": str(int(spec.native["disk_gib"])),  # in GiB, whatever it is called; int64 is a string
            "diskType": f"{place}/diskTypes/{kind}",
            "labels": marks,
        },
    }


def _scheduling(offer: Offer, spec: LaunchSpec) -> dict[str, Any]:
    spot = offer.pricing == "spot"
    scheduling: dict[str, Any] = {
        "provisioningModel": "SPOT" if spot else "STANDARD",
        "onHostMaintenance": "TERMINATE",  # a machine with GPUs cannot be moved
        # A lost machine stays lost: it is replaced, not restarted without its data.
        "automaticRestart": False,
    }
    seconds = spec.native.get("max_run_s")
    if seconds:
        scheduling["maxRunDuration"] = {"seconds": str(int(seconds))}
    if spot or seconds:
        # Stopped instead, its disk would bill on. Without either, Google refuses the field.
        scheduling["instanceTerminationAction"] = "DELETE"
    return scheduling


def _metadata(spec: LaunchSpec) -> list[dict[str, str]]:
    user = str(spec.native.get("ssh_user") or "")
    key = spec.ssh_public_key.strip()
    if not user or "\n" in key or len(key.split()) < 2:
        raise InvalidRequest("no public key line", code="bad-ssh-key")
    items = {
        "ssh-keys": f"{user}:{key}",
        "block-project-ssh-keys": "TRUE",
        # A project's OS Login would make Google ignore the key above.
        "enable-oslogin": "FALSE",
    }
    if data := userdata.document(spec, user=user):
        items["user-data"] = data
    return [{"key": name, "value": value} for name, value in items.items()]


def _network(name: str) -> str:
    return name if "/" in name else f"global/networks/{name}"
