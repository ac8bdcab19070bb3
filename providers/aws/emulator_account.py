"""The small services: STS GetCallerIdentity, SSM's public parameters, Service Quotas."""

from __future__ import annotations

import providers.aws.emulator_filters as filters
from providers.aws.emulator_cloud import Action, Cloud
from providers.aws.emulator_market import Image
from providers.aws.emulator_wire import Call, Refusal, Tree


def get_caller_identity(cloud: Cloud, call: Call) -> Tree:
    return {
        "Arn": f"arn:aws:iam::{call.account}:user/sandbox",
        "UserId": "AIDASANDBOXSANDBOX123",
        "Account": call.account,
    }


# SSM.


def _parameter(image: Image, region: str) -> Tree:
    return {
        "Name": image.ssm,
        "Type": "String",
        "Value": image.id(region),
        "Version": 1,
        "LastModifiedDate": 1_762_761_600.0,
        "ARN": f"arn:aws:ssm:{region}::parameter{image.ssm}",
        "DataType": "aws:ec2:image",
    }


def get_parameter(cloud: Cloud, call: Call) -> Tree:
    name = call.params.get("Name")
    if not isinstance(name, str) or not name:
        raise Refusal("ValidationException", "Value at 'name' failed to satisfy constraint: Member must not be null")
    for image in cloud.market.images:
        if image.ssm and image.ssm == name:
            return {"Parameter": _parameter(image, call.region)}
    # The real answer has a code and no message at all.
    raise Refusal("ParameterNotFound", "")


def get_parameters(cloud: Cloud, call: Call) -> Tree:
    names = call.params.get("Names")
    if not isinstance(names, list) or not 1 <= len(names) <= 10:
        raise Refusal("ValidationException", "Value at 'names' failed to satisfy constraint: 1 to 10 items")
    found = {image.ssm: image for image in cloud.market.images if image.ssm in names and image.ssm}
    return {
        "Parameters": [_parameter(image, call.region) for image in found.values()],
        "InvalidParameters": [name for name in names if name not in found],
    }


# Service Quotas.


def _quota(cloud: Cloud, call: Call, code: str) -> Tree:
    row = cloud.market.quotas[code]
    return {
        "ServiceCode": "ec2",
        "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
        "QuotaArn": f"arn:aws:servicequotas:{call.region}:{call.account}:ec2/{code}",
        "QuotaCode": code,
        "QuotaName": row["name"],
        "Value": float(row["vcpus"]),
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }


def _service(call: Call) -> None:
    if call.params.get("ServiceCode") != "ec2":
        raise Refusal("NoSuchResourceException", "The request failed because the specified service does not exist.")


def get_service_quota(cloud: Cloud, call: Call) -> Tree:
    _service(call)
    code = call.params.get("QuotaCode")
    if code not in cloud.market.quotas:
        raise Refusal("NoSuchResourceException", "The request failed because the specified quota does not exist.")
    return {"Quota": _quota(cloud, call, str(code))}


def list_service_quotas(cloud: Cloud, call: Call) -> Tree:
    _service(call)
    found = [_quota(cloud, call, code) for code in cloud.market.quotas]
    shown, token = filters.json_page(call.params, found)
    return {"Quotas": shown} | ({"NextToken": token} if token else {})


STS = {"GetCallerIdentity": Action(get_caller_identity)}
SSM = {"GetParameter": Action(get_parameter), "GetParameters": Action(get_parameters)}
QUOTAS = {
    "GetServiceQuota": Action(get_service_quota),
    "ListServiceQuotas": Action(list_service_quotas),
}
