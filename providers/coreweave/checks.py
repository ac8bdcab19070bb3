"""What `orch providers check` shows of one cluster: rights verb by verb, quotas, and what to do."""

from __future__ import annotations

import asyncio
from typing import Any

from providers.coreweave.client import path
from providers.coreweave.cluster import Cluster
from providers.coreweave.config import MANAGED_SETTING, Config
from providers.coreweave.nodes import condition, part
from providers.coreweave.pools import type_of
from providers.errors import ProviderError

POOL_GROUP = "compute.coreweave.com"

#: In our namespace: without these nothing can be rented and ended.
NEEDED = (
    *(("pods", verb) for verb in ("create", "get", "list", "delete")),
    *(("services", verb) for verb in ("create", "get", "list", "delete")),
    *(("secrets", verb) for verb in ("create", "get", "delete")),
)
#: Without these less is known.
USEFUL = (("pods/log", "get"), ("events", "list"), ("configmaps", "get"), ("resourcequotas", "list"))
#: For the whole cluster: what is idle, and whether a node is lost.
CLUSTER_WIDE = (("nodes", "list"), ("nodes", "get"), ("pods", "list"))
POOLS = ("list", "get", "create", "patch", "delete")


async def rights(cluster: Cluster, config: Config) -> tuple[list[str], list[str]]:
    """Rights that are missing: those that are needed, and those that would be useful."""

    async def ask(resource: str, verb: str, group: str = "", namespace: str = "") -> str | None:
        if await cluster.kube.allowed(verb, resource, group=group, namespace=namespace):
            return None
        return f"{verb} {resource}" + ("" if namespace else " (cluster)")

    needed = [ask(resource, verb, "", config.namespace) for resource, verb in NEEDED]
    needed += [ask("nodes", "list")]
    if config.managed:
        needed += [ask("nodepools", verb, POOL_GROUP) for verb in POOLS]
    useful = [ask(resource, verb, "", config.namespace) for resource, verb in USEFUL]
    useful += [ask(resource, verb) for resource, verb in CLUSTER_WIDE[1:]]
    missing = await asyncio.gather(*needed)
    lacking = await asyncio.gather(*useful)
    return [word for word in missing if word], [word for word in lacking if word]


async def quota(cluster: Cluster, config: Config) -> str:
    """Quotas of the namespace, and what CoreWeave says of NodePools; in words."""
    said: list[str] = []
    try:
        for item in await cluster.kube.items(path(config.namespace, "resourcequotas"), verb="account"):
            said += _limits(item)
    except ProviderError as error:
        if error.code not in ("rbac", "forbidden-unclear", "NotFound"):
            raise
        said.append("ResourceQuotas may not be listed")
    for pool in await cluster.node_pools(verb="account") or ():
        states = [condition(pool, name) or {} for name in ("Quota", "Capacity")]
        words = "/".join(str(row.get("reason") or row.get("status") or "?") for row in states)
        said.append(f"NodePool {pool['metadata']['name']} ({type_of(pool) or '?'}): {words}")
    return "; ".join(said) or "no quota in the namespace, no NodePools to be seen"


async def describe(cluster: Cluster, config: Config) -> dict[str, str]:
    """One cluster's findings; `fix` only where something must be done."""
    (missing, lacking), limits = await asyncio.gather(rights(cluster, config), quota(cluster, config))
    words = "may do all that is needed"
    if missing:
        words = f"may not {', '.join(missing)}"
    if lacking:
        words += f"; less is known without: {', '.join(lacking)}"
    found = {"rights": words, "quota": limits, "managed": _managed(config)}
    if missing:
        pool_words = " (NodePools need the role CKS Admin)" if any("nodepools" in word for word in missing) else ""
        found["fix"] = f"let the token {', '.join(missing)} in {config.namespace} on {cluster.name}{pool_words}"
    return found


def _managed(config: Config) -> str:
    if config.managed:
        return f"NodePools may be made, at most {config.max_nodes} nodes"
    return f"off: only idle GPUs are offered; {MANAGED_SETTING}=1 also rents whole nodes"


def _limits(item: dict[str, Any]) -> list[str]:
    status = part(item, "status")
    hard, used = part(status, "hard"), part(status, "used")
    name = item["metadata"]["name"]
    return [f"{name}: {used.get(key, '?')} of {limit} {key}" for key, limit in hard.items()]
