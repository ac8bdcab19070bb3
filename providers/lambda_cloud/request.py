"""The body of Lambda's launch: names and tags, the image of an ARM host, and a command or environment as user data."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from providers.base import LaunchSpec, Offer
from providers.errors import InvalidRequest, NoCapacity, Unclassified
from providers.lambda_cloud.instances import OWNER_TAG, TOKEN_TAG, USER
from providers.lambda_cloud.offers import target

LONGEST_USER_DATA = 1_000_000  # "cannot exceed 1MB": the smaller of the two meanings
IMAGE_FAMILY = "lambda-stack"

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def check_fits(spec: LaunchSpec) -> None:
    """Refuse what a machine of Lambda's cannot do for us.

    Raises:
        InvalidRequest: a container image is asked for; offers here are virtual machines.
        Unclassified: ports are asked for; another provider may open them, so only this offer is left out.
    """
    if spec.image is not None:
        raise InvalidRequest(
            "Lambda's machines boot an operating system and take no container image: choose container offers, "
            "or run it with docker over SSH",
            code="invalid-spec",
        )
    if spec.ports:
        # The account's rules can only be replaced as a whole, and rule sets would stay behind.
        raise Unclassified(
            "Lambda's firewall belongs to the account and lets only port 22 in: open ports in its console",
            code="ports",
            hold_s=0.0,
        )


def body(offer: Offer, spec: LaunchSpec, token: str, *, ssh_key: str) -> dict[str, Any]:
    """What the launch of exactly *offer* is sent. There is no quantity any more: it is one machine.

    Raises:
        NoCapacity: the offer stands for a type that has no region now.
        InvalidRequest: something in the spec cannot be sent.
    """
    check_fits(spec)
    name, region = target(offer)
    if region is None:
        raise NoCapacity(f"no region has {name} now", code="no-region", hold_s=60.0)
    request: dict[str, Any] = {
        "region_name": region,
        "instance_type_name": name,
        "ssh_key_names": [ssh_key],
        "name": token,
        "hostname": token,
        "tags": [{"key": OWNER_TAG, "value": spec.owner}, {"key": TOKEN_TAG, "value": token}],
    }
    if isinstance(image := spec.native.get("image_id"), str) and image:
        request["image"] = {"id": image}
    if data := user_data(spec):
        request["user_data"] = data
    return request


def user_data(spec: LaunchSpec) -> str | None:
    """A script that the machine's first boot runs as root, or None if there is nothing for it to do.

    The variables are set for SSH logins and for the command, which runs as the user `ubuntu` in a unit of its own
    (``journalctl -u orch-cmd``), so that neither boot nor SSH waits for its end.

    Raises:
        InvalidRequest: a name of a variable is none, or it all is too long.
    """
    if not spec.env and not spec.cmd:
        return None
    for name, value in spec.env.items():
        if not _ENV_NAME.fullmatch(name) or "\0" in value:
            raise InvalidRequest(f"environment variable {name!r} cannot be set", code="invalid-spec")
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in spec.env.items())
    lines = ["#!/bin/bash", "set -u", "install -m 0644 /dev/null /etc/profile.d/orch.sh"]
    lines.append(f"printf %s {shlex.quote(exports)} > /etc/profile.d/orch.sh")
    # Bash on Ubuntu reads ~/.bashrc for `ssh HOST COMMAND`, too; profile.d is for login shells only.
    lines.append(f"sed -i '1i . /etc/profile.d/orch.sh' /home/{USER}/.bashrc")
    if spec.cmd:
        unit = f"--unit=orch-cmd --property=User={USER} --property=WorkingDirectory=/home/{USER}"
        lines.append(f"systemd-run --no-block {unit} /bin/bash -lc {shlex.quote(spec.cmd)}")
    text = "\n".join(lines) + "\n"
    if len(text.encode()) > LONGEST_USER_DATA:
        raise InvalidRequest("command and environment are longer than Lambda's user data may be", code="invalid-spec")
    return text


def image_for(images: Iterable[Mapping[str, Any]], *, region: str, arch: str) -> str | None:
    """The newest Lambda Stack image of *arch* in *region*, or None if none is listed."""
    fitting = [
        (str(image.get("updated_time") or image.get("created_time") or ""), str(image["id"]))
        for image in images
        if isinstance(image.get("id"), str)
        and image.get("architecture") == arch
        and str(image.get("family")).startswith(IMAGE_FAMILY)
        and isinstance(place := image.get("region"), dict)
        and place.get("name") == region
    ]
    return max(fitting)[1] if fitting else None
