"""The emulated AWS's catalogue, network and small services, read by the real SDK."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from providers.aws.emulator import ACTIONS
from tests.contract.aws_bench import KEY, L40S, Bench, bench, refusal


@pytest.fixture
async def aws() -> AsyncIterator[Bench]:
    async with bench() as served:
        yield served


async def test_regions_and_zones_are_those_that_are_enabled(aws: Bench) -> None:
    regions = (await aws.call("describe_regions"))["Regions"]
    assert {one["RegionName"] for one in regions} == {"us-east-1", "us-west-2", "eu-central-1"}
    every = (await aws.call("describe_regions", AllRegions=True))["Regions"]
    assert {one["RegionName"]: one["OptInStatus"] for one in every}["ap-south-2"] == "not-opted-in"
    zones = (await aws.call("describe_availability_zones", region="eu-central-1"))["AvailabilityZones"]
    assert (zones[0]["ZoneName"], zones[0]["ZoneId"]) == ("eu-central-1a", "euc1-az2")


async def test_a_region_that_is_not_enabled_refuses_the_key(aws: Bench) -> None:
    with pytest.raises(ClientError) as caught:
        await aws.call("describe_instances", region="ap-south-2")
    assert refusal(caught) == ("AuthFailure", 401)


async def test_types_have_their_documented_shapes(aws: Bench) -> None:
    names = [L40S, "g6e.12xlarge", "g6f.large", "p4d.24xlarge"]
    found = (await aws.call("describe_instance_types", InstanceTypes=names))["InstanceTypes"]
    gpus = {one["InstanceType"]: one["GpuInfo"]["Gpus"][0] for one in found}
    assert (gpus[L40S]["Name"], gpus[L40S]["Count"], gpus[L40S]["MemoryInfo"]["SizeInMiB"]) == ("L40S", 1, 45776)
    assert gpus["g6e.12xlarge"]["Count"] == 4
    # A slice of a GPU counts as none, which breaks whoever divides by it.
    assert (gpus["g6f.large"]["Count"], gpus["g6f.large"]["LogicalGpuCount"]) == (0, 1)
    assert gpus["g6f.large"]["GpuPartitionSize"] == 0.125
    assert "capacity-block" in found[3]["SupportedUsageClasses"]
    assert (found[0]["VCpuInfo"]["DefaultVCpus"], found[0]["MemoryInfo"]["SizeInMiB"]) == (4, 32768)


async def test_there_is_no_plain_l40(aws: Bench) -> None:
    pages = (await aws.call("describe_instance_types"))["InstanceTypes"]
    assert "L40" not in {gpu["Name"] for one in pages for gpu in one["GpuInfo"]["Gpus"]}


async def test_the_shapes_of_the_market_file_are_the_specs(aws: Bench, spec_dir: Path) -> None:
    spec = json.loads((spec_dir / "aws" / "gpu-instance-types.json").read_text())["types"]
    for kind in aws.emulator.market.kinds.values():
        row = spec[kind.name]
        has = (kind.gpu, kind.gpus, kind.gpu_mib, kind.vcpus, kind.memory_mib, kind.storage_gb, kind.network)
        want = ("gpu", "gpu_count", "gpu_memory_mib_each", "vcpus", "memory_mib", "instance_storage_gb", "network")
        assert has == tuple(row[name] for name in want)
        assert set(kind.usage_classes) == set(row["usage_classes"])
        assert {
            zone for region in aws.emulator.market.regions for zone in aws.emulator.market.zones_of(kind, region)
        } <= (set(row["zones"]))
        usd = aws.emulator.market.on_demand(kind, "us-east-1")
        assert usd is None or usd == Decimal(str(row["ondemand_usd_hr_us_east_1"]))


async def test_requests_take_no_names_that_the_model_does_not_have(spec_dir: Path) -> None:
    model = json.loads(gzip.decompress((spec_dir / "aws" / "ec2-2016-11-15.service-2.json.gz").read_bytes()))
    for action, rule in ACTIONS["ec2"].items():
        members = model["shapes"][model["operations"][action]["input"]["shape"]]["members"]
        known = {m.get("queryName") or _upper(m.get("locationName", name)) for name, m in members.items()}
        assert set(rule.names.split()) <= known, action


def _upper(name: str) -> str:
    return name[0].upper() + name[1:]


async def test_offerings_take_wildcards_and_pages(aws: Bench) -> None:
    given: dict[str, Any] = {
        "LocationType": "availability-zone",
        "Filters": [{"Name": "instance-type", "Values": ["g6e.*"]}],
    }
    rows = (await aws.call("describe_instance_type_offerings", **given))["InstanceTypeOfferings"]
    assert {one["InstanceType"].split(".")[0] for one in rows} == {"g6e"}
    assert {one["Location"] for one in rows} == {f"us-east-1{letter}" for letter in "abcd"}
    seen, token = [], ""
    while True:
        more = {"NextToken": token} if token else {}
        page = await aws.call("describe_instance_type_offerings", MaxResults=5, **given, **more)
        seen += page["InstanceTypeOfferings"]
        if not (token := page.get("NextToken", "")):
            break
    assert seen == rows


async def test_spot_prices_are_those_that_hold_now(aws: Bench) -> None:
    given = {"InstanceTypes": ["g6e.2xlarge"], "ProductDescriptions": ["Linux/UNIX"], "StartTime": aws.env.now()}
    rows = (await aws.call("describe_spot_price_history", **given))["SpotPriceHistory"]
    assert {one["AvailabilityZone"][-1]: Decimal(one["SpotPrice"]) for one in rows} == {
        "a": Decimal("0.81"),
        "b": Decimal("0.95"),
        "c": Decimal("1.02"),
        "d": Decimal("1.09"),
    }
    assert rows[0]["AvailabilityZoneId"] == "use1-az6"
    assert all(one["Timestamp"] <= aws.env.now() for one in rows)


async def test_spot_prices_of_other_systems_come_unless_one_is_asked_for(aws: Bench) -> None:
    rows = await aws.call("describe_spot_price_history", InstanceTypes=[L40S], StartTime=aws.env.now())
    assert {one["ProductDescription"] for one in rows["SpotPriceHistory"]} == {"Linux/UNIX", "Windows"}
    assert rows["NextToken"] == ""


async def test_the_price_list_gives_one_row_for_plain_linux(aws: Bench) -> None:
    fields = {
        "instanceType": L40S,
        "regionCode": "us-east-1",
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "marketoption": "OnDemand",
    }
    rules = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in fields.items()]
    answer = await aws.call("get_products", service="pricing", ServiceCode="AmazonEC2", Filters=rules)
    [row] = [json.loads(text) for text in answer["PriceList"]]
    [term] = row["terms"]["OnDemand"].values()
    [dimension] = term["priceDimensions"].values()
    assert (dimension["unit"], Decimal(dimension["pricePerUnit"]["USD"])) == ("Hrs", Decimal("1.861"))
    # Without the last rules other rows mix in, some of them at nothing.
    wide = await aws.call("get_products", service="pricing", ServiceCode="AmazonEC2", Filters=rules[:2])
    assert len(wide["PriceList"]) > 1


async def test_the_price_list_is_paged_and_knows_other_filter_types(aws: Bench) -> None:
    rule = {"Type": "ANY_OF", "Field": "instanceType", "Value": f"{L40S},g5.xlarge"}
    texts: list[str] = []
    token = None
    while True:
        more = {"NextToken": token} if token else {}
        given = {"ServiceCode": "AmazonEC2", "Filters": [rule], "MaxResults": 7, **more}
        page = await aws.call("get_products", service="pricing", region="eu-central-1", **given)
        texts += page["PriceList"]
        if not (token := page.get("NextToken")):
            break
    kinds = {json.loads(text)["product"]["attributes"]["instanceType"] for text in texts}
    assert kinds == {L40S, "g5.xlarge"}
    assert len(texts) == len(set(texts)) > 7


async def test_egress_has_tiers_and_disks_and_addresses_have_prices(aws: Bench) -> None:
    async def tiers(service: str, **fields: str) -> list[tuple[str, str, Decimal]]:
        rules = [{"Type": "EQUALS", "Field": name, "Value": value} for name, value in fields.items()]
        answer = await aws.call("get_products", service="pricing", ServiceCode=service, Filters=rules)
        [row] = [json.loads(text) for text in answer["PriceList"]]
        [term] = row["terms"]["OnDemand"].values()
        rows = term["priceDimensions"].values()
        return [(one["beginRange"], one["endRange"], Decimal(one["pricePerUnit"]["USD"])) for one in rows]

    out = {"transferType": "AWS Outbound", "fromRegionCode": "us-east-1", "toLocation": "External"}
    assert await tiers("AWSDataTransfer", **out) == [
        ("0", "10240", Decimal("0.09")),
        ("10240", "51200", Decimal("0.085")),
        ("51200", "153600", Decimal("0.07")),
        ("153600", "Inf", Decimal("0.05")),
    ]
    assert (await tiers("AmazonEC2", volumeApiName="gp3", regionCode="us-east-1"))[0][2] == Decimal("0.08")
    assert (await tiers("AmazonVPC", regionCode="us-west-2"))[0][2] == Decimal("0.005")


async def test_pricing_answers_in_three_regions_only(aws: Bench) -> None:
    with pytest.raises(ClientError) as caught:
        await aws.call("get_products", service="pricing", region="us-west-2", ServiceCode="AmazonEC2")
    assert refusal(caught) == ("InvalidSignatureException", 400)


async def test_the_public_price_list_needs_no_key_and_agrees(aws: Bench) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        index = (await http.get(f"{aws.url}/offers/v1.0/aws/index.json")).json()
        assert "AmazonEC2" in index["offers"]
        whole = (await http.get(f"{aws.url}/offers/v1.0/aws/AmazonEC2/current/us-west-2/index.json")).json()
        text = (await http.get(f"{aws.url}/offers/v1.0/aws/AmazonEC2/current/us-west-2/index.csv")).text
        assert (await http.get(f"{aws.url}/offers/v1.0/aws/AmazonEC2/current/nowhere-1/index.csv")).status_code == 404
    rows = list(csv.DictReader(io.StringIO("".join(text.splitlines(keepends=True)[5:]))))
    wanted = {"Instance Type": L40S, "Operating System": "Linux", "Tenancy": "Shared", "CapacityStatus": "Used"}
    [row] = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    [term] = whole["terms"]["OnDemand"][row["SKU"]].values()
    [dimension] = term["priceDimensions"].values()
    assert Decimal(row["PricePerUnit"]) == Decimal(dimension["pricePerUnit"]["USD"]) == Decimal("1.861")
    assert {one["Region Code"] for one in rows} == {"us-west-2"}


async def test_images_are_found_by_parameter_id_owner_and_name(aws: Bench) -> None:
    image = await aws.image()
    [shown] = (await aws.call("describe_images", ImageIds=[image]))["Images"]
    assert (shown["RootDeviceName"], shown["State"]) == ("/dev/sda1", "available")
    rule = {"Name": "name", "Values": ["Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) *"]}
    found = (await aws.call("describe_images", Owners=["898082745236"], Filters=[rule]))["Images"]
    assert max(found, key=lambda one: one["CreationDate"])["ImageId"] == image
    assert len(found) == 2
    assert await aws.image("us-west-2") != image


async def test_parameters_that_do_not_exist_are_said_so(aws: Bench) -> None:
    with pytest.raises(ClientError) as caught:
        await aws.call("get_parameter", service="ssm", Name="/aws/service/nothing")
    assert refusal(caught) == ("ParameterNotFound", 400)
    many = await aws.call("get_parameters", service="ssm", Names=["/aws/service/nothing"])
    assert (many["Parameters"], many["InvalidParameters"]) == ([], ["/aws/service/nothing"])


async def test_the_account_is_told_to_whoever_asks(aws: Bench) -> None:
    assert (await aws.call("get_caller_identity", service="sts"))["Account"] == "123456789012"


async def test_quotas_are_vcpus(aws: Bench) -> None:
    given = {"ServiceCode": "ec2", "QuotaCode": "L-DB2E81BA"}
    one = (await aws.call("get_service_quota", service="service-quotas", **given))["Quota"]
    assert (one["QuotaName"], one["Value"]) == ("Running On-Demand G and VT instances", 768.0)
    page = await aws.call("list_service_quotas", service="service-quotas", ServiceCode="ec2", MaxResults=2)
    assert len(page["Quotas"]) == 2
    assert page["NextToken"]
    with pytest.raises(ClientError) as caught:
        await aws.call("get_service_quota", service="service-quotas", ServiceCode="ec2", QuotaCode="L-00000000")
    assert refusal(caught) == ("NoSuchResourceException", 400)


async def test_the_default_network_has_a_subnet_in_every_zone(aws: Bench) -> None:
    default = [{"Name": "is-default", "Values": ["true"]}]
    [vpc] = (await aws.call("describe_vpcs", Filters=default))["Vpcs"]
    rules = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}, {"Name": "default-for-az", "Values": ["true"]}]
    subnets = (await aws.call("describe_subnets", Filters=rules))["Subnets"]
    assert len({one["AvailabilityZone"] for one in subnets}) == len(subnets) == 6
    assert all(one["MapPublicIpOnLaunch"] for one in subnets)


async def test_a_security_group_lives_and_refuses_duplicates(aws: Bench) -> None:
    group = await aws.ssh_group()
    [shown] = (await aws.call("describe_security_groups", GroupIds=[group]))["SecurityGroups"]
    assert shown["IpPermissions"][0]["IpRanges"] == [{"CidrIp": "0.0.0.0/0"}]
    with pytest.raises(ClientError) as caught:
        await aws.call("create_security_group", GroupName="orch", Description="ssh")
    assert refusal(caught) == ("InvalidGroup.Duplicate", 400)
    rule = shown["IpPermissions"][0] | {"UserIdGroupPairs": [], "PrefixListIds": [], "Ipv6Ranges": []}
    with pytest.raises(ClientError) as caught:
        await aws.call("authorize_security_group_ingress", GroupId=group, IpPermissions=[rule])
    assert refusal(caught) == ("InvalidPermission.Duplicate", 400)
    instance = await aws.run(SecurityGroupIds=[group])
    with pytest.raises(ClientError) as caught:
        await aws.call("delete_security_group", GroupId=group)
    assert refusal(caught) == ("DependencyViolation", 400)
    await aws.call("terminate_instances", InstanceIds=[instance["InstanceId"]])
    aws.env.advance(31)
    await aws.call("delete_security_group", GroupId=group)
    with pytest.raises(ClientError) as caught:
        await aws.call("describe_security_groups", GroupIds=[group])
    assert refusal(caught) == ("InvalidGroup.NotFound", 400)


async def test_key_pairs_are_imported_once_and_deleted_as_often_as_one_likes(aws: Bench) -> None:
    made = await aws.call("import_key_pair", KeyName="orch", PublicKeyMaterial=KEY.encode())
    [shown] = (await aws.call("describe_key_pairs", KeyNames=["orch"], IncludePublicKey=True))["KeyPairs"]
    assert (shown["PublicKey"], shown["KeyFingerprint"]) == (KEY, made["KeyFingerprint"])
    with pytest.raises(ClientError) as caught:
        await aws.call("import_key_pair", KeyName="orch", PublicKeyMaterial=KEY.encode())
    assert refusal(caught) == ("InvalidKeyPair.Duplicate", 400)
    with pytest.raises(ClientError) as caught:
        await aws.call("import_key_pair", KeyName="other", PublicKeyMaterial=b"nonsense")
    assert refusal(caught) == ("InvalidKey.Format", 400)
    await aws.call("delete_key_pair", KeyName="orch")
    await aws.call("delete_key_pair", KeyName="orch")
    assert (await aws.call("describe_key_pairs"))["KeyPairs"] == []


async def test_placement_scores_are_low_for_few_types(aws: Bench) -> None:
    given = {"TargetCapacity": 1, "SingleAvailabilityZone": True, "RegionNames": ["us-east-1"]}
    few = await aws.call("get_spot_placement_scores", InstanceTypes=[L40S], **given)
    many = await aws.call("get_spot_placement_scores", InstanceTypes=[L40S, "g6e.2xlarge", "g6e.4xlarge"], **given)
    assert max(one["Score"] for one in few["SpotPlacementScores"]) == 3
    assert max(one["Score"] for one in many["SpotPlacementScores"]) == 10
    assert all(one["AvailabilityZoneId"].startswith("use1-") for one in many["SpotPlacementScores"])


@pytest.mark.parametrize(("service", "code"), [("ec2", "InvalidAction"), ("sts", "InvalidAction")])
async def test_an_operation_that_is_not_there_is_an_invalid_action(aws: Bench, service: str, code: str) -> None:
    operation = {"ec2": "describe_hosts", "sts": "get_session_token"}[service]
    with pytest.raises(ClientError) as caught:
        await aws.call(operation, service=service)
    assert refusal(caught) == (code, 400)


async def test_an_unknown_operation_of_a_json_service_is_one_too(aws: Bench) -> None:
    with pytest.raises(ClientError) as caught:
        await aws.call("describe_parameters", service="ssm")
    assert refusal(caught) == ("UnknownOperationException", 400)


@pytest.mark.parametrize(
    ("service", "operation", "unknown", "wrong"),
    [
        ("ec2", "describe_instances", ("AuthFailure", 401), ("AuthFailure", 401)),
        ("sts", "get_caller_identity", ("InvalidClientTokenId", 403), ("SignatureDoesNotMatch", 403)),
        ("ssm", "get_parameters", ("UnrecognizedClientException", 400), ("InvalidSignatureException", 400)),
    ],
)
async def test_a_wrong_key_or_secret_is_refused(
    aws: Bench, service: str, operation: str, unknown: tuple[str, int], wrong: tuple[str, int]
) -> None:
    given = {"Names": ["x"]} if service == "ssm" else {}
    for credentials, expected in (
        ({"aws_access_key_id": "AKIA0000000000000000"}, unknown),
        ({"aws_secret_access_key": "0" * 40}, wrong),
    ):
        client = aws.client(service, **credentials)
        with pytest.raises(ClientError) as caught:
            await _threaded(client, operation, given)
        client.close()
        assert refusal(caught) == expected


async def _threaded(client: Any, operation: str, given: dict[str, Any]) -> Any:
    return await asyncio.to_thread(getattr(client, operation), **given)


async def test_a_request_without_signature_is_refused(aws: Bench) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(aws.url, data={"Action": "DescribeInstances", "Version": "2016-11-15"})
    assert answer.status_code == 403
    assert "<Code>AuthFailure</Code>" in answer.text
