"""What a launch sends: the machine's body, and the startup script that lets us in.

SSH keys have no API, so the key comes with a script that the machine's first boot runs. Cloudflare stands before
the API and was seen to turn away scripts that look like an attack (paths of key files, commands chained to shells).
So the working part travels as base64 in a here-document, decoded to a file: no such words, no pipe to a shell.
"""

from __future__ import annotations

import base64
import re
import shlex
from typing import Any

from providers.base import LaunchSpec, Offer
from providers.errors import InvalidRequest, Unclassified
from providers.paperspace import catalog
from providers.paperspace.offers import target

USER = "paperspace"
LONGEST_KEY = 16_384

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_FILE = "/var/tmp/orch-start"  # noqa: S108 - the machine is fresh and only ours


def check_fits(spec: LaunchSpec) -> None:
    """Refuse what a Paperspace machine cannot do for us.

    Raises:
        InvalidRequest: a container image is asked for, or the key or a variable cannot be written.
        Unclassified: ports are asked for; another provider may open them, so only this offer is left out.
    """
    if spec.image is not None:
        raise InvalidRequest(
            "Paperspace's machines boot an operating system and take no container image: choose container offers, "
            "or run it with docker over SSH",
            code="invalid-spec",
        )
    if spec.ports:
        raise Unclassified(
            "which ports of a Paperspace machine can be reached is not documented, and its API opens none",
            code="ports",
            hold_s=0.0,
        )
    startup_script(spec)


def body(offer: Offer, spec: LaunchSpec, token: str, *, template: str, disk: int, script: str) -> dict[str, Any]:
    """What `POST /machines` is sent for exactly *offer*.

    Auto-shutdown is off: it does not count SSH as activity and would stop the machine under a job, and a stopped
    one still bills its disk. The address is dynamic and there is no network of our own, so nothing of these stays.
    """
    label, region = target(offer)
    request: dict[str, Any] = {
        "name": token,
        "machineType": label,
        "templateId": template,
        "diskSize": disk,
        "region": region,
        "publicIpType": "dynamic",
        "startOnCreate": True,
        "startupScriptId": script,
        "emailPassword": False,
        "autoShutdownEnabled": False,
        "autoSnapshotEnabled": False,
    }
    if offer.gpu_count >= catalog.NVLINK_COUNT:
        request["enableNvlink"] = True
    return request


def disk_of(spec: LaunchSpec, template_gib: int | None) -> int:
    """The disk to ask for, GB: the smallest step that holds what is wanted.

    Raises:
        InvalidRequest: there is no disk as large.
    """
    size = catalog.disk_size(spec.disk_gib, template_gib)
    if size is None:
        raise InvalidRequest(f"Paperspace's disks end at {catalog.DISK_SIZES[-1]} GB", code="disk-too-large")
    return size


def startup_script(spec: LaunchSpec) -> str:
    """The script as it is sent: an envelope of plain words around `inner_script`.

    Raises:
        InvalidRequest: the key is no key line, or a name of a variable is none.
    """
    packed = base64.b64encode(inner_script(spec).encode()).decode()
    lines = [
        "#!/bin/bash",
        "umask 077",
        f"base64 -d > {_FILE} <<'END'",
        packed,
        "END",
        f"bash {_FILE}",
        f"rm -f {_FILE}",
    ]
    return "\n".join(lines) + "\n"


def inner_script(spec: LaunchSpec) -> str:
    """What runs on the machine, as root at its first boot: the key, the environment, the command.

    The variables are set for SSH logins and for the command, which runs as the machine's user in a unit of its own
    (``journalctl -u orch-cmd``), so that neither boot nor SSH waits for its end.
    """
    lines = [
        f"user={USER}",
        f"home=/home/{USER}",
        f"key={shlex.quote(_key_line(spec.ssh_public_key))}",
        'install -d -m 0700 -o "$user" -g "$user" "$home/.ssh"',
        'keys="$home/.ssh/authorized_keys"',
        'grep -qxF "$key" "$keys" 2>/dev/null || printf "\\n%s\\n" "$key" >> "$keys"',
        'chown "$user:$user" "$keys"',
        'chmod 0600 "$keys"',
    ]
    if spec.env or spec.cmd:
        lines += ["profile=/etc/profile.d/orch.sh", 'install -m 0644 /dev/null "$profile"']
        lines.append(f'printf %s {shlex.quote(_exports(spec))} > "$profile"')
        # Bash on Ubuntu reads ~/.bashrc for `ssh HOST COMMAND`, too; profile.d is for login shells only.
        lines.append('sed -i "1i . $profile" "$home/.bashrc"')
    if spec.cmd:
        unit = '--unit=orch-cmd --property=User="$user" --property=WorkingDirectory="$home"'
        lines += [
            'command="$home/.orch-command"',
            'install -m 0600 -o "$user" -g "$user" /dev/null "$command"',
            f'printf "%s\\n" {shlex.quote(spec.cmd)} > "$command"',
            # As an argument it would not do: systemd itself puts its own values for ${...} into arguments.
            f'systemd-run --no-block {unit} /bin/bash -l "$command"',
        ]
    return "\n".join(lines) + "\n"


def _exports(spec: LaunchSpec) -> str:
    for name, value in spec.env.items():
        if not _ENV_NAME.fullmatch(name) or "\0" in value:
            raise InvalidRequest(f"environment variable {name!r} cannot be set", code="invalid-spec")
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in spec.env.items())


def _key_line(public_key: str) -> str:
    line = public_key.strip()
    if len(line.split()) < 2 or "\n" in line or "\r" in line or len(line) > LONGEST_KEY:
        raise InvalidRequest(f"no public key line of at most {LONGEST_KEY} characters", code="bad-ssh-key")
    return line
