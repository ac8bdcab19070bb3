"""The emulated Lambda Cloud's SSH keys: they belong to the account, and a launch names one of them.

A second key of one name is refused (clients say so); the same public key under two names is not.
"""

from __future__ import annotations

import base64
from typing import Any

from providers.lambda_cloud.emulator_options import Options
from providers.lambda_cloud.emulator_refusals import Refusal
from providers.lambda_cloud.emulator_rules import check_key
from providers.sandbox.world import World


class KeyRing:
    """The keys, by id, each as the wire shows it."""

    def __init__(self, world: World, options: Options) -> None:
        self.world = world
        self.options = options
        self._keys: dict[str, dict[str, str]] = {}

    def listed(self) -> list[dict[str, str]]:
        """All keys, oldest first."""
        return [dict(key) for key in self._keys.values()]

    def public_key(self, name: str) -> str | None:
        """The public key of that name."""
        return next((key["public_key"] for key in self._keys.values() if key["name"] == name), None)

    def add(self, body: dict[str, Any]) -> dict[str, str]:
        """Store a key, or make a pair; then the private key is in the answer, and nowhere else.

        Raises:
            Refusal: the body breaks a rule, or the name is taken.
        """
        name, public = check_key(body)
        if self.public_key(name) is not None:
            raise Refusal(self.options.duplicate_key_code, f"There is an SSH key named {name} already.", status=400)
        secret = {}
        if public is None:
            public, private = _new_pair(name)
            secret = {"private_key": private}
        key = {"id": self.world.letters(32, "0123456789abcdef"), "name": name, "public_key": public}
        self._keys[key["id"]] = key
        return key | secret

    def delete(self, key_id: str) -> None:
        """Forget a key; machines that have it keep it.

        Raises:
            Refusal: there is no such key.
        """
        if self._keys.pop(key_id, None) is None:
            raise Refusal("global/not-found")

    def dump(self) -> list[dict[str, str]]:
        """The keys, ready for JSON."""
        return self.listed()

    def load(self, state: list[dict[str, str]]) -> None:
        """Take over what `dump` gave."""
        self._keys = {key["id"]: dict(key) for key in state}


def _new_pair(comment: str) -> tuple[str, str]:
    """A public key line and its private key in OpenSSH's format."""
    from providers.sandbox.sshd import new_host_key  # slow to import, and seldom needed

    private = new_host_key()
    raw = base64.b64decode("".join(private.strip().splitlines()[1:-1]))
    # The format: a magic word, three strings (cipher, key derivation, its options), a count, the public key.
    at = len(b"openssh-key-v1\0")
    for _ in range(3):
        at += 4 + int.from_bytes(raw[at : at + 4])
    at += 4
    blob = raw[at + 4 : at + 4 + int.from_bytes(raw[at : at + 4])]
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} {comment}", private
