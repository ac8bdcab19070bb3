"""What a launch sends, what it leaves, and what it makes of refusals."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.holds import hold_for, matches
from providers.azure import request
from providers.azure.adapter import Azure
from providers.base import AttemptRef, Context, LaunchSpec, Offer, Phase
from providers.env import ManualEnv
from providers.errors import (
    AuthFailed,
    Forbidden,
    InvalidRequest,
    NoCapacity,
    OfferGone,
    OutcomeUnknown,
    PriceChanged,
    QuotaExceeded,
    RateLimited,
    Unavailable,
    Unclassified,
)
from providers.http import USER_AGENT
from tests.unit.azure.conftest import (
    BEARER,
    GROUP,
    KEY,
    NIC,
    OTHER_OWNER,
    OWNER,
    SUBSCRIPTION,
    TAGS,
    TOKEN,
    VM,
    an_offer,
    machine,
    made,
)
from tests.unit.azure.wire import Answer, Asked, Wire, refused, rows

MACHINE = f"/virtualMachines/{TOKEN}"
QUOTA_TEXT = (
    "Operation could not be completed as it results in exceeding approved {} quota. Additional details - "
    "Deployment Model: Resource Manager, Location: eastus, Current Limit: {}, Current Usage: 0, "
    "Additional Required: 4, (Minimum) New Limit Required: 4."
)


def accepted(asked: Asked) -> Answer:
    answer = made(asked)
    answer.body["properties"]["provisioningState"] = "Creating"
    answer.body["properties"]["networkProfile"] = {"networkInterfaces": [{"id": NIC}]}
    where = f"http://{asked.headers['host']}/azure/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute"
    answer.headers["Azure-AsyncOperation"] = f"{where}/locations/eastus/operations/op-1?p=op-1&api-version=2026-04-01"
    answer.headers["Retry-After"] = "10"
    return answer


def of_model(body: Any, model: type, at: str = "") -> list[str]:
    """The names in *body* that the SDK's *model* does not have, by path."""
    model({})  # type: ignore[call-arg]  # its fields are worked out at the first use
    fields = {field._rest_name: field for field in model._attr_to_rest_field.values()}  # type: ignore[attr-defined]
    unknown: list[str] = []
    for name, value in body.items():
        if name not in fields:
            unknown.append(f"{at}/{name}")
            continue
        inner = _inner(model, fields[name])
        for one in value if isinstance(value, list) else [value]:
            if inner is not None and isinstance(one, dict):
                unknown += of_model(one, inner, f"{at}/{name}")
    return unknown


def _inner(model: type, field: Any) -> type | None:
    import typing

    from azure.mgmt.compute import models

    attribute = next(name for name, one in model._attr_to_rest_field.items() if one is field)  # type: ignore[attr-defined]
    for cls in model.__mro__:
        if attribute in getattr(cls, "__annotations__", {}):
            found = typing.get_type_hints(cls, {"_models": models, "datetime": __import__("datetime")})[attribute]
            break
    else:
        return None
    waiting = [found]
    while waiting:
        one = waiting.pop()
        if isinstance(one, type) and hasattr(one, "_attr_to_rest_field"):
            return one
        waiting += typing.get_args(one)
    return None


def shapes(value: Any, at: str = "") -> set[tuple[str, str]]:
    """Every path in a document with the JSON type that stands there."""
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    found = {(at, kinds.get(type(value), "null"))}
    if isinstance(value, dict):
        for name, inner in value.items():
            found |= shapes(inner, f"{at}/{name}")
    elif isinstance(value, list):
        for inner in value:
            found |= shapes(inner, f"{at}/*")
    return found


async def test_a_launch_makes_its_own_group_then_the_machine_and_everything_goes_with_it(
    azure: Azure, attempt: AttemptRef, wire: Wire
) -> None:
    wire.on("PUT", MACHINE, accepted)
    instance = await azure.launch(attempt.offer, attempt.spec, TOKEN)
    assert wire.of("PUT")[0].path.rsplit("/", 2)[-2:] == ["resourcegroups", TOKEN]
    sent = wire.of("PUT", MACHINE)[0]
    assert wire.of("PUT")[-1] is sent
    assert sent.headers["if-none-match"] == "*"
    assert sent.headers["user-agent"] == USER_AGENT
    assert sent.headers["authorization"] == f"Bearer {BEARER}"
    body = sent.body
    assert body["tags"] == TAGS
    properties = body["properties"]
    assert properties["hardwareProfile"]["vmSize"] == "Standard_NC4as_T4_v3"
    assert properties["storageProfile"]["imageReference"]["offer"] == "ubuntu-hpc"
    assert properties["storageProfile"]["osDisk"]["deleteOption"] == "Delete"
    assert properties["storageProfile"]["osDisk"]["diskSizeGB"] == 64
    [nic] = properties["networkProfile"]["networkInterfaceConfigurations"]
    assert nic["properties"]["deleteOption"] == "Delete"
    public = nic["properties"]["ipConfigurations"][0]["properties"]["publicIPAddressConfiguration"]
    assert public["properties"]["deleteOption"] == "Delete"
    assert public["properties"]["ipTags"] == [{"ipTagType": "RoutingPreference", "tag": "Internet"}]
    [key] = properties["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"]
    assert key == {"path": "/home/orch/.ssh/authorized_keys", "keyData": KEY}
    assert "customData" not in properties["osProfile"]
    assert "priority" not in properties
    assert instance.id == VM
    assert (instance.phase, instance.token, instance.owner) == (Phase.PENDING, TOKEN, OWNER)
    assert instance.handle["group"] == TOKEN
    assert instance.handle["operation"].startswith(f"/subscriptions/{SUBSCRIPTION}/providers")


async def test_group_and_network_carry_the_mark_and_let_only_the_asked_ports_in(
    azure: Azure, offer: Offer, spec: LaunchSpec, wire: Wire
) -> None:
    wire.on("PUT", MACHINE, accepted)
    wire.on("PUT", r"/virtualNetworks/[^/]+", lambda asked: _updating(asked))
    wire.on("GET", r"/virtualNetworks/[^/]+", Answer(200, {"properties": {"provisioningState": "Succeeded"}}))
    spec = await azure.resolve(offer, msgspec.structs.replace(spec, ports=("8080/http", "53/udp")))
    await azure.launch(offer, spec, TOKEN)
    for one in wire.of("PUT"):
        assert one.body["tags"] == TAGS, one.path
    [guard] = wire.of("PUT", r"/networkSecurityGroups/[^/]+")
    rules = [rule["properties"] for rule in guard.body["properties"]["securityRules"]]
    assert {(rule["protocol"], rule["destinationPortRange"]) for rule in rules} == {
        ("Tcp", "22"),
        ("Tcp", "8080"),
        ("Udp", "53"),
    }
    assert len({rule["priority"] for rule in rules}) == 3
    assert wire.of("GET", r"/virtualNetworks/[^/]+"), "a network that is still made is waited for"
    assert wire.asked.index(wire.of("GET", r"/virtualNetworks/[^/]+")[0]) < wire.asked.index(wire.of("PUT", MACHINE)[0])


def _updating(asked: Asked) -> Answer:
    answer = made(asked)
    answer.body["properties"]["provisioningState"] = "Updating"
    return answer


async def test_spot_is_deleted_when_it_is_taken_and_costs_no_more_than_promised(
    azure: Azure, spec: LaunchSpec, wire: Wire
) -> None:
    wire.on("PUT", MACHINE, accepted)
    offer = an_offer(pricing="spot")
    await azure.launch(offer, await azure.resolve(offer, spec), TOKEN)
    properties = wire.of("PUT", MACHINE)[0].body["properties"]
    assert (properties["priority"], properties["evictionPolicy"]) == ("Spot", "Delete")
    assert properties["billingProfile"] == {"maxPrice": 0.53652}


async def test_command_and_environment_go_along_as_cloud_init(
    azure: Azure, offer: Offer, spec: LaunchSpec, wire: Wire
) -> None:
    wire.on("PUT", MACHINE, accepted)
    spec = await azure.resolve(offer, msgspec.structs.replace(spec, cmd="python train.py", env={"A": "b c"}))
    await azure.launch(offer, spec, TOKEN)
    custom = wire.of("PUT", MACHINE)[0].body["properties"]["osProfile"]["customData"]
    head, config = base64.b64decode(custom).decode().split("\n", 1)
    assert head == "#cloud-config"
    files = {file["path"]: file["content"] for file in json.loads(config)["write_files"]}
    assert files == {"/etc/profile.d/orch.sh": "export A='b c'\n", "/opt/orch/cmd": "python train.py\n"}
    with pytest.raises(InvalidRequest):
        await azure.resolve(offer, msgspec.structs.replace(spec, cmd="x" * 70_000))


async def test_a_replay_sends_word_for_word_the_same(
    azure: Azure, attempt: AttemptRef, context: Context, wire: Wire
) -> None:
    wire.on("PUT", MACHINE, Answer(cut=True), accepted)
    with pytest.raises(OutcomeUnknown):
        await azure.launch(attempt.offer, attempt.spec, TOKEN)
    stored = msgspec.json.decode(msgspec.json.encode(attempt), type=AttemptRef)
    fresh = Azure(context)
    try:
        await fresh.launch(stored.offer, stored.spec, TOKEN)
    finally:
        await fresh.aclose()
    first, second = (one.body for one in wire.of("PUT", MACHINE))
    assert first == second


async def test_a_machine_that_an_earlier_call_made_is_the_answer_of_the_replay(
    azure: Azure, attempt: AttemptRef, wire: Wire
) -> None:
    for code, status in (("PreconditionFailed", 412), ("PropertyChangeNotAllowed", 409), ("Conflict", 409)):
        wire.on("PUT", MACHINE, refused(code, status))
        wire.on("GET", MACHINE, Answer(200, machine("Creating")))
        instance = await azure.launch(attempt.offer, attempt.spec, TOKEN)
        assert (instance.id, instance.phase) == (VM, Phase.PENDING), code
        assert wire.of("DELETE") == []


async def test_somebody_elses_machine_of_that_name_is_neither_taken_nor_touched(
    azure: Azure, attempt: AttemptRef, wire: Wire
) -> None:
    wire.on("PUT", MACHINE, refused("PreconditionFailed", 412))
    wire.on("GET", MACHINE, Answer(200, machine(tags={**TAGS, "orch-owner": OTHER_OWNER})))
    with pytest.raises(Unclassified) as caught:
        await azure.launch(attempt.offer, attempt.spec, TOKEN)
    assert not caught.value.left
    assert wire.of("DELETE") == []


@pytest.mark.parametrize(
    ("code", "status", "message", "kind", "scope"),
    [
        ("SkuNotAvailable", 409, "Following SKUs have failed for Capacity Restrictions", NoCapacity, "offer"),
        ("AllocationFailed", 409, "no room", NoCapacity, "offer"),
        ("ZonalAllocationFailed", 409, "no room", NoCapacity, "offer"),
        ("OverconstrainedAllocationRequest", 409, "no room", NoCapacity, "offer"),
        ("OperationNotAllowed", 409, QUOTA_TEXT.format("Total Regional Cores", 10), QuotaExceeded, "offer"),
        ("OperationNotAllowed", 409, QUOTA_TEXT.format("LowPriorityCores", 3), QuotaExceeded, "offer"),
        ("QuotaExceeded", 400, "too much", QuotaExceeded, "region"),
        ("PublicIPCountLimitReached", 400, "too many", QuotaExceeded, "region"),
        ("SpotPriceGreaterThanProvidedMaxPrice", 409, "dearer", PriceChanged, "offer"),
        ("AzureSpotFeatureNotEnabledForSubscription", 409, "no", Forbidden, "offer"),
        ("VMPriorityCannotBeApplied", 409, "no", OfferGone, "offer"),
        ("AuthorizationFailed", 403, "does not have authorization to perform action", Forbidden, "provider"),
        ("RequestDisallowedByPolicy", 403, "policy", Forbidden, "offer"),
        ("ReadOnlyDisabledSubscription", 409, "disabled", Forbidden, "account"),
        ("BadRequest", 400, "cannot boot Hypervisor Generation '1'", OfferGone, "offer"),
        ("InvalidRequestFormat", 400, "no", InvalidRequest, "offer"),
        ("BrandNewCode", 409, "what", Unclassified, "offer"),
    ],
)
async def test_a_refused_launch_is_typed_and_takes_its_group_away(
    azure: Azure,
    attempt: AttemptRef,
    wire: Wire,
    unclassified: list[tuple[str, str, str]],
    code: str,
    status: int,
    message: str,
    kind: type,
    scope: str,
) -> None:
    wire.on("PUT", MACHINE, refused(code, status, message))
    wire.on("DELETE", f"/resourcegroups/{TOKEN}", Answer(202))
    with pytest.raises(kind) as caught:
        await azure.launch(attempt.offer, attempt.spec, TOKEN)
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.scope) == (code, scope)
    assert message in str(caught.value)
    assert not caught.value.left
    assert len(wire.of("PUT", MACHINE)) == 1, "a launch is sent once"
    assert len(wire.of("DELETE", f"/resourcegroups/{TOKEN}")) == 1
    assert bool(unclassified) == (kind is Unclassified)


async def test_a_quota_names_its_bucket(azure: Azure, attempt: AttemptRef, wire: Wire) -> None:
    wire.on(
        "PUT", MACHINE, refused("OperationNotAllowed", 409, QUOTA_TEXT.format("Standard NCASv3_T4 Family Cores", 0))
    )
    with pytest.raises(QuotaExceeded) as caught:
        await azure.launch(attempt.offer, attempt.spec, TOKEN)
    assert caught.value.bucket == "Standard NCASv3_T4 Family Cores"
    assert "ask for a higher quota" in str(caught.value)


@pytest.mark.parametrize("bucket", ["Standard NCASv3_T4 Family Cores", "Total Regional Cores"])
async def test_a_quota_of_regular_machines_sets_no_spot_machine_aside(
    azure: Azure, attempt: AttemptRef, wire: Wire, bucket: str
) -> None:
    wire.on("PUT", MACHINE, refused("OperationNotAllowed", 409, QUOTA_TEXT.format(bucket, 0)))
    with pytest.raises(QuotaExceeded) as caught:
        await azure.launch(attempt.offer, attempt.spec, TOKEN)
    hold = hold_for(caught.value, attempt.offer)
    assert hold is not None
    assert hold.drops
    assert matches(hold, attempt.offer)
    assert not matches(hold, an_offer(pricing="spot"))


async def test_a_failed_record_that_a_refusal_leaves_is_named(azure: Azure, attempt: AttemptRef, wire: Wire) -> None:
    wire.on("PUT", MACHINE, refused("AllocationFailed", 409))
    wire.on("GET", MACHINE, Answer(200, machine("Failed")))
    with pytest.raises(NoCapacity) as caught:
        await azure.launch(attempt.offer, attempt.spec, TOKEN)
    [left] = caught.value.left
    assert (left.id, left.phase, left.handle["group"]) == (VM, Phase.FAILED, TOKEN)
    assert wire.of("DELETE") == []


async def test_an_address_that_a_refusal_leaves_is_named_although_it_has_no_machine(
    azure: Azure, attempt: AttemptRef, wire: Wire
) -> None:
    wire.on("PUT", MACHINE, refused("SkuNotAvailable", 409))
    guard = {"type": "Microsoft.Network/networkSecurityGroups"}
    wire.on("GET", f"/{TOKEN}/resources", rows(guard, {"type": "Microsoft.Network/publicIPAddresses"}))
    with pytest.raises(NoCapacity) as caught:
        await azure.launch(attempt.offer, attempt.spec, TOKEN)
    [left] = caught.value.left
    assert left.handle["group"] == TOKEN


async def test_what_cannot_be_looked_at_after_a_refusal_counts_as_left(
    azure: Azure, attempt: AttemptRef, wire: Wire
) -> None:
    wire.on("PUT", MACHINE, refused("SkuNotAvailable", 409))
    wire.on("GET", MACHINE, refused("InternalServerError", 500))
    with pytest.raises(NoCapacity) as caught:
        await azure.launch(attempt.offer, attempt.spec, TOKEN)
    assert [left.handle["group"] for left in caught.value.left] == [TOKEN]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(cut=True),
        Answer(201, text='{"oops": [1, 2'),
        Answer(200, text="<html><body>Sorry</body></html>"),
        Answer(201, {"id": VM, "properties": {}}, short=True),
        Answer(201, {"hello": "world"}),
        Answer(307, None, {"Location": "http://127.0.0.1:9/elsewhere"}),
        refused("InternalServerError", 500),
        Answer(502, text="<html>bad gateway</html>"),
        Answer(403, text="<html>blocked by your firewall</html>"),
    ],
    ids=["cut", "malformed", "html", "truncated", "no-machine", "redirect", "500", "proxy-502", "proxy-403"],
)
async def test_a_create_without_a_readable_answer_has_an_unknown_outcome(
    azure: Azure, attempt: AttemptRef, wire: Wire, answer: Answer
) -> None:
    wire.on("PUT", MACHINE, answer)
    with pytest.raises(OutcomeUnknown) as caught:
        await azure.launch(attempt.offer, attempt.spec, TOKEN)
    assert BEARER not in str(caught.value)
    assert len(wire.of("PUT", MACHINE)) == 1
    assert wire.of("DELETE") == [], "what may exist is not taken away"


async def test_a_throttled_create_says_how_long_also_in_the_bare_form(
    azure: Azure, attempt: AttemptRef, wire: Wire, env: ManualEnv
) -> None:
    bare = {
        "code": "OperationNotAllowed",
        "message": "The server rejected the request because too many requests have been received.",
        "details": [{"code": "TooManyRequests", "target": "PutVM3Min", "message": "{}"}],
    }
    wire.on("PUT", MACHINE, Answer(429, bare, {"Retry-After": "17"}))
    with pytest.raises(RateLimited) as caught:
        await azure.launch(attempt.offer, attempt.spec, TOKEN)
    assert caught.value.wait_s == 17
    assert max(env.slept, default=0) < 17, "waiting is the engine's"


async def test_a_busy_platform_before_the_machine_is_proven_to_have_had_no_effect(
    azure: Azure, attempt: AttemptRef, wire: Wire
) -> None:
    wire.on("PUT", r"/virtualNetworks/[^/]+", refused("InternalServerError", 500))
    with pytest.raises(Unavailable):
        await azure.launch(attempt.offer, attempt.spec, TOKEN)
    assert wire.of("PUT", MACHINE) == []


async def test_a_subscription_that_never_used_compute_is_registered_and_asked_again(
    azure: Azure, attempt: AttemptRef, wire: Wire
) -> None:
    wire.on("PUT", r"/virtualNetworks/[^/]+", refused("MissingSubscriptionRegistration", 409))
    wire.on("POST", "/register", Answer(200, {"registrationState": "Registering"}))
    with pytest.raises(RateLimited) as caught:
        await azure.launch(attempt.offer, attempt.spec, TOKEN)
    assert caught.value.wait_s >= 10
    assert {one.path.split("/")[-2] for one in wire.of("POST", "/register")} == {
        "Microsoft.Compute",
        "Microsoft.Network",
    }


async def test_a_refused_key_makes_nothing(azure: Azure, attempt: AttemptRef, wire: Wire) -> None:
    wire.on("PUT", f"/resourcegroups/{TOKEN}", refused("InvalidAuthenticationToken", 401, f"bad {BEARER}"))
    with pytest.raises(AuthFailed) as caught:
        await azure.launch(attempt.offer, attempt.spec, TOKEN)
    assert BEARER not in str(caught.value)
    assert len(wire.asked) == 1


async def test_an_unreachable_azure_is_unavailable(context: Context, attempt: AttemptRef) -> None:
    settings = {**context.settings, "ORCH_AZURE_URL": "http://127.0.0.1:9"}
    away = Azure(Context(env=context.env, settings=settings, owner=OWNER))
    try:
        with pytest.raises(Unavailable):
            await away.launch(attempt.offer, attempt.spec, TOKEN)
        with pytest.raises(Unavailable):
            await away.owned()
    finally:
        await away.aclose()


async def test_sizes_without_a_fitting_image_are_refused_before_anything_is_made(
    azure: Azure, spec: LaunchSpec, wire: Wire
) -> None:
    for native in ({"driver": "own"}, {"generations": "V1"}):
        with pytest.raises(OfferGone):
            await azure.resolve(an_offer(**native), spec)
    with pytest.raises(InvalidRequest):
        await azure.resolve(an_offer(), msgspec.structs.replace(spec, image="pytorch/pytorch"))
    own = await azure.resolve(
        an_offer(driver="own"), msgspec.structs.replace(spec, image="nvidia:driver-image:blackwell:latest")
    )
    assert own.native["image"]["publisher"] == "nvidia"
    assert own.native["driver"] == ""
    assert wire.asked == []


# -- the official descriptions ----------------------------------------------------------------------------


def _body(pricing: str, *, route: str = "internet", **spec: Any) -> dict[str, Any]:
    import asyncio

    offer = an_offer(pricing=pricing, route=route)
    plain = LaunchSpec(name=TOKEN, owner=OWNER, lease="abcdefghi", ssh_public_key=KEY, **spec)
    adapter = Azure(Context(settings={"AZURE_SUBSCRIPTION_ID": SUBSCRIPTION}))
    return request.machine(offer, asyncio.run(adapter.resolve(offer, plain)), TOKEN, root=GROUP)


@pytest.mark.parametrize("pricing", ["on-demand", "spot"])
def test_the_sdk_knows_every_part_of_the_machine_and_of_the_extension(pricing: str) -> None:
    from azure.mgmt.compute import models

    from providers.azure.images import extension

    body = _body(pricing, cmd="true")
    assert of_model(body, models.VirtualMachine) == []
    assert of_model(extension("eastus"), models.VirtualMachineExtension) == []
    made_of = models.VirtualMachine(body)
    assert made_of.properties is not None
    assert json.loads(json.dumps(made_of.as_dict())) == body
    body["properties"]["networkProfile"]["networkInterfaceConfigurations"][0]["properties"]["nonsense"] = 1
    assert of_model(body, models.VirtualMachine), "the check itself must see a wrong name"


def test_the_machine_has_the_shape_of_the_official_examples(spec_dir: Path) -> None:
    folder = spec_dir / "azure"
    if not folder.is_dir():
        pytest.skip("official specs of Azure are not there: set ORCH_SPEC_DIR")
    known: set[tuple[str, str]] = set()
    for name in (
        "VirtualMachine_Create_WithSshAuthentication.json",
        "VirtualMachine_Create_WithNetworkInterfaceConfigurationDnsSettings.json",
    ):
        known |= shapes(json.loads((folder / name).read_text())["parameters"]["parameters"])
    scale = json.loads((folder / "VirtualMachineScaleSet_Create_WithSpotRestorePolicy.json").read_text())
    profile = scale["parameters"]["parameters"]["properties"]["virtualMachineProfile"]
    known |= {(f"/properties{at}", kind) for at, kind in shapes(profile)}
    ours = shapes(_body("spot"))
    types: dict[str, set[str]] = {}
    for at, kind in known:
        types.setdefault(at, set()).add(kind)
    differing = {(at, kind) for at, kind in ours if at in types and kind not in types[at]}
    assert not differing
    at_all = {at for at, _ in ours}
    for needed in (
        "/properties/networkProfile/networkApiVersion",
        "/properties/networkProfile/networkInterfaceConfigurations/*/properties/ipConfigurations/*/properties"
        "/publicIPAddressConfiguration/properties/publicIPAllocationMethod",
        "/properties/osProfile/linuxConfiguration/ssh/publicKeys/*/keyData",
        "/properties/evictionPolicy",
        "/properties/billingProfile/maxPrice",
    ):
        assert needed in types, f"the examples have no {needed}"
        assert needed in at_all, f"we send no {needed}"


async def test_a_look_that_is_refused_in_unknown_words_keeps_the_error_and_what_is_left(
    azure: Azure, attempt: AttemptRef, wire: Wire
) -> None:
    wire.on("PUT", MACHINE, refused("SkuNotAvailable", 409))
    wire.on("GET", MACHINE, refused("NeverHeardOf", 409))
    with pytest.raises(NoCapacity) as caught:
        await azure.launch(attempt.offer, attempt.spec, TOKEN)
    assert [left.handle["group"] for left in caught.value.left] == [TOKEN]


async def test_what_is_left_of_a_launch_of_seconds_ago_is_not_gone_because_it_is_unknown(
    azure: Azure, attempt: AttemptRef, wire: Wire, env: ManualEnv
) -> None:
    wire.on("PUT", MACHINE, refused("SkuNotAvailable", 409))
    wire.on("GET", MACHINE, refused("InternalServerError", 500))
    with pytest.raises(NoCapacity) as caught:
        await azure.launch(attempt.offer, attempt.spec, TOKEN)
    [left] = caught.value.left
    wire.on("GET", MACHINE, refused("ResourceGroupNotFound", 404))
    assert not await azure.terminate(left), "not every part of ARM may know its group yet"
    env.advance(31)
    assert await azure.terminate(left)


@pytest.mark.parametrize(("pricing", "hours"), [("spot", 1), ("on-demand", 23)])
async def test_spot_capacity_comes_back_sooner_than_a_size_that_is_not_sold(
    azure: Azure, attempt: AttemptRef, wire: Wire, pricing: str, hours: int
) -> None:
    wire.on("PUT", MACHINE, refused("SkuNotAvailable", 409, "Following SKUs have failed for Capacity Restrictions"))
    with pytest.raises(NoCapacity) as caught:
        await azure.launch(an_offer(pricing=pricing), attempt.spec, TOKEN)
    assert caught.value.hold_s == hours * 3600.0


async def test_a_create_that_times_out_at_azure_proves_nothing(azure: Azure, attempt: AttemptRef, wire: Wire) -> None:
    wire.on("PUT", MACHINE, refused("RequestTimeout", 408, "the request timed out"))
    with pytest.raises(OutcomeUnknown):
        await azure.launch(attempt.offer, attempt.spec, TOKEN)


async def test_an_answer_that_trickles_in_without_end_is_given_up(
    azure: Azure, attempt: AttemptRef, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.azure.client.TOTAL_S", 0.3)
    over = threading.Event()

    def slow(asked: Asked) -> Answer:
        over.wait(10.0)
        return made(asked)

    wire.on("PUT", MACHINE, slow)
    try:
        with pytest.raises(OutcomeUnknown):
            await asyncio.wait_for(azure.launch(attempt.offer, attempt.spec, TOKEN), 5.0)
    finally:
        over.set()
