"""The body of RunPod's create, and the start command inside it.

Sends what the launch needs and nothing else: unknown keys are refused (422).
"""

from __future__ import annotations

import base64
import re
import shlex
from typing import Any

from providers.base import LaunchSpec, Offer
from providers.errors import InvalidRequest, Unclassified
from providers.runpod.pods import OWNER_VARIABLE, TOKEN_VARIABLE

DEFAULT_IMAGE = "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404"
#: What the default image needs of a host's driver. An older one fails when the container starts, and bills.
DEFAULT_MIN_CUDA = "12.8"
SSH_PORT = "22/tcp"
KEY_VARIABLE = "PUBLIC_KEY"

_PORT = re.compile(r"\d{1,6}/(tcp|http)", re.ASCII)
_CUDA = re.compile(r"\d+\.\d+", re.ASCII)


def body(offer: Offer, spec: LaunchSpec, token: str) -> dict[str, Any]:
    """What `POST /v2/pods` is sent for exactly *offer*.

    `native` of the spec, else of the offer, may hold ``min_cuda_version`` (``"12.4"``; empty for none).

    Raises:
        InvalidRequest: a port, a CUDA version or the offer cannot be sent.
        Unclassified: the default image cannot work on that GPU; another offer may do.
    """
    native = offer.native
    if "gpu_id" not in native or "cloud" not in native:
        raise InvalidRequest(f"offer {offer.offer_id!r} does not say what to rent", code="no-native")
    gpu: dict[str, Any] = {"id": native["gpu_id"], "count": offer.gpu_count}
    if cuda := _min_cuda(offer, spec):
        gpu["minCudaVersion"] = cuda
    request: dict[str, Any] = {
        "name": token,
        "image": spec.image or DEFAULT_IMAGE,
        "gpu": gpu,
        "cloud": native["cloud"],
        "disk": disk_gb(spec.disk_gib),
        "ports": _ports(spec),
        "env": _environment(spec, token),
    }
    if native["cloud"] == "SECURE" and native.get("data_center"):
        # "Preferred", says the description; in fact binding. COMMUNITY hosts are in no data centre.
        request["dataCenterIds"] = [native["data_center"]]
    if spec.cmd:
        request["args"] = start_args(spec.cmd)
    return request


def disk_gb(disk_gib: int) -> int:
    """Whole GB (10^9 bytes), RunPod's unit, that hold at least *disk_gib* GiB; at least its minimum of 1."""
    return max(1, -(-disk_gib * 2**30 // 10**9))


def start_args(cmd: str) -> str:
    """The container's command line that runs *cmd* and keeps SSH working, as the one string the wire takes.

    How RunPod splits that string is not documented. Base64 leaves nothing of *cmd* to split or expand.
    """
    encoded = base64.b64encode(start_script(cmd).encode()).decode()
    return f"sh -c 'echo {encoded} | base64 -d > /tmp/.orch-start && exec sh /tmp/.orch-start'"


def start_script(cmd: str, start: str = "/start.sh") -> str:
    """A shell script that runs *cmd* beside the image's own start.

    `args` takes the place of the image's command, and in RunPod's images that command is /start.sh, which
    puts `PUBLIC_KEY` in place and starts sshd. So where it is there it goes on as the container's main
    process: SSH works, and goes on working when *cmd* has ended. An image without it gets *cmd* alone.
    """
    run = f'"$shell" -c {shlex.quote(cmd)}'
    return (
        "shell=$(command -v bash || command -v sh)\n"
        f"if [ -x {shlex.quote(start)} ]; then\n"
        f"  {run} &\n"
        f"  exec {shlex.quote(start)}\n"
        "fi\n"
        f"exec {run}\n"
    )


def _min_cuda(offer: Offer, spec: LaunchSpec) -> str | None:
    chosen = spec.native.get("min_cuda_version", offer.native.get("min_cuda_version"))
    if chosen is not None:
        if chosen and not (isinstance(chosen, str) and _CUDA.fullmatch(chosen)):
            raise InvalidRequest(f"min_cuda_version {chosen!r} is not like 12.8", code="bad-cuda")
        return chosen or None
    if spec.image is not None:
        # A floor keeps hosts out, and we do not know what the user's image needs.
        return None
    if offer.native["gpu_id"].upper().startswith("AMD"):
        raise Unclassified("the default image is for NVIDIA GPUs; name an image for this one", code="no-image")
    return DEFAULT_MIN_CUDA


def _ports(spec: LaunchSpec) -> list[str]:
    for port in spec.ports:
        if not _PORT.fullmatch(port):
            raise InvalidRequest(f"port {port!r} is not like 8080/http or 9000/tcp", code="bad-port")
    # There is no default on the wire: without this entry there is no address for SSH.
    return list(dict.fromkeys([SSH_PORT, *spec.ports]))


def _environment(spec: LaunchSpec, token: str) -> dict[str, str]:
    # The key goes in here and not into the account, whose set of keys can only be replaced as a whole.
    keys = [spec.ssh_public_key.strip(), spec.env.get(KEY_VARIABLE, "").strip()]
    return {
        **spec.env,
        KEY_VARIABLE: "\n".join(key for key in keys if key),
        OWNER_VARIABLE: spec.owner,
        TOKEN_VARIABLE: token,
    }
