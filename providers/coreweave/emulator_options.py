"""The switches of the emulated CoreWeave cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Rights = Literal["admin", "edit", "none"]

#: What runs beside the API server. The recorded traces come from a server with a scheduler alone.
CONTROLLERS = frozenset(["scheduler", "kubelet", "services", "pools", "autoscaler", "quota", "gc"])


@dataclass(frozen=True, slots=True)
class User:
    """Who a token belongs to. ``edit`` may do everything in namespaces, and read nodes and node pools."""

    name: str
    rights: Rights = "admin"


@dataclass(slots=True)
class Options:
    """How this cluster is set up, and which way it takes where CoreWeave's documentation leaves two.

    Times are seconds as they usually are; all but `cluster_seed` may be changed while it runs, and all times are
    multiplied by the world's `boot_scale`.

    Attributes:
        token: the one API access token that is an administrator's.
        users: further tokens.
        bad_token: answer to an unknown token: ``forbidden`` 403 (CKS's gateway), ``unauthorized`` 401 (plain
            Kubernetes).
        controllers: which of `CONTROLLERS` run.
        managed: the value of the setting that lets an adapter change node pools.
        public_addresses: False where the VPC forbids public Services: they stay without an address for ever.
        page_limit: rows of a list whose caller asks for no limit; None: all of them.
        pull_s: from bound to started (image and volumes); ready_s: from started until port 22 answers.
        address_s: from the Service's create to its address.
        stop_s: from DELETE until the kubelet confirms, at most the Pod's grace period.
        pool_react_s: until the node pool controller acts on a change.
        node_s: shortest and longest time of adding a node.
        release_s: from the scale-down until an empty node is taken back.
        cancel_delivery: whether a smaller target calls back nodes that are still being added.
        collect_s: until the garbage collector removes an object whose owner is gone.
        autoscaler_s: how long a Pod is unschedulable before the cluster autoscaler looks at it.
        autoscaler_idle_s: how long a node is empty before the cluster autoscaler takes it away.
        unreachable_s: how long Pods stay on a node that is not ready; fixed by the tolerations they are given.
        replace_s: until CoreWeave takes a broken node out of the cluster.
        missing_images: patterns of image references that no registry has.
        spot_word: how `computeClass` spells spot; the documentation and one client differ.
        at_target: the condition that says whether a pool has its size: ``Ready``, before 2026 ``AtTarget``.
        in_progress: how `status` spells the nodes being added: ``inProgress`` or ``inProgressNodes``.
        clusters_key: the key of the list in CKS's answer: ``items`` or ``clusters``.
    """

    token: str = "CW-SECRET-sandbox"  # noqa: S105 - of the sandbox
    users: dict[str, User] = field(default_factory=dict)
    bad_token: Literal["forbidden", "unauthorized"] = "forbidden"  # noqa: S105 - no password
    controllers: frozenset[str] = CONTROLLERS
    managed: str = "true"
    public_addresses: bool = True
    page_limit: int | None = None
    pull_s: float = 25.0
    ready_s: float = 15.0
    address_s: float = 5.0
    stop_s: float = 5.0
    pool_react_s: float = 2.0
    node_s: tuple[float, float] = (300.0, 900.0)
    release_s: float = 60.0
    cancel_delivery: bool = True
    collect_s: float = 2.0
    autoscaler_s: float = 10.0
    autoscaler_idle_s: float = 600.0
    unreachable_s: float = 300.0
    replace_s: float = 900.0
    missing_images: tuple[str, ...] = ("*does-not-exist*", "*no-such-image*", "*nonexistent*")
    spot_word: str = "Spot"
    at_target: str = "Ready"
    in_progress: str = "inProgress"
    clusters_key: str = "items"

    def user(self, token: str) -> User | None:
        """Whose *token* it is, or None."""
        return User("admin") if token == self.token else self.users.get(token)
