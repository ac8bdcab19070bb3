"""Addresses and ports of rentals, and the SSH servers behind them.

Sources: docs.vast.ai networking (ports of the machine's own address are mapped at random; an SSH proxy stands
beside them) and the official CLI (a Jupyter container's proxy port is one above the one that is shown).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from providers.sandbox.world import World
from providers.vast.emulator_instance import Instance
from providers.vast.emulator_market import Market

_KEY = re.compile(r"(?:ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/=]+(?: [\w@.-]+)?")
_FIRST_PORT, _LAST_PORT = 40000, 59999


class Machines:
    """Gives out addresses and starts SSH servers.

    Every address is one of the sandbox's, the proxy's too: the real proxies' host names would lead a client out
    of the sandbox. The server answers at the direct port, and at the proxy's only where there is no direct port.

    Args:
        account_keys: the public keys of an account.
    """

    def __init__(self, world: World, market: Market, account_keys: Callable[[str], list[str]]) -> None:
        self.world = world
        self.account_keys = account_keys
        self.proxy = world.address()
        self._addresses: dict[int, str] = {}
        for ask in market.asks.values():
            self.address(ask.machine_id)

    def address(self, machine_id: int) -> str:
        """The public address of a machine."""
        if machine_id not in self._addresses:
            self._addresses[machine_id] = self.world.address()
        return self._addresses[machine_id]

    def map_ports(self, instance: Instance, others: list[Instance]) -> None:
        """Give the instance's ports their numbers on the machine: other ones after every start."""
        same = [other for other in others if other.ask.machine_id == instance.ask.machine_id]
        used = {port for other in same for port in other.ports.values()}
        instance.ports = {}
        for inner, outer in instance.inner_ports():
            while outer is None or outer in used:
                outer = self.world.random.randint(_FIRST_PORT, _LAST_PORT)
            used.add(outer)
            instance.ports[inner] = outer

    def keys(self, instance: Instance) -> list[str]:
        """The public keys that its SSH server accepts. Those that `onstart` writes count, although it is not run."""
        script = instance.onstart or ""
        written = _KEY.findall(script) if "authorized_keys" in script else []
        known = [*self.account_keys(instance.account), *instance.extra_keys, *written]
        return [key for key in dict.fromkeys(known) if key not in instance.dropped_keys]

    def start(self, instance: Instance) -> None:
        """Let SSH answer for a running instance, if it has a way in at all. Nothing happens to one that answers."""
        way_in = self._way_in(instance)
        waiting = "ports" in instance.events or instance.stuck in ("no_ports", "no_ssh")
        if way_in is None or not instance.running or waiting:
            return
        device, memory_mib = instance.device or (instance.ask.model.device, instance.ask.model.device_mib)
        self.world.machines.start(
            f"vast:{instance.id}",
            host=way_in[0],
            port=way_in[1],
            user="root",
            authorized_keys=self.keys(instance),
            gpu=device,
            memory_mib=memory_mib,
            count=instance.ask.num_gpus,
            env=self._environment(instance),
        )

    def stop(self, instance: Instance) -> None:
        """Take the SSH server away."""
        self.world.machines.stop(f"vast:{instance.id}")

    def restart(self, instance: Instance) -> None:
        """Make a running SSH server take other keys; the sandbox's machines read them at their start only."""
        self.stop(instance)
        self.start(instance)

    def _way_in(self, instance: Instance) -> tuple[str, int] | None:
        if not instance.sshd:
            return None
        if "22/tcp" in instance.ports:
            return self.address(instance.ask.machine_id), instance.ports["22/tcp"]
        return self.proxy, instance.ssh_port + ("jupyter" in instance.runtype)

    def _environment(self, instance: Instance) -> dict[str, str]:
        """What a login sees: Vast's own variables, and the owner's only where `onstart` put them in a file for it."""
        own = {
            "CONTAINER_ID": str(instance.id),
            "CONTAINER_API_KEY": instance.own_key,
            "VAST_CONTAINERLABEL": f"C.{instance.id}",
            "PUBLIC_IPADDR": self.address(instance.ask.machine_id),
            "SSH_PUBLIC_KEY": "\n".join(self.keys(instance)),
        }
        for inner, outer in instance.ports.items():
            number, _, protocol = inner.partition("/")
            own[f"VAST_{protocol.upper()}_PORT_{number}"] = str(outer)
        exported = instance.variables() if "/etc/environment" in (instance.onstart or "") else {}
        return own | exported

    def dump(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        return {"proxy": self.proxy, "addresses": {str(key): value for key, value in self._addresses.items()}}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave."""
        self.proxy = state["proxy"]
        self._addresses = {int(key): value for key, value in state["addresses"].items()}
