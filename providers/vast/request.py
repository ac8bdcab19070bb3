"""The body of Vast.ai's create, and the start script inside it.

A `price` in the body is a bid and makes the machine interruptible; without one it is on demand at the listed price,
whatever the search was. So the two must never be mixed up, and on demand has no price cap on the wire.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

from providers.base import LaunchSpec, Offer
from providers.errors import InvalidRequest
from providers.vast import offers
from providers.vast.fields import disk_gb
from providers.vast.search import LEAST_BID

#: Vast.ai's own CUDA image with sshd; the tag is picked by the host's CUDA version.
DEFAULT_IMAGE = "vastai/base-image:@vastai-automatic-tag"
#: SSH with a port of the machine's own, and through the proxy. The official SDK spells it so (sic).
RUNTYPE = "ssh_direc ssh_proxy"
OWNER_VARIABLE = "ORCH_OWNER"
TOKEN_VARIABLE = "ORCH_TOKEN"  # noqa: S105 - the name of a variable
CMD_LOG = "/var/log/orch-cmd.log"

#: The wire's limits: characters of the start script, of a variable's name, of all variables, of the image's name;
#: open ports.
MOST_SCRIPT, MOST_NAME, MOST_ENV, MOST_IMAGE, MOST_PORTS = 4096, 256, 32_768, 1024, 64

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_PORT = re.compile(r"([0-9]{1,5})(?:/(tcp|http|udp))?", re.ASCII)
_KEY = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/=]+( [^\r\n]*)?", re.ASCII | re.IGNORECASE)


def body(offer: Offer, spec: LaunchSpec, token: str) -> dict[str, Any]:
    """What `PUT /asks/{id}/` is sent for exactly *offer*.

    Raises:
        InvalidRequest: a port, a variable, the key, the script or the bid cannot be sent.
    """
    image = spec.image or DEFAULT_IMAGE
    if len(image) > MOST_IMAGE:
        raise _invalid(f"the image's name has {len(image)} characters, {MOST_IMAGE} at most")
    script = start_script(spec)
    if len(script) > MOST_SCRIPT:
        raise _invalid(f"command and key make a start script of {len(script)} characters, {MOST_SCRIPT} at most")
    return {
        "client_id": "me",
        "image": image,
        "label": token,
        "disk": disk_gb(spec.disk_gib),
        "runtype": RUNTYPE,
        "target_state": "running",
        # Otherwise a machine that is taken is queued, and starts and bills when nobody expects it.
        "cancel_unavail": True,
        "price": _price(offer),
        "env": _environment(spec, token),
        "onstart": script,
    }


def start_script(spec: LaunchSpec) -> str:
    """The shell script that runs at each start, beside the sshd that Vast.ai puts into every image.

    It writes our key, so that SSH works with exactly this key and the account needs none. The command runs in the
    background with the image's shell, so SSH is there before it and stays when it ends.
    """
    key = shlex.quote(_public_key(spec))
    lines = [
        "touch ~/.no_auto_tmux",
        "mkdir -p ~/.ssh && chmod 700 ~/.ssh",
        f"grep -qsxF {key} ~/.ssh/authorized_keys || printf '\\n%s\\n' {key} >> ~/.ssh/authorized_keys",
        "chmod 600 ~/.ssh/authorized_keys",
    ]
    if spec.env:
        # Sessions over SSH see only what stands in this file.
        lines.append(f"env | grep -E '^({'|'.join(sorted(spec.env))})=' >> /etc/environment")
    if spec.cmd:
        run = f'nohup "$(command -v bash || command -v sh)" -c {shlex.quote(spec.cmd)}'
        lines.append(f"{run} > {CMD_LOG} 2>&1 &")
    return "\n".join(lines) + "\n"


def _price(offer: Offer) -> float | None:
    """The bid: the quoted price and no more. None is on demand."""
    kind, _ = offers.target(offer)
    if kind == "on-demand":
        return None
    bid = offer.usd_per_hour
    if bid is None or not LEAST_BID <= bid <= offers.MOST_BID:
        raise _invalid(f"a bid of {bid} USD per hour: from {LEAST_BID} to {offers.MOST_BID} can be bid")
    return float(bid)


def _environment(spec: LaunchSpec, token: str) -> dict[str, str]:
    # One object holds variables and ports: a port's key is docker's flag, so names must be names.
    for name in spec.env:
        if not _NAME.fullmatch(name) or len(name) > MOST_NAME:
            raise _invalid(f"environment variable {name[:80]!r}: letters, digits and _, {MOST_NAME} at most")
    env = {**spec.env, OWNER_VARIABLE: spec.owner, TOKEN_VARIABLE: token, **_ports(spec.ports)}
    size = sum(len(name) + len(value) for name, value in env.items())
    if size > MOST_ENV:
        raise _invalid(f"the environment has {size} characters, {MOST_ENV} at most")
    return env


def _ports(ports: tuple[str, ...]) -> dict[str, str]:
    """Docker's flags for *ports*. 22 is opened by the run type."""
    flags: dict[str, str] = {}
    for port in ports:
        match = _PORT.fullmatch(port)
        if match is None or not 0 < int(match[1]) < 65_536:
            raise _invalid(f"port {port!r} is not like 8080/http, 9000/tcp or 5000/udp")
        if match[2] == "udp":
            flags[f"-p {int(match[1])}:{int(match[1])}/udp"] = "1"
        elif int(match[1]) != 22:
            flags[f"-p {int(match[1])}:{int(match[1])}"] = "1"
    if len(flags) >= MOST_PORTS:
        raise _invalid(f"{len(flags)} ports beside SSH: Vast.ai opens {MOST_PORTS} at most, SSH's among them")
    return flags


def _public_key(spec: LaunchSpec) -> str:
    key = spec.ssh_public_key.strip()
    if not _KEY.fullmatch(key):
        raise _invalid("the SSH public key is not one line like 'ssh-ed25519 AAAA... comment'")
    return key


def _invalid(why: str) -> InvalidRequest:
    return InvalidRequest(why, code="invalid-spec")
