"""What `orch providers check` asks of AWS: the right to rent, quotas, the clock. Each may stay unknown."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

from providers.aws import images
from providers.aws.client import Client
from providers.aws.hardware import quota_bucket
from providers.env import Env
from providers.errors import ProviderError

#: The smallest type with a whole GPU; a dry run starts none.
_TYPE = "g4dn.xlarge"
_SOME_IMAGE = "ami-00000000000000000"


async def read(client: Client, region: str, env: Env) -> dict[str, str]:
    """Lines for people, about *region*."""
    return {
        "rights": await _rights(client, region),
        **{name: await _quota(client, region, way) for name, way in _QUOTAS.items()},
        "clock_skew": await _skew(client, region, env),
    }


_QUOTAS = {
    "quota G, on-demand": ("g6e.xlarge", "on-demand"),
    "quota P, on-demand": ("p5.48xlarge", "on-demand"),
    "quota G, spot": ("g6e.xlarge", "spot"),
}


async def _rights(client: Client, region: str) -> str:
    """A dry run of RunInstances: refused with `DryRunOperation` if it would have been allowed."""
    try:
        image = await images.resolve(client, region, arch="x86_64", wanted=None)
    except ProviderError:
        image = images.Image(_SOME_IMAGE)
    try:
        await client.call(
            "ec2",
            region,
            "run_instances",
            verb="account",
            DryRun=True,
            ImageId=image.id,
            InstanceType=_TYPE,
            MinCount=1,
            MaxCount=1,
        )
    except ProviderError as error:
        if error.code == "DryRunOperation":
            return f"may rent in {region}"
        if error.code == "UnauthorizedOperation":
            return f"may not rent in {region}: see the IAM policy in docs/providers/aws.md"
        return f"unknown ({error.code})"
    return "unknown"


async def _quota(client: Client, region: str, way: tuple[str, str]) -> str:
    name, code = quota_bucket(*way)
    try:
        answer = await client.call(
            "service-quotas", region, "get_service_quota", verb="account", ServiceCode="ec2", QuotaCode=code
        )
    except ProviderError:
        return "unknown"
    quota = answer["Quota"]
    value = quota.get("Value") if isinstance(quota, dict) else None
    return f"{value:g} {name} in {region}" if isinstance(value, int | float) else "unknown"


async def _skew(client: Client, region: str, env: Env) -> str:
    asked_at = env.now()
    try:
        answer: dict[str, Any] = await client.call("sts", region, "get_caller_identity", verb="account")
    except ProviderError:
        return "unknown"
    text = str(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", ""))
    try:
        server = parsedate_to_datetime(text)
    except ValueError:
        return "unknown"
    return "unknown" if server.tzinfo is None else f"{(asked_at - server).total_seconds():.0f} s"
