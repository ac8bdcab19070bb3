"""SSH keys: those of the account, which every new rental gets, and those of one rental.

Sources: the official descriptions of the SSH key calls. `public_key` in the answer to an addition and `key` in the
list are both described; here every row has both.
"""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.responses import JSONResponse, Response

from providers.sandbox.world import World
from providers.vast.emulator_instance import Instance
from providers.vast.emulator_machines import Machines
from providers.vast.emulator_wire import Refusal

_KEY_LINE = re.compile(r"(ssh-|ecdsa-|sk-)\S+ \S+.*")


class Keys:
    """All SSH keys, deleted ones too."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rows: list[dict[str, Any]] = []
        self._next_id = 410_000

    def lines(self, account: str) -> list[str]:
        """The public keys of *account*."""
        return [row["public_key"] for row in self._live(account)]

    def _live(self, account: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["account"] == account and row["deleted_at"] is None]

    def show(self, account: str) -> Response:
        """The account's keys.

        Raises:
            Refusal: 404, there are none.
        """
        rows = [_public(row) for row in self._live(account)]
        if not rows:
            raise Refusal(404, "no_ssh_keys", "No SSH keys found for the user.")
        return JSONResponse(rows)

    def add(
        self, account: str, user_id: int, body: dict[str, Any], rentals: list[Instance], machines: Machines
    ) -> Response:
        """Add a key to the account, and to its rentals as far as nobody is on them yet.

        Vast says that all current instances take the key. A machine of the sandbox reads keys at its start only and
        would lose its files by another start, so one that somebody can reach already stays as it is.

        Raises:
            Refusal: 400, that is no key.
        """
        line = _key_line(body)
        known = next((row for row in self._live(account) if row["public_key"] == line), None)
        row = known or self._new(account, user_id, line)
        for instance in rentals:
            if instance.running and machines.keys(instance) == [line]:
                machines.restart(instance)
        return JSONResponse({"success": True, "key": _public(row)})

    def _new(self, account: str, user_id: int, line: str) -> dict[str, Any]:
        self._next_id += 1
        row = {
            "id": self._next_id,
            "account": account,
            "user_id": user_id,
            "public_key": line,
            "created_at": self.world.now().isoformat().replace("+00:00", "Z"),
            "deleted_at": None,
        }
        self.rows.append(row)
        return row

    def delete(self, account: str, key_id: int) -> Response:
        """Remove a key from the account; running rentals keep it.

        Raises:
            Refusal: 400, there is no such key.
        """
        row = self._find(account, key_id)
        if row is None:
            raise Refusal(400, "no_ssh_key", "SSH key not found")
        row["deleted_at"] = self.world.now().isoformat().replace("+00:00", "Z")
        return JSONResponse({"success": True})

    def _find(self, account: str, key_id: int) -> dict[str, Any] | None:
        return next((row for row in self._live(account) if row["id"] == key_id), None)

    # Keys of one rental.

    def show_of(self, instance: Instance, machines: Machines) -> Response:
        """The keys of one rental, as JSON in a text: so says the description."""
        rows = {row["public_key"]: _public(row) for row in self.rows}
        found = [rows.get(line, {"id": None, "public_key": line}) for line in machines.keys(instance)]
        return JSONResponse({"success": True, "ssh_keys": json.dumps(found)})

    def attach(self, instance: Instance, user_id: int, body: dict[str, Any], machines: Machines) -> Response:
        """Give one rental a key.

        Raises:
            Refusal: 400, that is no key, or it is a VM, whose keys are fixed.
        """
        line = _key_line(body)
        if instance.vm:
            raise Refusal(400, "invalid_request", "SSH keys of a VM cannot be changed")
        before = machines.keys(instance)
        instance.dropped_keys = [key for key in instance.dropped_keys if key != line]
        if line not in machines.keys(instance):
            instance.extra_keys.append(line)
        if not any(row["public_key"] == line for row in self.rows):
            # It gets an id to detach it by, and does not become one of the account's.
            self._new("", user_id, line)
        if instance.running and machines.keys(instance) != before:
            machines.restart(instance)
        return JSONResponse({"success": True, "msg": "SSH key attached successfully"})

    def detach(self, instance: Instance, key_id: int, machines: Machines) -> Response:
        """Take a key from one rental.

        Raises:
            Refusal: 404, it does not have that key.
        """
        line = next((row["public_key"] for row in self.rows if row["id"] == key_id), None)
        if line is None or line not in machines.keys(instance):
            raise Refusal(404, "no_such_ssh_key", "SSH key not found.")
        instance.extra_keys = [key for key in instance.extra_keys if key != line]
        instance.dropped_keys.append(line)
        if instance.running:
            machines.restart(instance)
        return JSONResponse({"success": True, "msg": "SSH key removed from instance."})

    def dump(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        return {"rows": self.rows, "next_id": self._next_id}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave."""
        self.rows = [dict(row) for row in state["rows"]]
        self._next_id = state["next_id"]


def _key_line(body: dict[str, Any]) -> str:
    line = body.get("ssh_key")
    text = line.replace("\0", "").strip() if isinstance(line, str) else ""
    if not _KEY_LINE.fullmatch(text):
        raise Refusal(400, "no_ssh_key", "No ssh key provided")
    return text


def _public(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if name != "account"}
    return shown | {"key": row["public_key"]}
