"""A served AWS emulator with a clock that tests turn, driven by the real SDK, so that botocore reads every answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from providers.aws.emulator import AwsEmulator
from providers.aws.emulator_options import Options
from providers.env import ManualEnv
from providers.sandbox.serve import serving
from providers.sandbox.world import NoMachines, World

boto3 = pytest.importorskip("boto3", reason="boto3 is not installed: pip install 'gpu-orch[aws]'")
from botocore.config import Config  # noqa: E402
from botocore.exceptions import ClientError  # noqa: E402

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeKeyForTests0000000000000000000000 orch"
L40S = "g6e.xlarge"
#: us-east-1's on-demand price of L40S.
USD = Decimal("1.861")
CLOUD_CONFIG = f"#cloud-config\nssh_authorized_keys:\n  - {KEY}\n"

# One session: reading the service models is what takes time.
_SESSION = boto3.session.Session()


@dataclass
class Bench:
    """The world, the emulator in it, and the SDK's clients."""

    env: ManualEnv
    world: World
    machines: NoMachines
    emulator: AwsEmulator
    url: str
    settings: dict[str, str]
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict)

    def client(self, service: str, region: str = "us-east-1", **credentials: str) -> Any:
        """The SDK's client for a service in a region, which tries once."""
        keys = {
            "aws_access_key_id": self.settings["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": self.settings["AWS_SECRET_ACCESS_KEY"],
        } | credentials
        config = Config(retries={"total_max_attempts": 1}, proxies={})
        return _SESSION.client(service, region_name=region, endpoint_url=self.url, config=config, **keys)

    async def call(self, operation: str, *, service: str = "ec2", region: str = "us-east-1", **given: Any) -> Any:
        """Call an operation; the parsed answer.

        Raises:
            ClientError: the answer is an error.
        """
        key = (service, region)
        if key not in self._clients:
            self._clients[key] = self.client(service, region)
        return await asyncio.to_thread(getattr(self._clients[key], operation), **given)

    async def image(self, region: str = "us-east-1") -> str:
        """The Ubuntu GPU image."""
        name = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"
        found = await self.call("get_parameter", service="ssm", region=region, Name=name)
        value: str = found["Parameter"]["Value"]
        return value

    async def order(self, region: str = "us-east-1", **changes: Any) -> dict[str, Any]:
        """Parameters of a RunInstances."""
        base = {
            "ImageId": await self.image(region),
            "InstanceType": L40S,
            "MinCount": 1,
            "MaxCount": 1,
            "UserData": CLOUD_CONFIG,
            "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "box"}]}],
        }
        return {key: value for key, value in {**base, **changes}.items() if value is not None}

    async def run(self, region: str = "us-east-1", **changes: Any) -> dict[str, Any]:
        """Launch one instance; its entry in the answer."""
        answer = await self.call("run_instances", region=region, **await self.order(region, **changes))
        instance: dict[str, Any] = answer["Instances"][0]
        return instance

    async def ssh_group(self) -> str:
        """A security group that lets the world in at port 22."""
        made = await self.call("create_security_group", GroupName="orch", Description="ssh")
        rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        await self.call("authorize_security_group_ingress", GroupId=made["GroupId"], IpPermissions=[rule])
        group: str = made["GroupId"]
        return group

    async def running(self, **changes: Any) -> str:
        """Launch one instance and let its boot pass."""
        made = (await self.run(**changes))["InstanceId"]
        self.env.advance(76)
        self.emulator.advance()
        return str(made)

    async def get(self, instance: str) -> dict[str, Any]:
        """One instance as DescribeInstances shows it."""
        answer = await self.call("describe_instances", InstanceIds=[instance])
        [reservation] = answer["Reservations"]
        [found] = reservation["Instances"]
        return dict(found)

    async def listed(self, **given: Any) -> list[str]:
        """The ids of a DescribeInstances."""
        answer = await self.call("describe_instances", **given)
        return [one["InstanceId"] for group in answer["Reservations"] for one in group["Instances"]]

    def usd(self, instance: str, what: str) -> Decimal:
        """What the ledger holds for one of an instance's lines."""
        lines = [line for line in self.world.ledger.of("aws", instance) if line.what == what]
        return sum((line.usd(self.env.now().timestamp()) for line in lines), Decimal(0))


@contextlib.asynccontextmanager
async def bench(options: Options | None = None, *, boot_scale: float = 1.0) -> AsyncIterator[Bench]:
    """Serve a fresh emulator with the market file beside it."""
    env, machines = ManualEnv(), NoMachines()
    world = World(env, machines=machines, boot_scale=boot_scale)
    emulator = AwsEmulator(world, options)
    async with serving(world) as base:
        settings = emulator.environment(f"{base}/aws")
        served = Bench(env, world, machines, emulator, settings["ORCH_AWS_URL"], settings)
        try:
            yield served
        finally:
            for client in served._clients.values():
                client.close()


def refusal(caught: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    """Code and HTTP status as botocore read them."""
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]
