"""AWS EC2 behind the provider contract: GPU machines, on demand and spot, zone by zone.

Three traps shape it. A full zone answers HTTP 500, which SDKs repeat by themselves, so theirs is off. A client token
only counts within one zone, so it names the zone, and a replay sends word for word what was resolved before. And what
was launched a moment ago may be unknown to every other call, so "not found" proves nothing for some minutes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

import msgspec

from providers.aws import checks, credentials, images, instances, market, network, offers, regions, request, userdata
from providers.aws.bulk import Bulk
from providers.aws.client import Client
from providers.aws.hardware import quota_bucket
from providers.base import (
    AttemptRef,
    Context,
    Facts,
    Instance,
    LaunchSpec,
    Listing,
    Offer,
    Provider,
    Query,
    Rate,
)
from providers.errors import (
    AuthFailed,
    Forbidden,
    OutcomeUnknown,
    ProviderError,
    Unavailable,
)
from providers.http import check_base_url

URL_SETTING = "ORCH_AWS_URL"
NOT_FOUND = "InvalidInstanceID.NotFound"
NOT_ENABLED = "AuthFailure"

FACTS = Facts(
    # "Seconds to minutes"; AWS says to look for up to about five minutes.
    consistency_s=300.0,
    accept_s=600.0,
    boot_s=600.0,
    # Per region: RunInstances (the verb launch; what goes before it is not counted) has a bucket of 5 that fills by
    # 2 a second, DescribeInstances with filters one of 100 that fills by 20.
    rates=(Rate(verbs=("launch",), spacing_s=0.5), Rate(verbs=("find", "owned", "terminate"), spacing_s=0.05)),
    page_size=1000,
    replayable_create=True,
    token_in="tags",  # noqa: S106 - where our mark is
    terminate_pending=True,
    dead_man="a shutdown timer in the machine; EC2 terminates a machine that shuts itself down",
    workloads=("vm", "bare-metal"),
    markets=("hyperscaler",),
    capabilities=frozenset(["image", "cmd", "env", "ports", "disk", "spot", "quota", "accept-then-fail"]),
    egress="100 GB a month free for the account, then 0.09 USD/GB and less in tiers (USA, most of Europe)",
)

T = TypeVar("T")


class Aws(Provider):
    """EC2's GPU machines.

    Settings: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, or `AWS_PROFILE` and the shared
    files under `HOME`; `AWS_REGION`; `ORCH_AWS_REGIONS`, `ORCH_AWS_SUBNETS`, `ORCH_AWS_URL`.

    Raises:
        MissingExtra: boto3 is not installed.
        BadUrl: `ORCH_AWS_URL` would send signed requests in the clear.
        BadRegion: a region cannot be one.
    """

    name = "aws"
    facts: ClassVar[Facts] = FACTS

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        settings = context.settings
        url = settings.get(URL_SETTING)
        self._url = check_base_url(url, URL_SETTING) if url else None
        self._regions = regions.searched(settings)
        self._home = regions.home(settings)
        self._subnets = settings.get(network.SUBNETS_SETTING, "").replace(",", " ").split()
        credentials.check_installed()
        self._client = Client(context, url=self._url, facts=FACTS, bulk=Bulk(context.env, self._url))
        self._account: str | None = None

    async def account(self) -> str:
        """AWS's account number, from STS: it needs no permission at all."""
        if self._account is None:
            answer = await self._client.call("sts", self._home, "get_caller_identity", verb="account")
            self._account = str(answer["Account"])
        return self._account

    async def offers(self, query: Query) -> Listing:
        """Every type with such a GPU in every zone of the searched regions, at live prices.

        Partial, with a note, where a region or a price list could not be read; no region at all raises.
        """
        missing = [market.NEVER[gpu] for gpu in query.gpus if gpu in market.NEVER]
        if not {"on-demand", "spot"} & set(query.pricing):
            return Listing([], note="rents on demand and spot only")
        if query.gpus and len(missing) == len(query.gpus):
            return Listing([], note="; ".join(missing))
        now = self.env.now()
        account, (read, notes) = await _both(self.account(), market.read(self._client, query, self._regions, now))
        found = offers.build(read, query, account=account, now=now)
        sold = {offer.gpu for offer in found}
        absent = [gpu for gpu in query.gpus if gpu not in sold and gpu not in market.NEVER]
        if absent:
            missing.append(f"rents no {', '.join(absent)} in {', '.join(self._regions)}")
        return Listing(found, partial=bool(notes), note="; ".join([*missing, *notes]))

    async def price(self, offer: Offer) -> Offer | None:
        """Whether the zone still sells that type, and its price now, each in one call."""
        region, zone, name = offers.place(offer)
        now = self.env.now()
        sold = market.zones_of(self._client, region, [name], verb="price")
        if offer.pricing == "spot":
            zones, spot = await _both(sold, market.spot(self._client, region, [name], now, verb="price"))
            usd = spot.get((name, zone))
        else:
            zones, listed = await _both(sold, market.hourly(self._client, [name], [region], verb="price"))
            usd = listed.get((name, region))
        if zone not in zones.get(name, set()) or (offer.pricing == "spot" and usd is None):
            return None
        return offers.requote(offer, usd, now)

    async def resolve(self, offer: Offer, spec: LaunchSpec) -> LaunchSpec:
        """Looks up image and subnet, and writes the user data: all that RunInstances is sent but the group.

        The group's id is not saved, because looking it up may mean to make it. A replay sends the same one all the
        same: if the first call had its effect, the machine uses the group, and AWS does not let it be deleted.
        """
        region, zone, _ = offers.place(offer)
        network.open_ports(spec.ports)
        image, subnet = await _both(
            images.resolve(self._client, region, arch=str(offer.native.get("arch") or "x86_64"), wanted=spec.image),
            network.subnet(self._client, region, zone, own=self._subnets),
        )
        native = {
            **spec.native,
            "image": image.id,
            "ssh_user": image.user,
            "root": image.root,
            "devices": " ".join(image.devices),
            "disk_gib": max(spec.disk_gib, image.least_gib),
            "subnet": subnet.id,
            "vpc": subnet.vpc,
            "user_data": userdata.document(spec, user=image.user),
        }
        return msgspec.structs.replace(spec, native=native)

    async def launch(self, offer: Offer, spec: LaunchSpec, token: str) -> Instance:
        """RunInstances, sent once. What it is refused for has left nothing behind."""
        if "user_data" not in spec.native:
            spec = await self.resolve(offer, spec)
        account = await self.account()
        region, _, name = offers.place(offer)
        bucket, _ = quota_bucket(name, offer.pricing)
        group = await self._group(region, spec)
        try:
            try:
                row = await self._run(region, offer, spec, token, group, bucket)
            except ProviderError as error:
                if error.code != "InvalidGroup.NotFound":
                    raise
                # Another machine's end took the unused group away in between: refused, so nothing was made.
                group = await self._group(region, spec)
                row = await self._run(region, offer, spec, token, group, bucket)
        except (OutcomeUnknown, Unavailable, AuthFailed):
            raise
        except ProviderError:
            await network.drop_group(self._client, region, group, verb="resolve")
            raise
        made = instances.read(
            row, account=account, region=region, seen_at=self.env.now(), token=token, user=_user(spec), created=True
        )
        return replace(made, owner=spec.owner, handle={**made.handle, "groups": group})

    async def find(self, attempt: AttemptRef) -> Instance | None:
        """By id once that is known, else by client token, in the offer's region."""
        region = (attempt.handle or {}).get("region") or offers.place(attempt.offer)[0]
        account = await self.account()
        if attempt.instance_id is not None:
            row = await self._row(region, attempt.instance_id, verb="find")
        else:
            zone = offers.place(attempt.offer)[1]
            made = request.client_token(attempt.token, zone)
            rows = await self._list(region, "find", {"Name": "client-token", "Values": [made]})
            row = instances.best(
                row for row in rows if instances.tags(row).get(request.OWNER_TAG) in (None, attempt.spec.owner)
            )
        if row is None:
            return None
        user = _user(attempt.spec)
        return instances.read(
            row, account=account, region=region, seen_at=self.env.now(), token=attempt.token, user=user
        )

    async def owned(self) -> list[Instance]:
        """Every machine with our full owner id that is not terminated, in all searched regions.

        A region that refuses the key while another one takes it is not enabled for the account: none of ours can be
        there. (`find` and `terminate` still fail there, so that nothing is ever called gone for that.)

        Raises:
            ProviderError: a region cannot be read for any other reason: half a list would look like the whole.
        """
        account = await self.account()
        filters = (
            {"Name": f"tag:{request.OWNER_TAG}", "Values": [self.context.owner]},
            {"Name": "instance-state-name", "Values": list(instances.ALIVE)},
        )
        results = await _together(market.tried(self._list(region, "owned", *filters)) for region in self._regions)
        failed = [one for one in results if isinstance(one, ProviderError)]
        closed = [one for one in failed if one.code == NOT_ENABLED]
        if failed and (len(closed) < len(failed) or len(closed) == len(results)):
            raise next((one for one in failed if one not in closed), failed[0])
        now = self.env.now()
        return [
            instances.read(row, account=account, region=region, seen_at=now)
            for region, rows in zip(self._regions, results, strict=True)
            for row in (rows if isinstance(rows, list) else [])
            if instances.is_ours(row, self.context.owner) and instances.state(row) != "terminated"
        ]

    async def terminate(self, instance: Instance) -> bool:
        """Look; if it is not ending, ask. True once EC2 says `terminated`: disk, interface and address go with it.

        Raises:
            Forbidden: it is another account's, so that not finding it proves nothing.
        """
        account = await self.account()
        region = instance.handle.get("region") or self._home
        row = await self._row(region, instance.id, verb="terminate")
        word = instances.state(row) if row is not None else ""
        if word not in ("terminated", "shutting-down"):
            word = await self._ask(region, instance.id)
        if word == "":
            if instance.account and instance.account != account:
                raise Forbidden(
                    f"{instance.id} belongs to account {instance.account}; the key now opens {account}",
                    code="other-account",
                    scope="account",
                )
            # Both calls do not know it: it is over for long, or so young that they do not know it yet.
            word = "" if row is not None or self._is_young(instance) else "terminated"
        if word != "terminated":
            return False
        for group in instance.handle.get("groups", "").split():
            await network.drop_group(self._client, region, group, verb="terminate")
        return True

    async def check(self) -> dict[str, str]:
        """Key, right to rent, quotas and clock."""
        account = await self.account()
        return {
            "account": account,
            "key": f"accepted ({credentials.source(self.context.settings)})",
            "regions": ", ".join(self._regions),
            **await checks.read(self._client, self._home, self.env),
        }

    async def aclose(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def _group(self, region: str, spec: LaunchSpec) -> str:
        vpc = str(spec.native["vpc"])
        return await network.ensure_group(self._client, region, vpc, owner=spec.owner, ports=spec.ports)

    async def _run(
        self, region: str, offer: Offer, spec: LaunchSpec, token: str, group: str, bucket: str
    ) -> dict[str, Any]:
        params = request.run_instances(offer, spec, token, group=group)
        answer = await self._client.call(
            "ec2", region, "run_instances", verb="launch", effect=True, bucket=bucket, **params
        )
        row = next((row for row in answer["Instances"] if row.get("InstanceId")), None)
        if row is None:
            raise OutcomeUnknown("AWS: launched, but the answer names no instance", code="malformed")
        return dict(row)

    async def _list(self, region: str, verb: str, *filters: dict[str, Any]) -> list[Any]:
        reservations = await self._client.pages(
            "ec2", region, "describe_instances", verb=verb, Filters=list(filters), MaxResults=FACTS.page_size
        )
        return list(instances.rows_of(reservations))

    async def _row(self, region: str, id_: str, *, verb: str) -> Any | None:
        """One instance as EC2 shows it, or None if it does not know it (yet, or any more)."""
        try:
            answer = await self._client.call("ec2", region, "describe_instances", verb=verb, InstanceIds=[id_])
        except ProviderError as error:
            if error.code == NOT_FOUND:
                return None
            raise
        return next((row for row in instances.rows_of(answer["Reservations"]) if row["InstanceId"] == id_), None)

    async def _ask(self, region: str, id_: str) -> str:
        """Ask for the end; the state that EC2 answers, or nothing if it does not know the instance."""
        try:
            # Repeatable by contract: a second one changes nothing.
            answer = await self._client.call("ec2", region, "terminate_instances", verb="terminate", InstanceIds=[id_])
        except ProviderError as error:
            if error.code == NOT_FOUND:
                return ""
            raise
        for row in answer["TerminatingInstances"]:
            if row.get("InstanceId") == id_:
                return instances.state(row, "CurrentState") or "unknown"
        raise Unavailable(f"AWS: the answer to TerminateInstances does not name {id_}", code="malformed")

    def _is_young(self, instance: Instance) -> bool:
        made = instances.made_at(instance.handle) or instance.created_at
        # Either way: the time of creation may come from a clock ahead of ours.
        return made is not None and abs(self.env.now() - made) < timedelta(seconds=FACTS.consistency_s)


def _user(spec: LaunchSpec) -> str:
    return str(spec.native.get("ssh_user") or images.USER)


async def _together(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results, or the first failure once no call is under way any more."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


S = TypeVar("S")


async def _both(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, S]) -> tuple[T, S]:
    """Both results at once, with the care of `_together`."""
    one, two = asyncio.ensure_future(first), asyncio.ensure_future(second)
    try:
        return await one, await two
    except BaseException:
        for task in (one, two):
            task.cancel()
        await asyncio.gather(one, two, return_exceptions=True)
        raise
