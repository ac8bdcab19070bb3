"""The emulated AWS beside moto, an independent imitation of EC2: both must give the SDK the same answers.

Only what moto does well is compared; what it does unlike EC2 is listed in `test_aws_adapter_moto.py`.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.contract.aws_bench import Bench, bench, boto3

server = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[ec2,server]'")
#: moto, unlike this project's other tests, wants a key of the right length.
_BLOB = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20" + bytes(range(32))
KEY = f"ssh-ed25519 {base64.b64encode(_BLOB).decode()} orch"
pytestmark = pytest.mark.filterwarnings("ignore")


class Pair:
    """The same call at both."""

    def __init__(self, ours: Bench, theirs: Any) -> None:
        self.ours = ours
        self.theirs = theirs

    async def call(self, operation: str, **given: Any) -> list[Any]:
        """Both answers, ours first; an error is its code and status."""
        return [await self._one(self.ours.call, operation, given), await self._one(self._moto, operation, given)]

    async def _moto(self, operation: str, **given: Any) -> Any:
        return await asyncio.to_thread(getattr(self.theirs, operation), **given)

    async def _one(self, call: Any, operation: str, given: dict[str, Any]) -> Any:
        try:
            return await call(operation, **given)
        except ClientError as problem:
            return problem.response["Error"]["Code"], problem.response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.fixture
async def both() -> AsyncIterator[Pair]:
    moto = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    host, port = moto.get_host_and_port()
    client = boto3.client(
        "ec2",
        region_name="us-east-1",
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}, proxies={}),
    )
    try:
        async with bench() as served:
            yield Pair(served, client)
    finally:
        client.close()
        moto.stop()


@pytest.mark.parametrize("kind", ["g6e.xlarge", "g6.12xlarge", "g5.xlarge", "g4dn.xlarge", "p4d.24xlarge", "g6f.large"])
async def test_shapes_are_the_same(both: Pair, kind: str) -> None:
    ours, theirs = [one["InstanceTypes"][0] for one in await both.call("describe_instance_types", InstanceTypes=[kind])]
    for name in ("VCpuInfo", "MemoryInfo", "InstanceStorageInfo", "NetworkInfo"):
        common = ours[name].keys() & theirs[name].keys()
        assert common
        assert {key: ours[name][key] for key in common} == {key: theirs[name][key] for key in common}
    assert ours["GpuInfo"]["TotalGpuMemoryInMiB"] == theirs["GpuInfo"]["TotalGpuMemoryInMiB"]
    [gpu], [their_gpu] = ours["GpuInfo"]["Gpus"], theirs["GpuInfo"]["Gpus"]
    assert gpu == {key: their_gpu[key] for key in gpu}


async def test_offerings_are_the_same(both: Pair) -> None:
    given = {"LocationType": "availability-zone", "Filters": [{"Name": "instance-type", "Values": ["g6e.xlarge"]}]}
    ours, theirs = await both.call("describe_instance_type_offerings", **given)
    places = [{one["Location"] for one in answer["InstanceTypeOfferings"]} for answer in (ours, theirs)]
    assert places[0] == places[1]


@pytest.mark.parametrize(
    ("operation", "given"),
    [
        ("describe_instances", {"InstanceIds": ["i-0123456789abcdef0"]}),
        ("terminate_instances", {"InstanceIds": ["i-0123456789abcdef0"]}),
        ("describe_security_groups", {"GroupIds": ["sg-0123456789abcdef0"]}),
        ("describe_key_pairs", {"KeyNames": ["nobody"]}),
        ("describe_instance_types", {"InstanceTypes": ["g9.huge"]}),
        ("describe_volumes", {"VolumeIds": ["vol-0123456789abcdef0"]}),
        ("describe_subnets", {"SubnetIds": ["subnet-0123456789abcdef0"]}),
        ("delete_key_pair", {"KeyName": "nobody"}),
    ],
)
async def test_errors_have_the_same_code_and_status(both: Pair, operation: str, given: dict[str, Any]) -> None:
    ours, theirs = await both.call(operation, **given)
    assert isinstance(ours, tuple) == isinstance(theirs, tuple)
    assert not isinstance(ours, tuple) or ours == theirs


async def test_duplicates_are_refused_alike(both: Pair) -> None:
    for operation, given in (
        ("create_security_group", {"GroupName": "orch", "Description": "x"}),
        ("import_key_pair", {"KeyName": "orch", "PublicKeyMaterial": KEY.encode()}),
    ):
        await both.call(operation, **given)
        ours, theirs = await both.call(operation, **given)
        assert ours == theirs
        assert isinstance(ours, tuple)


async def test_an_instance_shows_the_same_elements(both: Pair) -> None:
    theirs_image = (await both._moto("describe_images", Owners=["amazon"]))["Images"][0]["ImageId"]
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "box"}]}]
    given = {"InstanceType": "g6e.xlarge", "MinCount": 1, "MaxCount": 1, "TagSpecifications": tags, "ClientToken": "t"}
    ours = (await both.ours.call("run_instances", ImageId=await both.ours.image(), **given))["Instances"][0]
    theirs = (await both._moto("run_instances", ImageId=theirs_image, **given))["Instances"][0]
    assert ours["State"] == theirs["State"]
    assert ours["Tags"] == theirs["Tags"]
    needed = {"InstanceId", "ImageId", "State", "InstanceType", "LaunchTime", "Placement", "SubnetId", "VpcId"}
    needed |= {"PrivateIpAddress", "ClientToken", "SecurityGroups", "Tags", "StateReason", "RootDeviceName"}
    for name in needed & theirs.keys():
        assert type(ours[name]) is type(theirs[name]), name
    assert needed - {"StateReason"} <= ours.keys()


async def test_a_dry_run_is_412_at_both(both: Pair) -> None:
    ours, theirs = await both.call("describe_instances", DryRun=True)
    assert ours == theirs == ("DryRunOperation", 412)
