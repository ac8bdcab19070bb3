"""The cloud-init document of a machine: the environment and the command; keys and end time go other ways."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from providers.base import LaunchSpec
from providers.errors import InvalidRequest

#: Google's limit for one metadata value.
MOST_BYTES = 256 * 1024
_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$", re.ASCII)


def document(spec: LaunchSpec, *, user: str) -> str | None:
    """The user data for *spec*, or None if there is nothing for it to do.

    The variables are set in login shells and for the command, which runs as *user* in a unit of its own
    (``journalctl -u orch-cmd``), so that neither boot nor SSH waits for its end.

    Raises:
        InvalidRequest: it is larger than a metadata value may be, or a variable cannot be written down.
    """
    if not spec.env and not spec.cmd:
        return None
    files: list[dict[str, Any]] = []
    commands: list[list[str]] = []
    if spec.env:
        files.append({"path": "/etc/profile.d/orch.sh", "permissions": "0644", "content": _exports(spec.env)})
    if spec.cmd:
        files.append({"path": "/opt/orch/cmd", "permissions": "0755", "content": spec.cmd + "\n"})
        start = ["systemd-run", "--unit=orch-cmd", f"--uid={user}", "bash", "-lc", "cd ~; exec bash /opt/orch/cmd"]
        commands.append(start)
    config: dict[str, Any] = {"write_files": files}
    if commands:
        config["runcmd"] = commands
    # JSON is YAML, too, and needs no quoting rules of its own.
    text = "#cloud-config\n" + json.dumps(config, sort_keys=True, ensure_ascii=False) + "\n"
    if len(text.encode()) > MOST_BYTES:
        raise InvalidRequest(f"command and environment are longer than {MOST_BYTES} bytes", code="user-data")
    return text


def _exports(env: dict[str, str]) -> str:
    for name, value in env.items():
        if not _VARIABLE.match(name) or "\0" in value:
            raise InvalidRequest(f"{name!r} cannot be a variable of the environment", code="bad-env")
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(env.items()))
