"""What the emulated AWS refuses, and everything that can be made to go wrong there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from providers.aws.emulator import AwsEmulator
from providers.aws.emulator_options import Options
from providers.env import ManualEnv
from providers.sandbox.world import NoMachines, World
from tests.contract.aws_bench import KEY, L40S, Bench, bench, refusal

SPOT: dict[str, Any] = {"InstanceMarketOptions": {"MarketType": "spot"}}


@pytest.fixture
async def aws() -> AsyncIterator[Bench]:
    async with bench() as served:
        yield served


CARD = {"DeviceIndex": 0, "AssociatePublicIpAddress": True}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"InstanceType": "g9.huge"}, "InvalidParameterValue"),
        ({"ImageId": "ami-00000000000000000"}, "InvalidAMIID.NotFound"),
        ({"ImageId": "x"}, "InvalidAMIID.Malformed"),
        ({"KeyName": "nobody"}, "InvalidKeyPair.NotFound"),
        ({"SubnetId": "subnet-0"}, "InvalidSubnetID.NotFound"),
        ({"SecurityGroupIds": ["sg-0"]}, "InvalidGroup.NotFound"),
        ({"Placement": {"AvailabilityZone": "us-east-1z"}}, "InvalidParameterValue"),
        ({"Placement": {"AvailabilityZone": "us-east-1f"}}, "Unsupported"),
        ({"MinCount": 2}, "InvalidParameterValue"),
        ({"ClientToken": "x" * 65}, "InvalidParameterValue"),
        ({"UserData": "x" * 16385}, "InvalidUserData.Malformed"),
        ({"NetworkInterfaces": [CARD], "SecurityGroupIds": ["sg-0"]}, "InvalidParameterCombination"),
        ({"NetworkInterfaces": [CARD], "SubnetId": "subnet-0"}, "InvalidParameterCombination"),
        ({"NetworkInterfaces": [CARD, {"DeviceIndex": 1}]}, "InvalidParameterCombination"),
        ({"BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8}}]}, "InvalidBlockDeviceMapping"),
        ({"IamInstanceProfile": {"Name": "nobody"}}, "InvalidParameterValue"),
        ({"InstanceMarketOptions": {"MarketType": "capacity-block"}}, "Unsupported"),
        (
            {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.01"}}},
            "SpotMaxPriceTooLow",
        ),
        (
            {"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "aws:x", "Value": ""}]}]},
            "InvalidParameterValue",
        ),
    ],
)
async def test_a_request_that_breaks_a_rule_is_refused(aws: Bench, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as caught:
        await aws.run(**changes)
    assert refusal(caught) == (code, 400)
    assert aws.emulator.records() == []


async def test_a_dry_run_succeeds_with_412_and_makes_nothing(aws: Bench) -> None:
    with pytest.raises(ClientError) as caught:
        await aws.run(DryRun=True)
    assert refusal(caught) == ("DryRunOperation", 412)
    assert aws.emulator.records() == []


@pytest.mark.parametrize(
    ("instance", "code"),
    [("i-00000000000000000", "InvalidInstanceID.NotFound"), ("i-nonsense", "InvalidInstanceID.Malformed")],
)
@pytest.mark.parametrize("operation", ["describe_instances", "terminate_instances"])
async def test_an_instance_that_is_not_there(aws: Bench, operation: str, instance: str, code: str) -> None:
    made = (await aws.run())["InstanceId"]
    with pytest.raises(ClientError) as caught:
        await aws.call(operation, InstanceIds=[made, instance])
    assert refusal(caught) == (code, 400)
    assert (await aws.get(made))["State"]["Name"] == "pending"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"Filters": [{"Name": "colour", "Values": ["x"]}]}, "InvalidParameterValue"),
        ({"MaxResults": 4}, "InvalidParameterValue"),
        ({"NextToken": "x"}, "InvalidNextToken"),
        ({"InstanceIds": ["i-00000000000000000"], "MaxResults": 5}, "InvalidParameterCombination"),
    ],
)
async def test_a_list_that_is_asked_for_in_a_wrong_way(aws: Bench, given: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as caught:
        await aws.call("describe_instances", **given)
    assert refusal(caught) == (code, 400)


@pytest.mark.parametrize("subject", ["", "L40S", L40S, "us-east-1a", "us-east-1a on-demand"])
async def test_no_capacity_is_http_500_and_names_the_zone(aws: Bench, subject: str) -> None:
    aws.world.faults.add("sold_out", "aws", subject=subject)
    with pytest.raises(ClientError) as caught:
        await aws.run(Placement={"AvailabilityZone": "us-east-1a"})
    assert refusal(caught) == ("InsufficientInstanceCapacity", 500)
    assert "(us-east-1a)" in caught.value.response["Error"]["Message"]
    assert aws.emulator.records() == []
    await aws.run(Placement={"AvailabilityZone": "us-east-1a"})


async def test_stock_runs_out_by_itself_and_spot_has_its_own(aws: Bench) -> None:
    given = {"Placement": {"AvailabilityZone": "us-east-1a"}, "MinCount": 24, "MaxCount": 24}
    await aws.run(**given)
    with pytest.raises(ClientError) as caught:
        await aws.run(Placement=given["Placement"])
    assert refusal(caught) == ("InsufficientInstanceCapacity", 500)
    await aws.run(Placement=given["Placement"], **SPOT)
    # Without a zone AWS takes one that has some left.
    assert (await aws.run())["Placement"]["AvailabilityZone"] == "us-east-1b"


async def test_a_type_that_is_gone_is_not_offered_in_that_zone_any_more(aws: Bench) -> None:
    aws.world.faults.add("gone", subject=f"{L40S} us-east-1a")
    with pytest.raises(ClientError) as caught:
        await aws.run(Placement={"AvailabilityZone": "us-east-1a"})
    assert refusal(caught) == ("Unsupported", 400)
    rule = [{"Name": "instance-type", "Values": [L40S]}]
    rows = await aws.call("describe_instance_type_offerings", LocationType="availability-zone", Filters=rule)
    assert {one["Location"] for one in rows["InstanceTypeOfferings"]} == {f"us-east-1{x}" for x in "bcd"}
    assert (await aws.run())["Placement"]["AvailabilityZone"] == "us-east-1b"


@pytest.mark.parametrize(
    ("kind", "changes", "args", "expected"),
    [
        ("quota", {}, {}, ("VcpuLimitExceeded", 400)),
        ("quota", SPOT, {}, ("MaxSpotInstanceCountExceeded", 400)),
        ("no_money", {}, {}, ("Blocked", 400)),
        ("forbidden", {}, {}, ("UnauthorizedOperation", 403)),
        ("bad_key", {}, {}, ("AuthFailure", 401)),
        ("unknown_code", {}, {}, ("CapacityLedgerMismatch", 400)),
        ("unknown_code", {}, {"code": "Odd.Thing", "status": 418}, ("Odd.Thing", 418)),
        ("rate_limit", {}, {}, ("RequestLimitExceeded", 503)),
        ("error_before", {}, {}, ("InternalError", 500)),
    ],
)
async def test_a_launch_is_refused_for_other_reasons(
    aws: Bench, kind: str, changes: dict[str, Any], args: dict[str, Any], expected: tuple[str, int]
) -> None:
    order = await aws.order(**changes)
    aws.world.faults.add(kind, "aws", verb="launch", **args)
    with pytest.raises(ClientError) as caught:
        await aws.call("run_instances", **order)
    assert refusal(caught) == expected
    assert aws.emulator.records() == []
    await aws.call("run_instances", **order)


async def test_quotas_are_counted_in_vcpus_by_market(aws: Bench) -> None:
    aws.emulator.market.quotas["L-DB2E81BA"]["vcpus"] = 7
    await aws.run()
    with pytest.raises(ClientError) as caught:
        await aws.run()
    assert refusal(caught) == ("VcpuLimitExceeded", 400)
    assert "limit of 7" in caught.value.response["Error"]["Message"]
    await aws.run(**SPOT)
    await aws.run("us-west-2")


async def test_the_json_services_have_their_own_words_for_limits_and_breakdowns(aws: Bench) -> None:
    for kind, expected in (
        ("rate_limit", ("ThrottlingException", 400)),
        ("error_before", ("InternalServerError", 500)),
    ):
        aws.world.faults.add(kind, verb="other")
        with pytest.raises(ClientError) as caught:
            await aws.image()
        assert refusal(caught) == expected


@pytest.mark.parametrize("code", ["Server.InsufficientInstanceCapacity", "Server.InternalError"])
async def test_an_accepted_launch_can_fail_and_costs_no_compute(aws: Bench, code: str) -> None:
    aws.world.faults.add("fail_after_accept", code=code)
    made = await aws.running()
    shown = await aws.get(made)
    assert (shown["State"]["Name"], shown["StateReason"]["Code"]) == ("terminated", code)
    assert aws.usd(made, "compute") == 0
    assert aws.world.ledger.billing("aws") == []


@pytest.mark.parametrize(("args", "state"), [({}, "pending"), ({"state": "running"}, "running")])
async def test_a_stuck_boot_never_gets_an_address_and_can_be_ended(
    aws: Bench, args: dict[str, Any], state: str
) -> None:
    aws.world.faults.add("boot_stuck", **args)
    made = await aws.running(SecurityGroupIds=[await aws.ssh_group()])
    aws.env.advance(3600)
    shown = await aws.get(made)
    assert (shown["State"]["Name"], "PublicIpAddress" in shown) == (state, False)
    assert aws.machines.running == {}
    assert aws.world.ledger.billing("aws") == [made]
    await aws.call("terminate_instances", InstanceIds=[made])
    aws.env.advance(31)
    aws.emulator.advance()
    assert aws.world.ledger.billing("aws") == []


async def test_a_wrong_gpu_shows_only_inside(aws: Bench) -> None:
    aws.world.faults.add("wrong_gpu", gpu="NVIDIA L4", memory_mib=23034)
    made = await aws.running(SecurityGroupIds=[await aws.ssh_group()])
    assert (await aws.get(made))["InstanceType"] == L40S
    [machine] = aws.machines.running.values()
    assert (machine["gpu"], machine["memory_mib"]) == ("NVIDIA L4", 23034)


async def _prices(aws: Bench) -> tuple[Decimal, Decimal]:
    """On-demand and spot (zone a) of g6e.2xlarge."""
    fields = {"instanceType": "g6e.2xlarge", "regionCode": "us-east-1", "operatingSystem": "Linux", "tenancy": "Shared"}
    fields |= {"capacitystatus": "Used", "marketoption": "OnDemand"}
    rules = [{"Type": "TERM_MATCH", "Field": k, "Value": v} for k, v in fields.items()]
    answer = await aws.call("get_products", service="pricing", ServiceCode="AmazonEC2", Filters=rules)
    [term] = json.loads(answer["PriceList"][0])["terms"]["OnDemand"].values()
    [dimension] = term["priceDimensions"].values()
    given = {"InstanceTypes": ["g6e.2xlarge"], "ProductDescriptions": ["Linux/UNIX"], "AvailabilityZone": "us-east-1a"}
    rows = await aws.call("describe_spot_price_history", StartTime=aws.env.now(), **given)
    [now] = rows["SpotPriceHistory"]
    return Decimal(dimension["pricePerUnit"]["USD"]), Decimal(now["SpotPrice"])


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("", (Decimal("4.48416"), Decimal("1.62"))),
        ("g6e.2xlarge us-east-1a spot", (Decimal("2.24208"), Decimal("1.62"))),
        ("g6e.2xlarge us-east-1a on-demand", (Decimal("4.48416"), Decimal("0.81"))),
    ],
)
async def test_a_changed_price_stays_changed(aws: Bench, subject: str, expected: tuple[Decimal, Decimal]) -> None:
    assert await _prices(aws) == (Decimal("2.24208"), Decimal("0.81"))
    aws.world.faults.add("price_changed", subject=subject, factor=2)
    aws.env.advance(1)
    assert await _prices(aws) == expected
    aws.env.advance(60)
    assert await _prices(aws) == expected


async def test_another_account_is_empty(aws: Bench) -> None:
    await aws.run()
    aws.world.faults.add("other_account", times=2)
    assert (await aws.call("get_caller_identity", service="sts"))["Account"] == "210987654321"
    assert await aws.listed() == []
    assert len(await aws.listed()) == 1


async def test_a_new_instance_can_be_unknown_for_a_while(aws: Bench) -> None:
    aws.world.faults.add("list_lag", seconds=50)
    made = (await aws.run(ClientToken="t"))["InstanceId"]
    assert await aws.listed() == []
    with pytest.raises(ClientError) as caught:
        await aws.call("terminate_instances", InstanceIds=[made])
    assert refusal(caught) == ("InvalidInstanceID.NotFound", 400)
    assert (await aws.run(ClientToken="t"))["InstanceId"] == made
    aws.env.advance(51)
    assert await aws.listed() == [made]


async def test_a_terminate_that_is_accepted_can_be_ignored(aws: Bench) -> None:
    made = await aws.running()
    aws.world.faults.add("ignore_terminate")
    [change] = (await aws.call("terminate_instances", InstanceIds=[made]))["TerminatingInstances"]
    assert change["CurrentState"]["Name"] == "shutting-down"
    aws.env.advance(600)
    assert (await aws.get(made))["State"]["Name"] == "running"


async def test_a_lost_host_ends_its_instance_without_notice(aws: Bench) -> None:
    made = await aws.running()
    aws.world.faults.add("host_lost", subject=made)
    shown = await aws.get(made)
    assert (shown["State"]["Name"], shown["StateReason"]["Code"]) == ("terminated", "Server.InternalError")
    assert aws.world.ledger.billing("aws") == []


async def test_spot_takes_a_machine_two_minutes_after_the_request_says_so(aws: Bench) -> None:
    made = await aws.running(**SPOT)
    aws.world.faults.add("host_lost", subject="spot")
    [request] = (await aws.call("describe_spot_instance_requests"))["SpotInstanceRequests"]
    assert request["Status"]["Code"] == "instance-terminated-no-capacity"
    assert (await aws.get(made))["State"]["Name"] == "running"
    aws.env.advance(121)
    assert (await aws.get(made))["State"]["Name"] == "shutting-down"
    aws.env.advance(31)
    shown = await aws.get(made)
    assert (shown["State"]["Name"], shown["StateReason"]["Code"]) == ("terminated", "Server.SpotInstanceTermination")


async def test_requests_are_throttled_where_that_is_switched_on() -> None:
    async with bench(Options(throttling=True)) as aws:
        order = await aws.order()
        for _ in range(5):
            await aws.call("run_instances", **order)
        with pytest.raises(ClientError) as caught:
            await aws.call("run_instances", **order)
        assert refusal(caught) == ("RequestLimitExceeded", 503)
        aws.env.advance(1)
        await aws.call("run_instances", **order)


async def test_undocumented_elements_do_not_disturb_the_sdk() -> None:
    async with bench(Options(extra_fields=True)) as aws:
        made = await aws.running()
        assert (await aws.get(made))["InstanceId"] == made


async def test_an_account_without_a_default_network_must_name_one() -> None:
    async with bench(Options(default_vpc=False)) as aws:
        assert (await aws.call("describe_vpcs"))["Vpcs"] == []
        with pytest.raises(ClientError) as caught:
            await aws.run()
        assert refusal(caught) == ("VPCIdNotSpecified", 400)


async def test_a_clock_that_is_far_off_is_refused_where_it_is_looked_at() -> None:
    # The SDK signs with the real clock, which is not the sandbox's.
    async with bench(Options(max_skew_s=900)) as aws:
        aws.env.advance(400 * 86400)
        with pytest.raises(ClientError) as caught:
            await aws.call("describe_instances")
        assert refusal(caught) == ("RequestExpired", 400)


async def test_an_unknown_parameter_is_refused(aws: Bench) -> None:
    aws.emulator.options.verify_signature = False
    place = f"{aws.env.now():%Y%m%d}/us-east-1/ec2/aws4_request"
    key = aws.settings["AWS_ACCESS_KEY_ID"]
    header = f"AWS4-HMAC-SHA256 Credential={key}/{place}, SignedHeaders=host;x-amz-date, Signature={'0' * 64}"
    async with httpx.AsyncClient(trust_env=False, headers={"Authorization": header}) as http:
        form = {"Action": "DescribeInstances", "Version": "2016-11-15", "Filters.1.Name": "x"}
        answer = await http.post(aws.url, data=form)
    assert answer.status_code == 400
    assert "<Code>UnknownParameter</Code>" in answer.text


# What tests and the sandbox see beside the wire.


async def test_which_verb_of_the_contract_a_request_serves(aws: Bench) -> None:
    seen: list[str] = []
    aws.world.recorder = lambda exchange: seen.append(exchange.verb)
    made = (await aws.run())["InstanceId"]
    assert seen == ["other", "launch"]
    await aws.listed()
    await aws.listed(Filters=[{"Name": "tag:orch-owner", "Values": ["x"]}])
    await aws.listed(InstanceIds=[made])
    await aws.listed(Filters=[{"Name": "client-token", "Values": ["x"]}])
    await aws.listed(Filters=[{"Name": "tag:Name", "Values": ["x"]}])
    await aws.call("describe_instance_types")
    await aws.call("get_products", service="pricing", ServiceCode="AmazonVPC")
    await aws.call("get_caller_identity", service="sts")
    await aws.call("terminate_instances", InstanceIds=[made])
    assert seen[2:] == ["owned", "owned", "find", "find", "find", "offers", "offers", "account", "terminate"]
    assert AwsEmulator(World(ManualEnv())).verb("GET", "/offers/v1.0/aws/index.json") == "offers"


async def test_planted_machines_run_and_bill_and_carry_tags(aws: Bench) -> None:
    theirs, strangers = aws.emulator.plant("orch-x", "ab" * 16), aws.emulator.plant("jupyter")
    tags = {tag["Key"]: tag["Value"] for tag in (await aws.get(theirs))["Tags"]}
    assert tags == {"Name": "orch-x", "orch-owner": "ab" * 16}
    assert (await aws.get(strangers))["Tags"] == [{"Key": "Name", "Value": "jupyter"}]
    assert (await aws.get(strangers))["State"]["Name"] == "running"
    assert aws.world.ledger.billing("aws") == [theirs, strangers]
    aws.emulator.lose(theirs)
    assert [(one.alive, one.billing) for one in aws.emulator.records()] == [(False, False), (True, True)]


async def test_the_state_survives_a_file(aws: Bench) -> None:
    group = await aws.ssh_group()
    await aws.call("import_key_pair", KeyName="orch", PublicKeyMaterial=KEY.encode())
    ready = await aws.running(ClientToken="t", SecurityGroupIds=[group], KeyName="orch")
    await aws.run(**SPOT)
    ended = await aws.running()
    await aws.call("terminate_instances", InstanceIds=[ended])
    aws.world.faults.add("gone", subject="g5.xlarge us-east-1a")
    with pytest.raises(ClientError):
        await aws.run(InstanceType="g5.xlarge", Placement={"AvailabilityZone": "us-east-1a"})
    aws.world.faults.add("price_changed", factor="1.5")
    aws.env.advance(2)
    prices = await _prices(aws)
    saved = json.loads(json.dumps(aws.world.dump()))
    machines = NoMachines()
    world = World(aws.env, machines=machines)
    twin = AwsEmulator(world)
    world.load(saved)
    assert json.loads(json.dumps(twin.dump())) == saved["emulators"]["aws"]
    assert list(machines.running) == [f"aws:{ready}"]
    assert twin.records() == aws.emulator.records()
    aws.world.emulators["aws"] = twin
    assert await _prices(aws) == prices
    again = await aws.run(ClientToken="t", SecurityGroupIds=[group], KeyName="orch")
    assert again["InstanceId"] == ready
    aws.env.advance(31)
    assert (await aws.get(ended))["State"]["Name"] == "terminated"


async def test_environment_is_all_that_a_client_needs(aws: Bench) -> None:
    assert aws.settings["ORCH_AWS_REGIONS"] == "us-east-1,us-west-2,eu-central-1"
    assert aws.settings.keys() == {
        "ORCH_AWS_REGIONS",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_DEFAULT_REGION",
        "ORCH_AWS_URL",
    }
