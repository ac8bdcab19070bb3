"""What lies around the emulated Google Cloud's machines: the network `default`, and firewall rules."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from providers.gcp.emulator_instance import Instance
from providers.gcp.emulator_options import Options
from providers.gcp.emulator_wire import Refusal, exists, invalid, last, link, missing, number_of, stamp
from providers.sandbox.world import World

Rule = dict[str, Any]
NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_SSH = [{"IPProtocol": "tcp", "ports": ["22"]}]
_PROTOCOLS = {"tcp", "udp", "icmp", "esp", "ah", "sctp", "ipip", "all"}


class Network:
    """One network with its rules; rules are kept as answers show them."""

    def __init__(self, world: World, options: Options) -> None:
        self.world = world
        self.options = options
        self.rules: dict[str, Rule] = {}
        if options.default_ssh:
            body = {"name": "default-allow-ssh", "priority": 65534, "sourceRanges": ["0.0.0.0/0"], "allowed": _SSH}
            self._keep(body, description="Allow SSH from anywhere")

    def add(self, body: Rule) -> Rule:
        """A new rule.

        Raises:
            Refusal: it breaks a rule, or there is one of that name.
        """
        check(body)
        path = self.path(body["name"])
        if body["name"] in self.rules:
            raise exists(path)
        return self._keep(body, description=str(body.get("description", "")))

    def change(self, name: str, body: Rule) -> Rule:
        """Overwrite some fields of a rule."""
        found = self.rule(name)
        merged = {**found, **body, "name": found["name"]}
        check(merged)
        self.rules[found["name"]] = merged
        return merged

    def remove(self, name: str) -> Rule:
        """Delete a rule."""
        return self.rules.pop(self.rule(name)["name"])

    def rule(self, name: str) -> Rule:
        """A rule by name or id.

        Raises:
            Refusal: there is none.
        """
        for rule in self.rules.values():
            if name in (rule["name"], rule["id"]):
                return rule
        raise missing(self.path(name))

    def lets_in(self, instance: Instance, port: int) -> bool:
        """Whether the whole world reaches a TCP port: the highest priority decides, and a denial before a leave."""
        fitting = [rule for rule in self.rules.values() if self._fits(rule, instance) and _names(rule, port)]
        return bool(fitting) and "allowed" in min(fitting, key=lambda rule: (rule["priority"], "allowed" in rule))

    def _fits(self, rule: Rule, instance: Instance) -> bool:
        tags = rule.get("targetTags")
        return (
            rule["direction"] == "INGRESS"
            and not rule.get("disabled")
            and last(rule["network"]) == instance.network
            and "0.0.0.0/0" in rule.get("sourceRanges", ())
            and (not tags or bool(set(tags) & set(instance.tags)))
            and not rule.get("targetServiceAccounts")
        )

    def path(self, name: str) -> str:
        """The path of a rule."""
        return f"projects/{self.options.project}/global/firewalls/{name}"

    def _keep(self, body: Rule, *, description: str) -> Rule:
        name = body["name"]
        project = self.options.project
        rule: Rule = {
            "kind": "compute#firewall",
            "id": number_of("firewall", name, self.world.letters(6)),
            "creationTimestamp": stamp(self.world.now()),
            "name": name,
            "description": description,
            "network": link(f"projects/{project}/global/networks/{last(str(body.get('network', 'default')))}"),
            "priority": body.get("priority", 1000),
            "direction": body.get("direction", "INGRESS"),
            "disabled": body.get("disabled", False),
            "logConfig": {"enable": False},
            "selfLink": link(self.path(name)),
        }
        lists = ("sourceRanges", "destinationRanges", "sourceTags", "targetTags", "allowed", "denied")
        rule |= {key: body[key] for key in lists if body.get(key)}
        if rule["direction"] == "INGRESS" and not ({"sourceRanges", "sourceTags"} & rule.keys()):
            rule["sourceRanges"] = ["0.0.0.0/0"]
        self.rules[name] = rule
        return rule

    def views(self) -> list[dict[str, Any]]:
        """The networks."""
        path = f"projects/{self.options.project}/global/networks/default"
        return [
            {
                "kind": "compute#network",
                "id": number_of("network", "default"),
                "creationTimestamp": stamp(datetime.fromisoformat("2025-01-15T09:00:00+00:00")),
                "name": "default",
                "description": "Default network for the project",
                "selfLink": link(path),
                "selfLinkWithId": link(
                    f"projects/{self.options.project}/global/networks/{number_of('network', 'default')}"
                ),
                "autoCreateSubnetworks": True,
                "mtu": 1460,
                "routingConfig": {"routingMode": "REGIONAL"},
                "networkFirewallPolicyEnforcementOrder": "AFTER_CLASSIC_FIREWALL",
            }
        ]

    def dump(self) -> list[Rule]:
        """The rules, ready for JSON."""
        return list(self.rules.values())

    def load(self, state: list[Rule]) -> None:
        """Take over what `dump` gave."""
        self.rules = {rule["name"]: rule for rule in state}


def check(body: Rule) -> None:
    """A rule's body.

    Raises:
        Refusal: it breaks a rule.
    """
    name = body.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise invalid("resource.name", name, "Must be a match of regex '(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)'")
    if last(str(body.get("network", "default"))) != "default":
        raise missing(f"global/networks/{last(str(body['network']))}")
    if bool(body.get("allowed")) == bool(body.get("denied")):
        raise Refusal(400, "required", "Exactly one of 'resource.allowed' and 'resource.denied' must be specified.")
    for entry in _entries(body):
        _check_entry(entry)
    for text in body.get("sourceRanges", ()):
        try:
            ipaddress.ip_network(text)
        except ValueError:
            raise invalid("resource.sourceRanges", text, "Must be a CIDR address range.") from None
    for tag in [*body.get("targetTags", ()), *body.get("sourceTags", ())]:
        if not NAME.fullmatch(str(tag)):
            raise invalid("resource.targetTags", tag, "Must be a match of regex '[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?'")
    priority = body.get("priority", 1000)
    if not isinstance(priority, int) or not 0 <= priority <= 65535:
        raise invalid("resource.priority", priority, "Must be between 0 and 65535.")


def _check_entry(entry: Any) -> None:
    protocol = entry.get("IPProtocol") if isinstance(entry, dict) else None
    if not isinstance(protocol, str) or not (protocol in _PROTOCOLS or protocol.isdecimal()):
        raise invalid("resource.allowed[0].IPProtocol", protocol, "Unknown protocol.")
    for ports in entry.get("ports", ()):
        if not isinstance(ports, str) or not re.fullmatch(r"\d{1,5}(-\d{1,5})?", ports):
            raise invalid("resource.allowed[0].ports[0]", ports, "Must be a port or a range of ports.")


def _entries(rule: Rule) -> Iterator[Any]:
    yield from rule.get("allowed") or rule.get("denied") or ()


def _names(rule: Rule, port: int) -> bool:
    for entry in _entries(rule):
        if entry["IPProtocol"] == "all" or (entry["IPProtocol"] in ("tcp", "6") and not entry.get("ports")):
            return True
        for ports in entry.get("ports", ()) if entry["IPProtocol"] in ("tcp", "6") else ():
            low, _, high = ports.partition("-")
            if int(low) <= port <= int(high or low):
                return True
    return False
