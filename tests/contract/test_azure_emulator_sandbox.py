"""Azure's emulator: what tests and the sandbox see of it beside the wire: verbs, settings, market, real machines."""

from __future__ import annotations

import asyncio
import re
from decimal import Decimal
from pathlib import Path

import pytest

from providers.azure.emulator import AzureEmulator
from providers.azure.emulator_market import Market
from providers.azure.emulator_odata import BadFilter, parse
from providers.env import ManualEnv
from providers.sandbox.machines import SshMachines
from providers.sandbox.world import World
from tests.contract.azure_bench import Bench, bench, code

S = "/subscriptions/6d7a1f6e-3c52-4c0b-9a8e-5b1f0d4c7e21"
G = f"{S}/resourceGroups/g"
C, N = f"{G}/providers/Microsoft.Compute", f"{G}/providers/Microsoft.Network"


@pytest.mark.parametrize(
    ("method", "path", "verb"),
    [
        ("GET", "/api/retail/prices", "offers"),
        ("GET", f"{S}/providers/Microsoft.Compute/skus", "offers"),
        ("GET", f"{S}/providers/Microsoft.Compute/locations/eastus/usages", "offers"),
        ("GET", S, "account"),
        ("POST", "/tenant/oauth2/v2.0/token", "account"),
        ("PUT", f"{C}/virtualMachines/x", "launch"),
        ("GET", f"{C}/virtualMachines/x", "find"),
        ("GET", f"{C}/virtualMachines/x/instanceView", "find"),
        ("GET", f"{N}/networkInterfaces/x", "find"),
        ("GET", f"{C}/virtualMachines", "owned"),
        ("GET", f"{S.upper()}/PROVIDERS/microsoft.compute/virtualmachines", "owned"),
        ("GET", f"{S}/resources", "owned"),
        ("DELETE", f"{C}/virtualMachines/x", "terminate"),
        ("DELETE", f"{N}/publicIPAddresses/x", "terminate"),
        ("DELETE", G, "terminate"),
        # A fault in a launch is one in the PUT of the machine, not of what lies around it.
        ("PUT", G, "other"),
        ("PUT", f"{N}/networkInterfaces/x", "other"),
        ("POST", f"{C}/virtualMachines/x/deallocate", "other"),
        ("GET", "/elsewhere", "other"),
    ],
)
def test_which_verb_of_the_contract_a_request_serves(method: str, path: str, verb: str) -> None:
    assert AzureEmulator(World(ManualEnv())).verb(method, path) == verb


def test_its_settings_are_azures_names_a_token_and_a_url() -> None:
    found = AzureEmulator(World(ManualEnv())).environment("http://127.0.0.1:1/azure")
    assert found.keys() == {"AZURE_SUBSCRIPTION_ID", "AZURE_TENANT_ID", "ORCH_AZURE_TOKEN", "ORCH_AZURE_URL"}
    assert found["ORCH_AZURE_URL"] == "http://127.0.0.1:1/azure"


def test_the_market_holds_the_sheets_prices_and_no_l40() -> None:
    market = Market()
    assert 4 <= len(market.regions) <= 6
    assert [name for name, one in market.regions.items() if one.restricted] == ["southcentralus"]
    assert not any("L40" in size.device or "L40" in size.name for size in market.sizes.values())
    for name, region, usd in (
        ("Standard_NC24ads_A100_v4", "eastus", "3.673"),
        ("Standard_NV36ads_A10_v5", "westeurope", "4.16"),
        ("Standard_NC8ads_A10_v4", "westus3", "1.1"),
        ("Standard_ND96isr_H200_v5", "eastus2", "84.8"),
    ):
        size = market.size(name)
        assert size is not None
        assert market.on_demand(size, region) == Decimal(usd)
    for size in market.sizes.values():
        for region in market.regions:
            regular, spot = market.on_demand(size, region), market.spot(size, region)
            assert (regular is None) == (not market.sold(size, region))
            assert spot is None or (regular is not None and 0 < spot < regular)  # never above the regular price


def test_the_markets_prices_are_those_of_the_official_list(spec_dir: Path) -> None:
    import json

    file = spec_dir / "azure" / "gpu-ondemand-usd-per-hour.2026-06-18.json"
    if not file.is_file():
        pytest.skip(f"no {file.name}: set ORCH_SPEC_DIR to the folder of official API descriptions")
    listed = json.loads(file.read_text(encoding="utf-8"), parse_float=Decimal, parse_int=Decimal)["prices"]
    market = Market()
    for size in market.sizes.values():
        ours = {region: market.on_demand(size, region) for region in market.regions}
        assert ours == {region: listed[size.name].get(region) for region in market.regions}, size.name


def test_filters_are_read_or_refused() -> None:
    row = {"a": "x", "b": Decimal("1.5"), "c": "Hello"}
    for text, agrees in (
        ("a eq 'x' and b eq 1.5", True),
        ("a ne 'x' or startswith(c,'He')", True),
        ("not (a eq 'x')", False),
        ("endswith(c,'LO')", False),
        ("substringof('ell', c) eq true", True),
        ("c eq 'O''Hara'", False),
    ):
        assert parse(text)[0](row) is agrees, text
    assert parse("endswith(c,'LO')", case=False)[0](row)
    for text in (
        "",
        "a",
        "a eq",
        "a eq 'x' b",
        "a gt 1",
        "contains(a)",
        "a eq 'x",
        "contains(a,'x') eq 5",
        "(a eq 'x'",
    ):
        with pytest.raises(BadFilter):
            parse(text)


async def test_two_worlds_with_one_seed_answer_alike() -> None:
    async def talk(b: Bench) -> str:
        text = str(await b.running())
        return re.sub(r"127\.0\.0\.1:\d+", "", text)

    async with bench() as first, bench() as second:
        assert await talk(first) == await talk(second)


async def test_disks_can_be_made_and_deleted_alone_and_not_under_a_machine() -> None:
    async with bench() as b:
        vm = await b.running()
        path = b.path("disks", "data")
        body = {"location": "eastus", "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 100}}
        made = await b.call("PUT", path, body)
        assert (made.status_code, made.json()["properties"]["diskState"]) == (202, "Unattached")
        assert path in b.world.ledger.billing()
        own = (await b.call("GET", b.path("disks", "box-os"))).json()
        assert (own["managedBy"], own["properties"]["osType"], own["sku"]["tier"]) == (vm["id"], "Linux", "Standard")
        assert code(await b.call("DELETE", b.path("disks", "box-os"))) == (409, "OperationNotAllowed")
        assert (await b.call("DELETE", path)).status_code == 202
        b.pass_time(10)
        assert b.world.ledger.billing() == [vm["id"]]
        second = b.order(await b.prepare())
        refused = await b.call("PUT", b.path("virtualMachines", "second"), second)
        assert code(refused) == (409, "ConflictingUserInput")  # its OS disk has the first one's name
        assert b.emulator.leftovers() == []


async def test_a_running_machine_answers_ssh_with_the_key_of_the_request(tmp_path: Path) -> None:
    asyncssh = pytest.importorskip("asyncssh", reason="asyncssh is not installed: pip install 'gpu-orch[sandbox]'")
    key = asyncssh.generate_private_key("ssh-ed25519")
    public = key.export_public_key().decode().strip()
    async with bench() as b:
        machines = SshMachines(tmp_path)
        b.world.machines = machines
        try:
            order = b.order(await b.prepare())
            order["properties"]["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"][0]["keyData"] = public
            await b.launch("box", order)
            b.pass_time(80)
            [machine] = machines.running()
            host, port = machines.dial(machine.host, 22)
            async with asyncssh.connect(host, port, username="orch", client_keys=[key], known_hosts=None) as ssh:
                answer = await asyncio.wait_for(ssh.run("nvidia-smi -L"), 30)
            assert str(answer.stdout).startswith("GPU 0: Tesla T4")
            await b.call("DELETE", b.path("virtualMachines", "box"))
            assert machines.running() == []
        finally:
            await machines.aclose()
