"""CoreWeave, and any Kubernetes cluster with GPU nodes, behind the provider contract: one Pod a lease.

What is for rent: idle GPUs of nodes that are there (`prepaid`), and with `ORCH_COREWEAVE_MANAGED` whole nodes that
are added for the lease and leave with it (`on-demand`, `spot`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from providers.base import AttemptRef, Context, Facts, Instance, LaunchSpec, Listing, Offer, Provider, Query
from providers.coreweave import checks, config, ending, manifests, targets
from providers.coreweave.client import Kube
from providers.coreweave.cluster import Cluster, Where
from providers.coreweave.launch import Launch
from providers.errors import Forbidden, InvalidRequest, ProviderError
from providers.http import skew_text

FACTS = Facts(
    # Reads after writes are consistent; a little for the network's sake.
    consistency_s=10.0,
    # A node takes 5 to 20 minutes to come, and its image is pulled then. Pods without a node to wait for fail
    # much sooner by themselves (`pods`).
    accept_s=3000.0,
    boot_s=600.0,
    rates=(),  # none documented; 429s of the API server's fairness are obeyed
    page_size=500,
    replayable_create=True,
    token_in="tags",  # noqa: S106 - where our mark is: in labels
    terminate_pending=True,
    dead_man="activeDeadlineSeconds ends the Pod; CoreWeave's autoscaler takes a node that was added for it",
    workloads=("container",),
    markets=("specialist", "own"),
    capabilities=frozenset(["image", "cmd", "env", "ports", "disk", "spot", "quota", "accept-then-fail"]),
    egress="free on CoreWeave, says the storage price page; other clusters: as configured",
)


class CoreWeave(Provider):
    """Pods on one or more clusters. Settings: see `config` and `targets`; all are read at first use."""

    name = "coreweave"
    facts = FACTS

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._clusters: list[Cluster] | None = None
        self._opening = asyncio.Lock()
        self._config: config.Config | None = None

    async def account(self) -> str:
        """Namespace and cluster id of every cluster in use; a context's name may change and is no part of it."""
        return (await self._open())[0].account

    async def offers(self, query: Query) -> Listing:
        """Every cluster's idle GPUs and addable nodes. Partial if one of several clusters failed."""
        clusters, settings = await self._open(), self._settings()
        answers = await asyncio.gather(
            *(each.market(query, settings, verb="offers", owner=self.context.owner) for each in clusters),
            return_exceptions=True,
        )
        found: list[Offer] = []
        notes: list[str] = []
        failed: list[ProviderError] = []
        for cluster, answer in zip(clusters, answers, strict=True):
            if isinstance(answer, ProviderError):
                failed.append(answer)
                notes.append(f"{cluster.name} not read: {answer}")
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found += answer[0]
                notes += [answer[1]] if answer[1] else []
        if failed and len(failed) == len(clusters):
            raise failed[0]
        if not found and query.gpus:
            notes.insert(0, f"rents no {', '.join(query.gpus)} here")
        return Listing(found, partial=bool(failed), note="; ".join(notes))

    async def price(self, offer: Offer) -> Offer | None:
        """Read that cluster again; None if nothing of that kind is there any more."""
        cluster = await self._cluster(offer.native)
        count = offer.gpu_count if offer.native.get("kind") == "idle" else 1
        query = Query(gpus=(offer.gpu,), count=count, pricing=(offer.pricing,))
        fresh, _ = await cluster.market(query, self._settings(), verb="price", owner=self.context.owner)
        for now in fresh:
            if now.offer_id == offer.offer_id:
                return msgspec.structs.replace(
                    offer,
                    usd_per_hour=now.usd_per_hour,
                    available=now.available,
                    available_count=now.available_count,
                    observed_at=now.observed_at,
                    native={**offer.native, **now.native},
                )
        return None

    async def launch(self, offer: Offer, spec: LaunchSpec, token: str) -> Instance:
        """Make Pod, Secret, Service and, for a whole node, its NodePool; then wait seconds for a first verdict.

        Kubernetes never refuses for lack of capacity: it accepts and says so afterwards. Most of that is known
        within seconds, and is a refused launch here: what was made is taken back before this raises.
        """
        cluster, settings = await self._cluster(offer.native), self._settings()
        if offer.native.get("kind") == "node" and not settings.managed:
            raise Forbidden(f"{config.MANAGED_SETTING} does not allow to add nodes", code="not-managed", scope="offer")
        return await Launch(cluster, offer, spec, token, settings).run()

    async def find(self, attempt: AttemptRef) -> Instance | None:
        """The attempt's Pod by its name; where that is gone, the NodePool that may still bill."""
        place = attempt.handle or attempt.offer.native
        cluster, owner = await self._cluster(place), attempt.spec.owner
        where = Where(str(place.get("namespace") or config.namespace(self.context.settings)), attempt.token)
        pod = await cluster.kube.find(where.pod, verb="find")
        if pod is not None and manifests.is_ours(pod, owner, attempt.token):
            return await cluster.instance(pod, self._settings(), owner=owner, full=True)
        if place.get("kind") != "node":
            return None
        pool = await cluster.kube.find(where.node_pool, verb="find")
        if pool is None or not manifests.is_ours(pool, owner, attempt.token):
            return None
        uid = (attempt.handle or {}).get("uid")
        return cluster.left_over(pool, where.namespace, owner=owner, uid=uid)

    async def owned(self) -> list[Instance]:
        """Every Pod of ours in every cluster, and NodePools and Services whose Pod is gone.

        Raises:
            ProviderError: a cluster could not be listed; `seen` holds what the others showed.
        """
        clusters, settings = await self._open(), self._settings()
        answers = await asyncio.gather(
            *(each.owned(settings, self.context.owner) for each in clusters), return_exceptions=True
        )
        found: list[Instance] = []
        failed: list[BaseException] = []
        for answer in answers:
            if isinstance(answer, BaseException):
                failed.append(answer)
            else:
                found += answer
        if failed:
            first = next((error for error in failed if not isinstance(error, ProviderError)), failed[0])
            if isinstance(first, ProviderError) and len(failed) < len(clusters):
                first.seen = tuple(found)
            raise first
        return found

    async def terminate(self, instance: Instance) -> bool:
        """Delete and look, until the Pod, its Service and Secret, and a node of its own are gone.

        Raises:
            Forbidden: it is in a cluster that these settings do not open, so not finding it would prove nothing.
        """
        if not instance.handle.get("name") or not instance.handle.get("namespace"):
            raise InvalidRequest(f"the handle of {instance.id} names no Pod", code="no-handle")
        return await ending.end(await self._cluster(instance.handle), instance.handle, self.context.owner)

    async def check(self) -> dict[str, str]:
        """Rights by SelfSubjectAccessReview, quotas, and the clock, for every cluster."""
        clusters, settings = await self._open(), self._settings()
        each = await asyncio.gather(*(checks.describe(cluster, settings) for cluster in clusters))
        found = {
            "account": clusters[0].account,
            "key": f"accepted ({', '.join(dict.fromkeys(one.kube.target.origin for one in clusters))})",
            "clusters": ", ".join(f"{one.name} ({one.kube.target.vendor_host})" for one in clusters),
            "clock_skew": skew_text(clusters[0].kube.clock_skew_s),
        }
        for key in ("rights", "quota", "managed", "fix"):
            told = [(cluster.name, one[key]) for cluster, one in zip(clusters, each, strict=True) if key in one]
            if told:
                lines = dict.fromkeys(text if len(clusters) == 1 else f"{name}: {text}" for name, text in told)
                found[key] = "; ".join(lines)
        return found

    async def aclose(self) -> None:
        """Close connections."""
        for cluster in self._clusters or ():
            await cluster.kube.aclose()
        self._clusters = None

    async def _open(self) -> list[Cluster]:
        """Every cluster, identified. All must answer once: an account that lacks one would prove absences."""
        async with self._opening:
            if self._clusters is None:
                found = await targets.targets(self.context)
                clusters = [Cluster(Kube(self.context, target, FACTS), self.env) for target in found]
                try:
                    ids = await asyncio.gather(*(cluster.identify() for cluster in clusters))
                except BaseException:
                    await asyncio.gather(*(cluster.kube.aclose() for cluster in clusters))
                    raise
                space = config.namespace(self.context.settings)
                account = "+".join(sorted({f"{space}@{uid}" for uid in ids}))
                for cluster in clusters:
                    cluster.account = account
                # Two contexts of one cluster are one cluster: listed twice, everything would be there twice.
                self._clusters = list({cluster.uid: cluster for cluster in reversed(clusters)}.values())[::-1]
                for cluster in clusters:
                    if cluster not in self._clusters:
                        await cluster.kube.aclose()
            return self._clusters

    async def _cluster(self, place: Mapping[str, Any]) -> Cluster:
        """The cluster that an offer or a handle names."""
        wanted = str(place.get("cluster") or "")
        for cluster in await self._open():
            if cluster.uid == wanted:
                return cluster
        if not wanted:
            raise InvalidRequest("the offer names no cluster", code="no-native")
        name = place.get("context") or wanted
        raise Forbidden(
            f"cluster {name} is not among those in use: name its context in {config.CONTEXT_SETTING}",
            code="other-cluster",
            scope="account",
        )

    def _settings(self) -> config.Config:
        if self._config is None:
            self._config = config.load(self.context.settings)
        return self._config
