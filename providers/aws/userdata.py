"""The cloud-init document of a machine: the SSH key, the command, and the timer that ends it.

Keys come this way and not as EC2 key pairs, so nothing is left behind in the account. The document only depends on
the launch's spec: a replay sends the same one, as the client token demands.
"""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime
from typing import Any

from providers.base import LaunchSpec
from providers.errors import InvalidRequest

#: EC2's limit for user data before Base64.
MOST_BYTES = 16 * 1024
_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


def document(spec: LaunchSpec, *, user: str) -> str:
    """The user data for *spec*, as text.

    Raises:
        InvalidRequest: it is larger than EC2 takes, or a variable cannot be written down.
    """
    files: list[dict[str, Any]] = []
    commands: list[list[str]] = []
    if spec.ends_at is not None:
        files += _timer(spec.ends_at)
        commands += [["systemctl", "daemon-reload"], ["systemctl", "enable", "--now", "orch-end.timer"]]
    if spec.env:
        files.append({"path": "/etc/profile.d/orch.sh", "permissions": "0644", "content": _exports(spec.env)})
    if spec.cmd:
        files.append({"path": "/opt/orch/cmd", "permissions": "0755", "content": spec.cmd + "\n"})
        # A login shell reads /etc/profile.d; a unit of its own outlives cloud-init and keeps its output.
        commands.append(
            ["systemd-run", "--unit=orch-cmd", f"--uid={user}", "bash", "-lc", "cd ~; exec bash /opt/orch/cmd"]
        )
    config: dict[str, Any] = {"ssh_authorized_keys": [spec.ssh_public_key.strip()]}
    if files:
        config["write_files"] = files
    if commands:
        config["runcmd"] = commands
    # JSON is YAML, too, and needs no quoting rules of its own.
    text = "#cloud-config\n" + json.dumps(config, sort_keys=True, ensure_ascii=False) + "\n"
    if len(text.encode()) > MOST_BYTES:
        raise InvalidRequest(
            f"command and environment are too long: EC2 takes {MOST_BYTES} bytes of user data", code="user-data"
        )
    return text


def _timer(ends_at: datetime) -> list[dict[str, Any]]:
    """A systemd timer that shuts the machine down at *ends_at*, also after a reboot.

    With `InstanceInitiatedShutdownBehavior=terminate` a shutdown from inside ends the machine for good.
    """
    moment = ends_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    service = "[Unit]\nDescription=End of the lease\n[Service]\nType=oneshot\nExecStart=/sbin/shutdown -P now\n"
    timer = (
        f"[Unit]\nDescription=End of the lease\n[Timer]\nOnCalendar={moment}\nPersistent=true\n"
        "AccuracySec=1s\n[Install]\nWantedBy=timers.target\n"
    )
    return [
        {"path": "/etc/systemd/system/orch-end.service", "permissions": "0644", "content": service},
        {"path": "/etc/systemd/system/orch-end.timer", "permissions": "0644", "content": timer},
    ]


def _exports(env: dict[str, str]) -> str:
    for name in env:
        if not _VARIABLE.match(name):
            raise InvalidRequest(f"{name!r} cannot be a variable of the environment", code="bad-env")
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(env.items()))
