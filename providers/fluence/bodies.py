"""Bodies of create calls, and the choices in them: container image, OS image, ports, environment, command."""

from __future__ import annotations

import re
import shlex
from typing import Any

from providers.base import LaunchSpec
from providers.errors import InvalidRequest
from providers.fluence.wire import DefaultImage, Kind

#: Fluence's own image with sshd, user root; it takes the key from `SSH_PUBKEY`. `/gpu/default-images/` lists it.
DEFAULT_IMAGE = "docker.io/fluencelabs/debian-ssh-root:11"
DEFAULT_IMAGE_SLUG = "debian-ssh-11"
#: Asked for where an option lists no OS image. If it has another name, the refusal lists what there is.
DEFAULT_OS_IMAGE = "Ubuntu Server 22.04"

MOST_PORTS, MOST_ENV, LONGEST_COMMAND, LONGEST_IMAGE = 10, 64, 2048, 255
RESERVED_ENV = "SSH_PUBKEY"

_ENV_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,23}[a-z0-9])?")

# `startup_command` takes the place of the image's entrypoint, and with it of whatever started sshd there. So
# SSH comes first, then the command; when that ends the machine stays reachable. Unverified live; images that
# are not Debian's kind must bring sshd along.
_WITH_SSH = """\
mkdir -p ~/.ssh /run/sshd; chmod 700 ~/.ssh
printf '%s\\n' "$SSH_PUBKEY" >> ~/.ssh/authorized_keys; chmod 600 ~/.ssh/authorized_keys
PATH=$PATH:/usr/sbin; command -v sshd >/dev/null || { apt-get update && apt-get install -y openssh-server; }
ssh-keygen -A; "$(command -v sshd)"
bash -c """
_AFTERWARDS = "\nexec sleep infinity\n"


def container_body(spec: LaunchSpec, *, plan_id: str, location: str | None, name: str, image: str) -> dict[str, Any]:
    """What `POST /gpu/instances/` wants.

    Raises:
        InvalidRequest: the request does not fit into Fluence's limits.
    """
    if len(image) > LONGEST_IMAGE or image != image.lower() or not image:
        raise _invalid(f"image {image!r}: Fluence takes lower-case names of at most {LONGEST_IMAGE} characters")
    settings: dict[str, Any] = {"image": image, "expose": _expose(spec.ports)}
    if spec.env:
        settings["environment"] = _environment(spec.env)
    if spec.cmd:
        settings["startup_command"] = startup_command(spec.cmd)
    body: dict[str, Any] = {"plan_id": plan_id, "name": checked_name(name), "container_settings": settings}
    if location:
        body["constraints"] = {"location": location}
    body["ssh_key"] = spec.ssh_public_key
    return body


def machine_body(spec: LaunchSpec, *, plan_id: str, name: str, os_image: str) -> dict[str, Any]:
    """What `POST /gpu/instances/vms` and `/baremetal` want: all four fields are required."""
    return {
        "plan_id": plan_id,
        "name": checked_name(name),
        "ssh_key": spec.ssh_public_key,
        "os_image": os_image,
    }


def check_fits(kind: Kind, spec: LaunchSpec) -> None:
    """Refuse what a VM or bare metal cannot do. Ports need nothing there: the machine has its own address.

    Raises:
        InvalidRequest: the spec has an image, a command or an environment, and *kind* cannot run them.
    """
    if kind == "containers":
        return
    asked = [word for word in ("image", "cmd", "env") if getattr(spec, word)]
    if asked:
        raise _invalid(
            f"Fluence's {kind} boot an operating system and take no {' or '.join(asked)}: "
            "choose container offers (workloads container), or set it up over SSH"
        )


def checked_name(name: str) -> str:
    """*name* if Fluence takes it: 1 to 25 of a-z, 0-9 and hyphens, none at the ends."""
    if not _NAME.fullmatch(name):
        raise _invalid(f"{name!r} is no name for Fluence")
    return name


def startup_command(cmd: str) -> str:
    """*cmd* as bash text that starts SSH first and keeps the container up afterwards."""
    text = _WITH_SSH + shlex.quote(cmd) + _AFTERWARDS
    if len(text) > LONGEST_COMMAND:
        room = LONGEST_COMMAND - (len(text) - len(cmd))
        raise _invalid(f"the command has {len(cmd)} characters, and Fluence has room for {room}")
    return text


def pick_image(images: list[DefaultImage]) -> str:
    """Fluence's Debian image with SSH by its slug, else one like it, else the documented one."""
    for image in images:
        if image.slug == DEFAULT_IMAGE_SLUG:
            return image.image
    for image in images:
        if image.slug.startswith("debian-ssh") and image.requires_ssh is not False:
            return image.image
    return DEFAULT_IMAGE


def pick_os(options: tuple[str, ...]) -> str | None:
    """The OS image to ask for: Ubuntu before others, with CUDA before without, 22.04 and 24.04 before others.

    The spelling differs from house to house (``Ubuntu Server 22.04``, ``ubuntu22.04_cuda12.4_shade_os``).
    """
    return min(options, key=_os_rank, default=None)


def _os_rank(name: str) -> tuple[bool, bool, bool, str]:
    low = name.casefold()
    has_driver = any(word in low for word in ("cuda", "nvidia", "driver"))
    usual = any(version in low for version in ("22.04", "24.04"))
    return "ubuntu" not in low, not has_driver, not usual, low


def _expose(ports: tuple[str, ...]) -> list[dict[str, str]]:
    """Port 22 first: a port can never be added later. Numbers are sent as texts, as documented."""
    found = {("22", "tcp"): None}
    for port in ports:
        number, _, protocol = port.partition("/")
        if not re.fullmatch(r"[0-9]{1,5}", number, re.ASCII) or not 0 < int(number) < 65536:
            raise _invalid(f"port {port!r}: a number from 1 to 65535 is needed")
        found[(str(int(number)), _protocol(int(number), protocol or "tcp", port))] = None
    if len(found) > MOST_PORTS:
        raise _invalid(f"{len(found)} ports, SSH among them: Fluence opens {MOST_PORTS} at most")
    return [{"port": number, "protocol": protocol} for number, protocol in found]


def _protocol(number: int, protocol: str, port: str) -> str:
    if protocol not in {"tcp", "udp", "http"}:
        raise _invalid(f"port {port!r}: the protocol must be tcp, udp or http")
    # Fluence's own `http` (a URL on its proxy) exists for port 80 only; elsewhere HTTP is plain TCP.
    return "tcp" if protocol == "http" and number != 80 else protocol


def _environment(env: dict[str, str]) -> list[dict[str, str]]:
    if len(env) > MOST_ENV:
        raise _invalid(f"{len(env)} environment variables: Fluence takes {MOST_ENV} at most")
    for name in env:
        if name == RESERVED_ENV:
            raise _invalid(f"environment variable {name} is reserved: Fluence fills it with the SSH key")
        if not _ENV_NAME.fullmatch(name):
            raise _invalid(f"environment variable {name!r}: Fluence takes A-Z, 0-9 and _, a letter first")
    return [{"name": name, "value": value} for name, value in env.items()]


def _invalid(why: str) -> InvalidRequest:
    return InvalidRequest(why, code="invalid-spec")
