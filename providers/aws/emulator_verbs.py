"""Which verb of the contract an AWS operation serves."""

from __future__ import annotations

from providers.aws.emulator_wire import Call, text

_OFFERS = {
    "DescribeInstanceTypes",
    "DescribeInstanceTypeOfferings",
    "DescribeSpotPriceHistory",
    "GetSpotPlacementScores",
    "GetProducts",
}
_ONE = ("client-token", "tag:Name", "instance-id", "spot-instance-request-id")


def verb_of(call: Call) -> str:
    """The verb; DescribeInstances is `find` if it names instances by id, token or name, else `owned`."""
    if call.action in ("RunInstances", "CreateFleet"):
        return "launch"
    if call.action == "TerminateInstances":
        return "terminate"
    if call.action == "DescribeInstances":
        filters = {text(node, "Name") for node in call.items("Filter") if isinstance(node, dict)}
        return "find" if call.items("InstanceId") or filters & set(_ONE) else "owned"
    if call.action in _OFFERS:
        return "offers"
    return "account" if call.action == "GetCallerIdentity" else "other"
