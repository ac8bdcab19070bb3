"""The cloud-init document of a machine: the workload's environment and command. The SSH key goes another way.

It only depends on the launch's spec, so a replay sends the same one. No timer is in it: a machine that shuts itself
down stays allocated at Azure, and is billed on.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from typing import Any

from providers.base import LaunchSpec
from providers.errors import InvalidRequest

#: Azure's limit for custom data, before Base64.
MOST_BYTES = 65_535
_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_UNIT = ["systemd-run", "--unit=orch-cmd"]


def document(spec: LaunchSpec, *, user: str) -> str:
    """The custom data for *spec* in Base64, or nothing if there is nothing to tell.

    Raises:
        InvalidRequest: it is larger than Azure takes, or a variable cannot be written down.
    """
    config: dict[str, Any] = {}
    files: list[dict[str, str]] = []
    if spec.env:
        files.append({"path": "/etc/profile.d/orch.sh", "permissions": "0644", "content": _exports(spec.env)})
    if spec.cmd:
        files.append({"path": "/opt/orch/cmd", "permissions": "0755", "content": f"{spec.cmd}\n"})
        # A login shell reads the exports; a unit of its own outlives cloud-init and keeps the output.
        config["runcmd"] = [[*_UNIT, f"--uid={user}", "bash", "-lc", "cd ~; exec bash /opt/orch/cmd"]]
    if not files:
        return ""
    config["write_files"] = files
    # JSON is YAML, too, and needs no quoting rules of its own.
    text = f"#cloud-config\n{json.dumps(config, sort_keys=True)}\n".encode()
    if len(text) > MOST_BYTES:
        raise InvalidRequest(
            f"command and environment are too long: Azure takes {MOST_BYTES} bytes of custom data", code="custom-data"
        )
    return base64.b64encode(text).decode()


def _exports(env: dict[str, str]) -> str:
    for name in env:
        if not _VARIABLE.match(name):
            raise InvalidRequest(f"{name!r} cannot be a variable of the environment", code="bad-env")
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(env.items()))
