"""Every exchange of every provider that has published a description of its API agrees with that description.

One conversation per provider goes through all verbs and all faults; `tests/conformance` feeds the same judge.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from providers import registry
from tests.contract.official import FILES, description
from tests.contract.official_conversation import Heard, converse
from tests.contract.official_report import table
from tests.contract.official_watch import LIST, differences

#: What the adapters need. A call that is not here is a new one, which has to be thought about.
NEEDED = {
    "aws": {
        "ec2 AuthorizeSecurityGroupIngress",
        "ec2 CreateSecurityGroup",
        "ec2 DeleteSecurityGroup",
        "ec2 DescribeImages",
        "ec2 DescribeInstanceTypeOfferings",
        "ec2 DescribeInstanceTypes",
        "ec2 DescribeInstances",
        "ec2 DescribeSecurityGroups",
        "ec2 DescribeSpotPriceHistory",
        "ec2 DescribeSubnets",
        "ec2 RunInstances",
        "ec2 TerminateInstances",
        "pricing GetProducts",
        "servicequotas GetServiceQuota",
        "ssm GetParameter",
        "sts GetCallerIdentity",
    },
    "azure": {
        "DELETE /subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/Microsoft.Compute"
        "/virtualMachines/{vmName}",
        "GET /subscriptions/{subscriptionId}/providers/Microsoft.Compute/locations/{location}/usages",
        "GET /subscriptions/{subscriptionId}/providers/Microsoft.Compute/skus",
        "GET /subscriptions/{subscriptionId}/providers/Microsoft.Compute/virtualMachines",
        "GET /subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/Microsoft.Compute"
        "/virtualMachines/{vmName}",
        "GET /subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/Microsoft.Compute"
        "/virtualMachines/{vmName}/extensions/{vmExtensionName}",
        "PUT /subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/Microsoft.Compute"
        "/virtualMachines/{vmName}",
        "PUT /subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/Microsoft.Compute"
        "/virtualMachines/{vmName}/extensions/{vmExtensionName}",
    },
    "gcp": {
        "DELETE /compute/v1/projects/{project}/global/firewalls/{firewall}",
        "DELETE /compute/v1/projects/{project}/zones/{zone}/instances/{instance}",
        "GET /compute/v1/projects/{project}",
        "GET /compute/v1/projects/{project}/aggregated/acceleratorTypes",
        "GET /compute/v1/projects/{project}/aggregated/instances",
        "GET /compute/v1/projects/{project}/aggregated/machineTypes",
        "GET /compute/v1/projects/{project}/global/firewalls",
        "GET /compute/v1/projects/{project}/global/firewalls/{firewall}",
        "GET /compute/v1/projects/{project}/global/images/family/{family}",
        "GET /compute/v1/projects/{project}/global/operations/{operation}",
        "GET /compute/v1/projects/{project}/regions",
        "GET /compute/v1/projects/{project}/zones/{zone}/instances/{instance}",
        "GET /compute/v1/projects/{project}/zones/{zone}/machineTypes",
        "GET /compute/v1/projects/{project}/zones/{zone}/operations",
        "GET /compute/v1/projects/{project}/zones/{zone}/operations/{operation}",
        "GET /v1/services/{servicesId}/skus",
        "POST /compute/v1/projects/{project}/global/firewalls",
        "POST /compute/v1/projects/{project}/zones/{zone}/instances",
    },
    "lambda": {
        "GET /api/v1/images",
        "GET /api/v1/instance-types",
        "GET /api/v1/instances",
        "GET /api/v1/instances/{id}",
        "GET /api/v1/ssh-keys",
        "POST /api/v1/instance-operations/launch",
        "POST /api/v1/instance-operations/terminate",
        "POST /api/v1/ssh-keys",
    },
    "runpod": {
        "DELETE /v2/pods/{id}",
        "GET /v2/catalog/datacenters",
        "GET /v2/catalog/gpus",
        "GET /v2/pods",
        "GET /v2/pods/{id}",
        "POST /v2/pods",
    },
    "vast": {
        "DELETE /api/v0/instances/{id}/",
        "GET /api/v0/instances/{id}/",
        "GET /api/v0/instances/{instance_id}/ssh/",
        "GET /api/v0/users/current/",
        "GET /api/v1/instances/",
        "POST /api/v0/bundles/",
        "POST /api/v0/instances/{id}/ssh/",
        "PUT /api/v0/asks/{id}/",
    },
}


@pytest.fixture(
    scope="module",
    # One worker holds a provider's conversation, for all tests of it.
    params=[pytest.param(name, marks=pytest.mark.xdist_group(f"official-{name}")) for name in sorted(FILES)],
)
def provider(request: pytest.FixtureRequest, spec_dir: Path) -> str:
    name: str = request.param
    if description(name) is None:
        pytest.skip(f"no {FILES[name]}: set ORCH_SPEC_DIR to the folder of official API descriptions")
    return name


@pytest.fixture(scope="module")
def heard(provider: str) -> Heard:
    return asyncio.run(converse(provider))


def test_every_request_and_every_answer_is_as_the_official_description_says(provider: str, heard: Heard) -> None:
    print("\n" + "\n".join(table({provider: heard.tally})))
    assert heard.tally.validated > 100
    assert not heard.unlisted, f"not in {LIST.name}:\n" + "\n".join(map(str, heard.unlisted))


def test_every_operation_that_the_adapter_needs_is_exercised_and_no_other(provider: str, heard: Heard) -> None:
    assert heard.tally.operations == NEEDED[provider]


def test_every_listed_difference_still_occurs(provider: str, heard: Heard) -> None:
    listed = {str(one) for one in differences() if one.provider == provider}
    assert listed - heard.tally.differences == set(), f"strike these from {LIST.name}"


def test_every_provider_with_a_published_description_is_judged_by_it() -> None:
    assert NEEDED.keys() == FILES.keys() <= registry.entries().keys()
    assert {one.provider for one in differences()} <= FILES.keys()


def test_every_listed_difference_points_into_a_fact_sheet_or_a_file_of_the_project(spec_dir: Path) -> None:
    sheets = spec_dir.parent / "providers"
    if not sheets.is_dir():
        pytest.skip("the fact sheets are not beside the official API descriptions")
    for one in differences():
        if one.source.startswith("providers/"):
            assert (Path(__file__).parents[2] / one.source.partition(":")[0]).is_file(), one
            continue
        name, section = re.match(r"(\w+\.md) ([\d.]+)", one.source).groups()  # type: ignore[union-attr]
        headings = (f"## {section}.", f"### {section} ", f"## {section.split('.')[0]}.")
        assert any(line.startswith(headings) for line in (sheets / name).read_text(encoding="utf-8").splitlines()), one
