"""From a saved spec to RunInstances: what is looked up before, what is sent, and what is left behind."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from providers import errors, naming
from providers.aws import images, network, request, userdata
from providers.aws.adapter import Aws
from providers.base import Context, LaunchSpec, Offer, Phase
from tests.unit.aws.conftest import ACCOUNT, LEASE, OTHER_OWNER, OWNER, TOKEN
from tests.unit.aws.wire import Answer, Asked, Wire, instance, items, json_refused, refused, said, tag_set, xml

PARAMETER = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"
AMI = "ami-0abc12345"


def image(
    id_: str = AMI, *, name: str = "Deep Learning (Ubuntu 22.04) 1", size: int = 75, created: str = "2026"
) -> str:
    ebs = f"<deviceName>/dev/sda1</deviceName><ebs><volumeSize>{size}</volumeSize></ebs>"
    data = "<deviceName>/dev/sdf</deviceName><ebs><volumeSize>500</volumeSize></ebs>"
    ephemeral = "<deviceName>/dev/sdb</deviceName><virtualName>ephemeral0</virtualName>"
    return (
        f"<imageId>{id_}</imageId><name>{name}</name><creationDate>{created}</creationDate>"
        f"<rootDeviceName>/dev/sda1</rootDeviceName>{items('blockDeviceMapping', ebs, data, ephemeral)}"
    )


def subnet(id_: str, zone: str, free: int = 100) -> str:
    return (
        f"<subnetId>{id_}</subnetId><vpcId>vpc-0c</vpcId><availabilityZone>{zone}</availabilityZone>"
        f"<availableIpAddressCount>{free}</availableIpAddressCount>"
    )


def group(id_: str = "sg-0b", *, rules: bool = True) -> str:
    rule = items("ipPermissions", "<ipProtocol>tcp</ipProtocol><fromPort>22</fromPort><toPort>22</toPort>")
    return f"<groupId>{id_}</groupId><groupName>{network.group_name(OWNER, ())}</groupName>{rule if rules else ''}"


def groups(*found: str) -> Answer:
    return xml("DescribeSecurityGroups", items("securityGroupInfo", *found))


@pytest.fixture
def ready(wire: Wire) -> Wire:
    """An account in which a launch works; there is no group yet."""
    wire.on("GetParameter", said({"Parameter": {"Name": PARAMETER, "Value": AMI}}))
    wire.on("DescribeImages", xml("DescribeImages", items("imagesSet", image())))
    subnets = items("subnetSet", subnet("subnet-b", "us-east-1b"), subnet("subnet-a", "us-east-1a"))
    wire.on("DescribeSubnets", xml("DescribeSubnets", subnets))
    wire.on("DescribeSecurityGroups", groups())
    wire.on("CreateSecurityGroup", xml("CreateSecurityGroup", "<return>true</return><groupId>sg-0b</groupId>"))
    wire.on("AuthorizeSecurityGroupIngress", xml("AuthorizeSecurityGroupIngress", "<return>true</return>"))
    wire.on("DeleteSecurityGroup", xml("DeleteSecurityGroup", "<return>true</return>"))
    wire.on("RunInstances", xml("RunInstances", items("instancesSet", instance())))
    return wire


# -- resolve ----------------------------------------------------------------------------------------------


async def test_resolving_makes_nothing_and_gives_the_same_spec_twice(
    aws: Aws, ready: Wire, offer: Offer, spec: LaunchSpec
) -> None:
    first = await aws.resolve(offer, spec)
    assert {one.action for one in ready.asked} == {"GetParameter", "DescribeImages", "DescribeSubnets"}
    assert first.native["image"] == AMI
    assert (first.native["subnet"], first.native["vpc"]) == ("subnet-a", "vpc-0c")
    assert first.native["disk_gib"] == 75  # what the image needs is more than was asked
    assert first.native["devices"] == "/dev/sda1 /dev/sdf"
    assert await aws.resolve(offer, spec) == first == await aws.resolve(offer, first)
    assert msgspec.json.decode(msgspec.json.encode(first), type=LaunchSpec) == first


async def test_a_resolved_spec_is_launched_without_looking_anything_up_again(
    aws: Aws, ready: Wire, offer: Offer, spec: LaunchSpec
) -> None:
    resolved = await aws.resolve(offer, spec)
    ready.on("GetParameter", said({"Parameter": {"Value": "ami-0fffffff"}}))
    await aws.launch(offer, resolved, TOKEN)
    assert ready.of("RunInstances")[0].params["ImageId"] == AMI
    assert len(ready.of("GetParameter")) == 1


async def test_the_newest_of_awss_images_stands_in_where_ssm_does_not_answer(
    aws: Aws, ready: Wire, offer: Offer, spec: LaunchSpec
) -> None:
    ready.on("GetParameter", json_refused("AccessDeniedException"))

    def search(asked: Asked) -> Answer:
        if "ImageId.1" in asked.params:
            return xml("DescribeImages", items("imagesSet", image(asked.params["ImageId.1"])))
        assert asked.params["Owner.1"] == images.OWNER
        old, new = image("ami-0aaaaaaa", created="2026-01-01"), image("ami-0bbbbbbb", created="2026-11-01")
        return xml("DescribeImages", items("imagesSet", new, old))

    ready.on("DescribeImages", search)
    assert (await aws.resolve(offer, spec)).native["image"] == "ami-0bbbbbbb"


async def test_an_image_that_says_nothing_of_itself_has_the_documented_layout(
    aws: Aws, ready: Wire, offer: Offer, spec: LaunchSpec
) -> None:
    ready.on("DescribeImages", refused("UnauthorizedOperation", 403))
    native = (await aws.resolve(offer, spec)).native
    assert (native["root"], native["devices"], native["disk_gib"], native["ssh_user"]) == (
        "/dev/sda1",
        "/dev/sda1",
        50,
        "ubuntu",
    )


async def test_an_image_of_ones_own_must_be_there(aws: Aws, ready: Wire, offer: Offer, spec: LaunchSpec) -> None:
    own = msgspec.structs.replace(spec, image="ami-0123456789abcdef0")
    ready.on("DescribeImages", refused("InvalidAMIID.NotFound", 400))
    with pytest.raises(errors.OfferGone):
        await aws.resolve(offer, own)
    with pytest.raises(errors.InvalidRequest):
        await aws.resolve(offer, msgspec.structs.replace(spec, image="pytorch/pytorch:latest"))


@pytest.mark.parametrize(
    ("name", "user"),
    [("Deep Learning (Ubuntu 22.04)", "ubuntu"), ("al2023-ami-2023", "ec2-user"), ("debian-13-amd64", "admin")],
)
def test_whom_ssh_logs_in_as_follows_the_image(name: str, user: str) -> None:
    assert images.read({"Name": name, "RootDeviceName": "/dev/sda1"}, AMI).user == user


async def test_a_zone_without_a_subnet_and_a_region_without_any_are_told_apart(
    aws: Aws, ready: Wire, offer: Offer, spec: LaunchSpec
) -> None:
    ready.on("DescribeSubnets", xml("DescribeSubnets", items("subnetSet", subnet("subnet-b", "us-east-1b"))))
    with pytest.raises(errors.NoCapacity) as caught:
        await aws.resolve(offer, spec)
    assert caught.value.scope == "zone"
    ready.on("DescribeSubnets", xml("DescribeSubnets", items("subnetSet")))
    with pytest.raises(errors.Forbidden) as none:
        await aws.resolve(offer, spec)
    assert none.value.scope == "region"


async def test_subnets_of_ones_own_are_used_where_named(
    context: Context, ready: Wire, offer: Offer, spec: LaunchSpec
) -> None:
    settings = {**context.settings, "ORCH_AWS_SUBNETS": "subnet-x, subnet-y"}
    aws = Aws(Context(env=context.env, settings=settings, owner=OWNER))
    try:
        await aws.resolve(offer, spec)
    finally:
        await aws.aclose()
    asked = ready.of("DescribeSubnets")[0].params
    assert (asked["Filter.1.Name"], asked["Filter.1.Value.1"], asked["Filter.1.Value.2"]) == (
        "subnet-id",
        "subnet-x",
        "subnet-y",
    )


# -- what is sent -----------------------------------------------------------------------------------------


async def test_a_launch_sends_everything_that_makes_it_findable_and_leaves_nothing_behind(
    aws: Aws, ready: Wire, offer: Offer, spec: LaunchSpec
) -> None:
    made = await aws.launch(offer, await aws.resolve(offer, spec), TOKEN)
    sent = ready.of("RunInstances")[0].params
    assert (sent["InstanceType"], sent["MinCount"], sent["MaxCount"]) == ("g6e.xlarge", "1", "1")
    assert sent["ClientToken"] == f"{TOKEN}-us-east-1a"
    assert sent["NetworkInterface.1.SubnetId"] == "subnet-a"
    assert sent["NetworkInterface.1.SecurityGroupId.1"] == "sg-0b"
    assert sent["NetworkInterface.1.AssociatePublicIpAddress"] == "true"
    assert sent["NetworkInterface.1.DeleteOnTermination"] == "true"
    assert sent["BlockDeviceMapping.1.Ebs.VolumeSize"] == "75"
    assert sent["BlockDeviceMapping.1.Ebs.VolumeType"] == "gp3"
    for number in (1, 2):
        assert sent[f"BlockDeviceMapping.{number}.Ebs.DeleteOnTermination"] == "true"
    assert sent["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert sent["MetadataOptions.HttpTokens"] == "required"
    # Beside an interface these are refused; a key pair would be left behind; spot was not asked for.
    assert not {"SubnetId", "SecurityGroupId.1", "KeyName", "InstanceMarketOptions.MarketType"} & set(sent)
    mark = {"Name": TOKEN, "orch-owner": OWNER, "orch-lease": LEASE, "orch-token": TOKEN}
    assert _tags(sent) == {"instance": mark, "volume": mark, "network-interface": mark}
    assert (made.id, made.account, made.token, made.owner) == ("i-0123456789abcdef0", ACCOUNT, TOKEN, OWNER)
    assert made.phase is Phase.PENDING
    assert (made.handle["region"], made.handle["groups"]) == ("us-east-1", "sg-0b")
    assert all(isinstance(value, str) for value in made.handle.values())


def _tags(sent: dict[str, Any]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for n in range(1, 6):
        kind = sent.get(f"TagSpecification.{n}.ResourceType")
        if kind:
            at = f"TagSpecification.{n}.Tag"
            found[kind] = {sent[f"{at}.{i}.Key"]: sent[f"{at}.{i}.Value"] for i in range(1, 5)}
    return found


async def test_spot_is_one_time_capped_and_tagged(aws: Aws, ready: Wire, offer: Offer, spec: LaunchSpec) -> None:
    spot = msgspec.structs.replace(offer, pricing="spot")
    cheap = msgspec.structs.replace(spec, max_usd_per_hour=Decimal("0.93"))
    await aws.launch(spot, await aws.resolve(spot, cheap), TOKEN)
    sent = ready.of("RunInstances")[0].params
    options = "InstanceMarketOptions.SpotOptions"
    assert sent["InstanceMarketOptions.MarketType"] == "spot"
    assert sent[f"{options}.SpotInstanceType"] == "one-time"
    assert sent[f"{options}.InstanceInterruptionBehavior"] == "terminate"
    assert sent[f"{options}.MaxPrice"] == "0.9486"
    assert "spot-instances-request" in _tags(sent)


@pytest.mark.parametrize("zone", ["us-east-1a", "ap-northeast-1d", "us-east-1-wl1-nyc-wlz-1"])
def test_the_client_token_names_attempt_and_zone_in_at_most_64_characters(zone: str) -> None:
    made = request.client_token(TOKEN, zone)
    assert made.startswith(TOKEN)
    assert made.endswith(zone)
    assert len(made) <= 64
    assert made.isascii()


def test_tokens_differ_by_zone_and_by_attempt() -> None:
    second = naming.make(OWNER, LEASE, 2)
    pairs = [(token, zone) for token in (TOKEN, second) for zone in ("us-east-1a", "us-east-1b")]
    assert len({request.client_token(*pair) for pair in pairs}) == 4


def test_a_token_that_would_not_fit_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(errors.InvalidRequest):
        request.client_token(TOKEN, "z" * 60)


async def test_a_quota_is_named_after_family_and_market(
    aws: Aws, ready: Wire, offer: Offer, resolved: LaunchSpec
) -> None:
    ready.on("RunInstances", refused("VcpuLimitExceeded", 400, "your current vCPU limit of 0"))
    with pytest.raises(errors.QuotaExceeded) as caught:
        await aws.launch(offer, resolved, TOKEN)
    assert caught.value.bucket == "G and VT vCPUs, on-demand"
    big = msgspec.structs.replace(
        offer, pricing="spot", native={**offer.native, "instance_type": "p5.48xlarge"}, instance_type="p5.48xlarge"
    )
    with pytest.raises(errors.QuotaExceeded) as other:
        await aws.launch(big, resolved, TOKEN)
    assert other.value.bucket == "P vCPUs, spot"


async def test_a_token_used_with_other_parameters_is_looked_for(
    aws: Aws, ready: Wire, offer: Offer, resolved: LaunchSpec
) -> None:
    ready.on("RunInstances", refused("IdempotentParameterMismatch", 400))
    with pytest.raises(errors.OutcomeUnknown):
        await aws.launch(offer, resolved, TOKEN)
    assert not ready.of("DeleteSecurityGroup")


# -- the security group -----------------------------------------------------------------------------------


async def test_the_group_is_made_once_with_its_rule_and_used_again(
    aws: Aws, ready: Wire, offer: Offer, resolved: LaunchSpec
) -> None:
    await aws.launch(offer, resolved, TOKEN)
    [made] = ready.of("CreateSecurityGroup")
    assert made.params["GroupName"] == network.group_name(OWNER, ())
    assert made.params["VpcId"] == "vpc-0c"
    [rule] = ready.of("AuthorizeSecurityGroupIngress")
    assert (rule.params["IpPermissions.1.FromPort"], rule.params["IpPermissions.1.ToPort"]) == ("22", "22")
    ready.on("DescribeSecurityGroups", groups(group()))
    await aws.launch(offer, resolved, TOKEN)
    assert len(ready.of("CreateSecurityGroup")) == len(ready.of("AuthorizeSecurityGroupIngress")) == 1


async def test_a_group_that_somebody_made_in_between_is_used(
    aws: Aws, ready: Wire, offer: Offer, resolved: LaunchSpec
) -> None:
    ready.on("DescribeSecurityGroups", groups(), groups(group("sg-other")))
    ready.on("CreateSecurityGroup", refused("InvalidGroup.Duplicate", 400))
    await aws.launch(offer, resolved, TOKEN)
    assert ready.of("RunInstances")[0].params["NetworkInterface.1.SecurityGroupId.1"] == "sg-other"


async def test_a_group_without_its_rule_is_completed_and_a_rule_that_is_there_is_fine(
    aws: Aws, ready: Wire, offer: Offer, resolved: LaunchSpec
) -> None:
    ready.on("DescribeSecurityGroups", groups(group(rules=False)))
    ready.on("AuthorizeSecurityGroupIngress", refused("InvalidPermission.Duplicate", 400))
    await aws.launch(offer, resolved, TOKEN)
    assert len(ready.of("AuthorizeSecurityGroupIngress")) == 1


async def test_a_rule_whose_answer_is_a_proxys_page_is_not_believed(
    aws: Aws, ready: Wire, offer: Offer, resolved: LaunchSpec
) -> None:
    ready.on("AuthorizeSecurityGroupIngress", Answer("<html><body>ok</body></html>"))
    with pytest.raises(errors.Unavailable):
        await aws.launch(offer, resolved, TOKEN)
    assert not ready.of("RunInstances")


async def test_a_group_that_vanished_under_a_launch_is_made_anew(
    aws: Aws, ready: Wire, offer: Offer, resolved: LaunchSpec
) -> None:
    ready.on("DescribeSecurityGroups", groups(group("sg-gone")), groups())
    done = xml("RunInstances", items("instancesSet", instance()))
    ready.on("RunInstances", refused("InvalidGroup.NotFound", 400), done)
    made = await aws.launch(offer, resolved, TOKEN)
    used = [one.params["NetworkInterface.1.SecurityGroupId.1"] for one in ready.of("RunInstances")]
    assert used == ["sg-gone", "sg-0b"]
    assert made.handle["groups"] == "sg-0b"


async def test_a_refused_launch_takes_its_group_away_unless_others_use_it(
    aws: Aws, ready: Wire, offer: Offer, resolved: LaunchSpec
) -> None:
    ready.on("RunInstances", refused("InsufficientInstanceCapacity", 500))
    with pytest.raises(errors.NoCapacity):
        await aws.launch(offer, resolved, TOKEN)
    assert [one.params["GroupId"] for one in ready.of("DeleteSecurityGroup")] == ["sg-0b"]
    ready.on("DeleteSecurityGroup", refused("DependencyViolation", 400))
    with pytest.raises(errors.NoCapacity):
        await aws.launch(offer, resolved, TOKEN)


def test_groups_differ_by_owner_and_ports_and_never_by_order() -> None:
    assert network.group_name(OWNER, ()) == network.group_name(OWNER, ("22/tcp",))
    assert network.group_name(OWNER, ()) != network.group_name(OTHER_OWNER, ())
    both = network.group_name(OWNER, ("8080/http", "9000/tcp"))
    assert both == network.group_name(OWNER, ("9000/tcp", "8080/tcp"))
    assert both != network.group_name(OWNER, ())
    assert network.open_ports(["53/udp", "8080/http"]) == [("tcp", 22), ("tcp", 8080), ("udp", 53)]


@pytest.mark.parametrize("port", ["8080", "0/tcp", "65536/tcp", "-1/tcp", "80/icmp", "٣/tcp", ""])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        network.open_ports([port])


# -- user data --------------------------------------------------------------------------------------------


def read(text: str) -> dict[str, Any]:
    first, _, rest = text.partition("\n")
    assert first == "#cloud-config"
    document: dict[str, Any] = json.loads(rest)
    return document


async def test_the_key_travels_in_the_user_data(aws: Aws, ready: Wire, offer: Offer, spec: LaunchSpec) -> None:
    await aws.launch(offer, await aws.resolve(offer, spec), TOKEN)
    sent = base64.b64decode(ready.of("RunInstances")[0].params["UserData"]).decode()
    assert read(sent) == {"ssh_authorized_keys": ["ssh-ed25519 AAAA orch"]}


def test_the_dead_man_timer_shuts_down_at_the_end_in_utc(spec: LaunchSpec) -> None:
    ends = datetime(2026, 11, 22, 15, 30, tzinfo=timezone(timedelta(hours=1)))
    document = read(userdata.document(msgspec.structs.replace(spec, ends_at=ends), user="ubuntu"))
    files = {file["path"].rpartition("/")[2]: file["content"] for file in document["write_files"]}
    assert "OnCalendar=2026-11-22 14:30:00 UTC\n" in files["orch-end.timer"]
    assert "Persistent=true" in files["orch-end.timer"]
    assert "shutdown -P now" in files["orch-end.service"]
    assert ["systemctl", "enable", "--now", "orch-end.timer"] in document["runcmd"]


def test_without_an_end_there_is_no_timer(spec: LaunchSpec) -> None:
    assert "shutdown" not in userdata.document(spec, user="ubuntu")


def test_command_and_environment_are_quoted_for_any_shell(spec: LaunchSpec) -> None:
    full = msgspec.structs.replace(spec, cmd='echo "$A" && it\'s', env={"A": "x 'y'", "B": "$(boom)"})
    document = read(userdata.document(full, user="ubuntu"))
    files = {file["path"]: file["content"] for file in document["write_files"]}
    assert files["/opt/orch/cmd"] == full.cmd + "\n" if full.cmd else False
    assert "export B='$(boom)'" in files["/etc/profile.d/orch.sh"]
    assert document["runcmd"] == [
        ["systemd-run", "--unit=orch-cmd", "--uid=ubuntu", "bash", "-lc", "cd ~; exec bash /opt/orch/cmd"]
    ]


def test_user_data_is_the_same_every_time_and_fits(spec: LaunchSpec) -> None:
    ends = datetime(2026, 11, 22, 15, 30, tzinfo=UTC)
    one = msgspec.structs.replace(spec, env={"B": "2", "A": "1"}, cmd="x", ends_at=ends)
    other = msgspec.structs.replace(spec, env={"A": "1", "B": "2"}, cmd="x", ends_at=ends)
    assert userdata.document(one, user="u") == userdata.document(other, user="u")
    with pytest.raises(errors.InvalidRequest):
        userdata.document(msgspec.structs.replace(spec, cmd="x" * 17_000), user="u")
    with pytest.raises(errors.InvalidRequest):
        userdata.document(msgspec.structs.replace(spec, env={"A=B": "1"}), user="u")


def test_the_name_of_a_tag_never_begins_with_what_aws_reserves(spec: LaunchSpec) -> None:
    for key, value in request.tags(spec, TOKEN).items():
        assert not key.lower().startswith("aws:")
        assert len(key) <= 128
        assert len(value) <= 256
    assert tag_set(a_b="c").startswith("<tagSet>")
