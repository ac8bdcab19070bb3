"""The emulated kube-apiserver answers as a real one did, exchange by exchange."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

import tests.contract.coreweave_traces as traces
from providers.coreweave.emulator_options import Options, User
from tests.contract.coreweave_bench import L40, bench

#: The recorded cluster: one instance type, no nodes, and nothing beside the API server but a scheduler.
MARKET = {"types": [{"id": L40, "gpus": 8, "vcpu": 128, "memory_gb": 1024, "usd_per_hour": "10"}]}
TOKENS: dict[str, str | None] = {
    "admin": "CW-SECRET-sandbox",
    "user-without-rights": "CW-SECRET-alice",
    "invalid": "CW-SECRET-revoked",
    "none": None,
}


def recorded() -> Options:
    """The emulator, set up as the server that was recorded."""
    users = {"CW-SECRET-alice": User("alice", "none")}
    return Options(controllers=frozenset(["scheduler"]), bad_token="unauthorized", users=users)


async def test_every_recorded_exchange_is_answered_alike(spec_dir: Path) -> None:
    if not (spec_dir / "coreweave").is_dir():
        pytest.skip("no recorded exchanges: set ORCH_SPEC_DIR (looked in coreweave/)")
    exchanges = traces.read(spec_dir)
    assert len(exchanges) == 68
    wrong: dict[str, list[str]] = {}
    stale: dict[str, list[str]] = {}
    version = ""
    async with bench(recorded(), market=MARKET) as cks, httpx.AsyncClient(base_url=cks.http.base_url) as anybody:
        for trace in exchanges:
            request = trace["request"]
            if trace["name"] == "pod-watch":
                # From where the recorder began to watch: after the Pods were listed, before the node came.
                request["query"] |= {"resourceVersion": version, "timeoutSeconds": "1"}
            answer = await traces.replay(anybody, request, TOKENS)
            if trace["name"] == "pod-list-selector":
                version = answer.json()["metadata"]["resourceVersion"]
            if found := traces.compare(trace, answer):
                wrong[trace["name"]] = found
            if left := traces.unused(trace, answer):
                stale[trace["name"]] = left
    assert wrong == {}
    assert stale == {}, "these differences are listed and no longer occur"
