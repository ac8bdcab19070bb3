"""An emulated EC2 instance from launch to oblivion: states, tokens, SSH, money."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError

import providers.aws.emulator_userdata as userdata
from tests.contract.aws_bench import KEY, L40S, USD, Bench, bench, refusal


@pytest.fixture
async def aws() -> AsyncIterator[Bench]:
    async with bench() as served:
        yield served


async def test_an_instance_boots_runs_ends_and_is_forgotten(aws: Bench) -> None:
    made = await aws.run(Placement={"AvailabilityZone": "us-east-1b"})
    key = made["InstanceId"]
    assert (made["State"], "PublicIpAddress" in made) == ({"Code": 0, "Name": "pending"}, False)
    assert made["Placement"]["AvailabilityZone"] == "us-east-1b"
    aws.env.advance(16)
    shown = await aws.get(key)
    assert shown["State"] == {"Code": 16, "Name": "running"}
    assert shown["PublicIpAddress"].startswith("198.1")
    [change] = (await aws.call("terminate_instances", InstanceIds=[key]))["TerminatingInstances"]
    assert (change["PreviousState"]["Name"], change["CurrentState"]["Name"]) == ("running", "shutting-down")
    aws.env.advance(31)
    shown = await aws.get(key)
    assert (shown["State"]["Name"], shown["StateReason"]["Code"]) == ("terminated", "Client.UserInitiatedShutdown")
    assert "PublicIpAddress" not in shown
    [again] = (await aws.call("terminate_instances", InstanceIds=[key]))["TerminatingInstances"]
    assert again["CurrentState"]["Name"] == "terminated"
    aws.env.advance(3600)
    assert await aws.listed() == []
    with pytest.raises(ClientError) as caught:
        await aws.call("terminate_instances", InstanceIds=[key])
    assert refusal(caught) == ("InvalidInstanceID.NotFound", 400)


async def test_an_instance_is_found_by_tag_token_and_state(aws: Bench) -> None:
    made = (await aws.run(ClientToken="one"))["InstanceId"]
    await aws.run(ClientToken="two")
    for name, value in (
        ("tag:Name", "box"),
        ("tag-key", "Name"),
        ("client-token", "one"),
        ("client-token", "on?"),
        ("instance-state-name", "pending"),
        ("instance-id", made),
        ("availability-zone", "us-east-1a"),
        ("instance-type", "g6e.*"),
    ):
        assert made in await aws.listed(Filters=[{"Name": name, "Values": ["nothing", value]}]), name
    assert await aws.listed(Filters=[{"Name": "client-token", "Values": ["one"]}]) == [made]
    assert await aws.listed(Filters=[{"Name": "tag:Name", "Values": ["bo"]}]) == []
    await aws.call("create_tags", Resources=[made], Tags=[{"Key": "orch-owner", "Value": "me"}])
    assert await aws.listed(Filters=[{"Name": "tag:orch-owner", "Values": ["me"]}]) == [made]
    tags = (await aws.call("describe_tags", Filters=[{"Name": "resource-id", "Values": [made]}]))["Tags"]
    assert {tag["Key"] for tag in tags} == {"Name", "orch-owner"}


async def test_lists_are_paged(aws: Bench) -> None:
    for _ in range(7):
        await aws.run()
    first = await aws.call("describe_instances", MaxResults=5)
    second = await aws.call("describe_instances", MaxResults=5, NextToken=first["NextToken"])
    ids = [one["InstanceId"] for page in (first, second) for r in page["Reservations"] for one in r["Instances"]]
    assert len(set(ids)) == 7
    assert "NextToken" not in second


async def test_the_same_token_makes_one_instance_and_tells_its_present_state(aws: Bench) -> None:
    first = await aws.run(ClientToken="t")
    aws.env.advance(20)
    again = await aws.run(ClientToken="t")
    assert (again["InstanceId"], again["State"]["Name"]) == (first["InstanceId"], "running")
    with pytest.raises(ClientError) as caught:
        await aws.run(ClientToken="t", InstanceType="g6e.2xlarge")
    assert refusal(caught) == ("IdempotentParameterMismatch", 400)
    assert len(aws.emulator.records()) == 1


async def test_a_token_holds_for_one_zone_only(aws: Bench) -> None:
    subnets = (await aws.call("describe_subnets"))["Subnets"]
    made = {
        (await aws.run(ClientToken="t", SubnetId=one["SubnetId"]))["InstanceId"] for one in (*subnets[:2], *subnets[:2])
    }
    made.add((await aws.run(ClientToken="t"))["InstanceId"])
    made.add((await aws.run("us-west-2", ClientToken="t"))["InstanceId"])
    assert len(made) == len(aws.emulator.records()) == 4


async def test_a_refused_launch_does_not_use_up_its_token(aws: Bench) -> None:
    aws.world.faults.add("sold_out")
    with pytest.raises(ClientError):
        await aws.run(ClientToken="t")
    assert (await aws.run(ClientToken="t", InstanceType="g6e.2xlarge"))["InstanceId"]


async def test_ssh_answers_the_key_of_user_data_if_the_group_lets_the_world_in(aws: Bench) -> None:
    made = await aws.running()
    assert aws.machines.running == {}
    open_one = await aws.running(SecurityGroupIds=[await aws.ssh_group()])
    [(key, machine)] = aws.machines.running.items()
    assert key == f"aws:{open_one}"
    assert (machine["user"], machine["port"], machine["gpu"]) == ("ubuntu", 22, "NVIDIA L40S")
    assert (machine["authorized_keys"], machine["count"], machine["memory_mib"]) == ([KEY], 1, 46068)
    assert machine["host"] == (await aws.get(open_one))["PublicIpAddress"]
    await aws.call("terminate_instances", InstanceIds=[open_one, made])
    assert aws.machines.running == {}


async def test_a_rule_that_comes_later_opens_the_way_too(aws: Bench) -> None:
    made = await aws.call("create_security_group", GroupName="late", Description="x")
    instance = await aws.running(SecurityGroupIds=[made["GroupId"]])
    rule = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    await aws.call("authorize_security_group_ingress", GroupId=made["GroupId"], IpPermissions=[rule])
    assert list(aws.machines.running) == [f"aws:{instance}"]


async def test_a_key_pair_gets_in_and_a_private_machine_has_no_address(aws: Bench) -> None:
    group = await aws.ssh_group()
    await aws.call("import_key_pair", KeyName="orch", PublicKeyMaterial=KEY.encode())
    await aws.running(KeyName="orch", UserData=None, SecurityGroupIds=[group])
    [machine] = aws.machines.running.values()
    assert machine["authorized_keys"] == [KEY]
    subnet = (await aws.call("describe_subnets"))["Subnets"][0]["SubnetId"]
    card = {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [group], "AssociatePublicIpAddress": False}
    private = await aws.running(NetworkInterfaces=[card])
    assert "PublicIpAddress" not in await aws.get(private)
    assert len(aws.machines.running) == 1
    assert aws.usd(private, "address") == 0


@pytest.mark.parametrize(
    "text",
    [
        f"#cloud-config\nssh_authorized_keys:\n- {KEY}\npackages: [x]\n",
        f'#cloud-config\nssh_authorized_keys: ["{KEY}"]\n',
        f'#cloud-config\n{{"ssh_authorized_keys": ["{KEY}"]}}\n',
        f"#cloud-config\nusers:\n  - name: ubuntu\n    ssh_authorized_keys:\n      - '{KEY}'\n",
        f"#!/bin/sh\necho '{KEY}' >> /home/ubuntu/.ssh/authorized_keys\n",
        f"#!/bin/sh\ncat >> ~ubuntu/.ssh/authorized_keys <<EOF\n{KEY}\nEOF\n",
        f"#!/bin/sh\necho {base64.b64encode(KEY.encode()).decode()} | base64 -d >> ~ubuntu/.ssh/authorized_keys\n",
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/cloud-config\n\n"
        f"#cloud-config\nssh_authorized_keys:\n  - {KEY}\n--b--\n",
    ],
)
def test_keys_are_read_out_of_all_usual_forms_of_user_data(text: str) -> None:
    assert userdata.authorized_keys(text.encode()) == [KEY]


@pytest.mark.parametrize(
    "text", ["", f"#!/bin/sh\n# {KEY}\n", f"#cloud-config\nssh_keys:\n  ed25519_public: {KEY}\n", "\x1f\x8bnonsense"]
)
def test_keys_that_are_for_something_else_do_not_get_in(text: str) -> None:
    assert userdata.authorized_keys(text.encode("latin-1")) == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("#!/bin/sh\nshutdown -h +60\n", 3600),
        ('#cloud-config\nruncmd:\n  - [shutdown, -P, "+90"]\n', 5400),
        ("#!/bin/sh\nsystemd-run --on-active=7200 /sbin/poweroff\n", 7200),
        ("#!/bin/sh\nsystemd-run --on-active=2h systemctl poweroff\n", 7200),
        ('#cloud-config\npower_state:\n  mode: poweroff\n  delay: "+30"\n', 1800),
        ('#cloud-config\nwrite_files: [{content: "OnCalendar=2026-11-22 14:00:00 UTC shutdown"}]\n', 7200),
        ("#!/bin/sh\necho hello\n", None),
    ],
)
def test_a_timed_shutdown_is_read_out_of_user_data(text: str, seconds: float | None) -> None:
    boot = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    assert userdata.switches_off_after(text.encode(), boot) == seconds


@pytest.mark.parametrize(("behaviour", "state"), [("terminate", "terminated"), ("stop", "stopped")])
async def test_a_machine_that_switches_itself_off_ends_or_stops(aws: Bench, behaviour: str, state: str) -> None:
    made = await aws.running(InstanceInitiatedShutdownBehavior=behaviour, UserData="#!/bin/sh\nshutdown -h +10\n")
    aws.env.advance(9 * 60)
    assert (await aws.get(made))["State"]["Name"] == "running"
    aws.env.advance(2 * 60)
    shown = await aws.get(made)
    assert (shown["State"]["Name"], shown["StateReason"]["Code"]) == (state, "Client.InstanceInitiatedShutdown")
    # Running from second 15 to second 675: the disk of a stopped machine bills on.
    assert aws.usd(made, "compute") == USD * 660 / 3600
    assert (made in aws.world.ledger.billing("aws")) == (state == "stopped")


async def test_money_runs_by_the_second_from_running_to_the_order_to_end(aws: Bench) -> None:
    made = (await aws.run())["InstanceId"]
    aws.env.advance(15 + 1000)
    await aws.call("terminate_instances", InstanceIds=[made])
    aws.env.advance(600)
    aws.emulator.advance()
    assert aws.usd(made, "compute") == USD * 1000 / 3600
    assert aws.usd(made, "address") == Decimal("0.005") * 1000 / 3600
    # The disk is there from the launch until the instance is terminated.
    assert aws.usd(made, "disk") == Decimal("0.08") * 45 / 730 * (15 + 1000 + 30) / 3600
    assert aws.world.ledger.billing("aws") == []


async def test_a_short_run_pays_a_minute_and_a_pending_one_no_compute(aws: Bench) -> None:
    short, never = (await aws.run())["InstanceId"], (await aws.run())["InstanceId"]
    aws.env.advance(5)
    await aws.call("terminate_instances", InstanceIds=[never])
    aws.env.advance(15)
    await aws.call("terminate_instances", InstanceIds=[short])
    assert aws.usd(short, "compute") == USD * 60 / 3600
    assert aws.usd(never, "compute") == 0


async def test_an_extra_disk_outlives_its_machine_unless_told_otherwise(aws: Bench) -> None:
    root = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 100, "VolumeType": "gp3"}}
    extra = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 10}}
    made = await aws.running(BlockDeviceMappings=[root, extra])
    [volume] = [v for v in (await aws.call("describe_volumes"))["Volumes"] if v["Size"] == 10]
    with pytest.raises(ClientError) as caught:
        await aws.call("delete_volume", VolumeId=volume["VolumeId"])
    assert refusal(caught) == ("VolumeInUse", 400)
    await aws.call("terminate_instances", InstanceIds=[made])
    aws.env.advance(31)
    [left] = (await aws.call("describe_volumes", Filters=[{"Name": "status", "Values": ["available"]}]))["Volumes"]
    assert (left["Size"], left["Attachments"]) == (10, [])
    assert aws.world.ledger.billing("aws") == [made]
    await aws.call("delete_volume", VolumeId=left["VolumeId"])
    assert aws.world.ledger.billing("aws") == []


async def test_a_machine_can_be_stopped_and_started(aws: Bench) -> None:
    made = await aws.running()
    address = (await aws.get(made))["PublicIpAddress"]
    await aws.call("stop_instances", InstanceIds=[made])
    aws.env.advance(31)
    assert (await aws.get(made))["State"]["Name"] == "stopped"
    before = aws.usd(made, "compute")
    aws.env.advance(3600)
    await aws.call("start_instances", InstanceIds=[made])
    aws.env.advance(80)
    shown = await aws.get(made)
    assert shown["State"]["Name"] == "running"
    assert shown["PublicIpAddress"] != address
    assert aws.usd(made, "compute") == before + USD * 65 / 3600


SPOT: dict[str, Any] = {
    "InstanceMarketOptions": {
        "MarketType": "spot",
        "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
    }
}


async def test_a_spot_instance_pays_the_spot_price_and_has_a_request(aws: Bench) -> None:
    zone = {"Placement": {"AvailabilityZone": "us-east-1a"}}
    made = await aws.running(InstanceType="g6e.2xlarge", **SPOT, **zone)
    shown = await aws.get(made)
    assert shown["InstanceLifecycle"] == "spot"
    [request] = (await aws.call("describe_spot_instance_requests"))["SpotInstanceRequests"]
    assert (request["InstanceId"], request["State"], request["Status"]["Code"]) == (made, "active", "fulfilled")
    assert request["SpotInstanceRequestId"] == shown["SpotInstanceRequestId"]
    assert aws.usd(made, "compute") == Decimal("0.81") * 61 / 3600
    await aws.call("cancel_spot_instance_requests", SpotInstanceRequestIds=[request["SpotInstanceRequestId"]])
    assert (await aws.get(made))["State"]["Name"] == "running"


async def test_status_checks_pass_once_ssh_is_up(aws: Bench) -> None:
    made = (await aws.run())["InstanceId"]
    aws.env.advance(20)
    [status] = (await aws.call("describe_instance_status", InstanceIds=[made]))["InstanceStatuses"]
    assert status["InstanceStatus"]["Status"] == "initializing"
    aws.env.advance(60)
    [status] = (await aws.call("describe_instance_status", InstanceIds=[made]))["InstanceStatuses"]
    assert status["SystemStatus"]["Status"] == "ok"
    console = (await aws.call("get_console_output", InstanceId=made))["Output"]
    assert "cloud-init" in console


async def test_several_are_launched_in_one_zone_as_many_as_fit(aws: Bench) -> None:
    aws.emulator.market.quotas["L-DB2E81BA"]["vcpus"] = 10
    answer = await aws.call("run_instances", **await aws.order(MinCount=1, MaxCount=5))
    assert len(answer["Instances"]) == 2
    assert len({one["Placement"]["AvailabilityZone"] for one in answer["Instances"]}) == 1
    assert [one["AmiLaunchIndex"] for one in answer["Instances"]] == [0, 1]


async def test_an_instant_fleet_walks_its_pools_and_tells_which_failed(aws: Bench) -> None:
    data = {"ImageId": await aws.image(), "UserData": base64.b64encode(b"#!/bin/sh\n").decode()}
    template = await aws.call("create_launch_template", LaunchTemplateName="t", LaunchTemplateData=data)
    spec = {"LaunchTemplateId": template["LaunchTemplate"]["LaunchTemplateId"], "Version": "$Default"}
    pools = [{"InstanceType": L40S, "AvailabilityZone": zone} for zone in ("us-east-1a", "us-east-1b")]
    given: dict[str, Any] = {
        "Type": "instant",
        "LaunchTemplateConfigs": [{"LaunchTemplateSpecification": spec, "Overrides": pools}],
        "TargetCapacitySpecification": {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "f"}]}],
    }
    aws.world.faults.add("sold_out", subject="us-east-1a", times=-1)
    answer = await aws.call("create_fleet", ClientToken="f1", **given)
    [error], [made] = answer["Errors"], answer["Instances"]
    assert (error["ErrorCode"], error["Lifecycle"]) == ("InsufficientInstanceCapacity", "on-demand")
    assert error["LaunchTemplateAndOverrides"]["Overrides"]["AvailabilityZone"] == "us-east-1a"
    assert (made["InstanceType"], made["AvailabilityZone"]) == (L40S, "us-east-1b")
    assert await aws.listed(Filters=[{"Name": "tag:Name", "Values": ["f"]}]) == made["InstanceIds"]
    again = await aws.call("create_fleet", ClientToken="f1", **given)
    assert again["Instances"][0]["InstanceIds"] == made["InstanceIds"]
    aws.world.faults.add("sold_out", times=-1)
    empty = await aws.call("create_fleet", ClientToken="f2", **given)
    assert (empty["Instances"], len(empty["Errors"])) == ([], 2)
    aws.world.faults.add("forbidden", verb="launch")
    with pytest.raises(ClientError) as caught:
        await aws.call("create_fleet", ClientToken="f3", **given)
    assert refusal(caught) == ("UnauthorizedOperation", 403)
