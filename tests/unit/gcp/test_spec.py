"""The adapter against Google's own discovery documents. (Every other test's calls are held to them, too.)"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import httpx
import msgspec
import pytest

from providers.base import LaunchSpec
from providers.env import ManualEnv
from providers.gcp import errors as gcp_errors
from providers.gcp import instances
from providers.gcp.adapter import Gcp
from tests.unit.gcp.google import TOKEN, Google
from tests.unit.gcp.official import Discovery
from tests.unit.gcp.test_launch import launched


@pytest.fixture(scope="module")
def compute(spec_dir: Path) -> Discovery:
    return Discovery.load(spec_dir / "gcp" / "compute.v1.json.gz")


async def test_the_fullest_insert_and_rule_agree_with_the_schemas(
    compute: Discovery, cloud: Gcp, google: Google, spec: LaunchSpec, env: ManualEnv
) -> None:
    full = msgspec.structs.replace(
        spec, ends_at=env.now() + timedelta(hours=1), cmd="true", env={"A": "b"}, ports=("8080/http", "53/udp")
    )
    await launched(cloud, full, "n1-standard-4+t4x1")
    await launched(cloud, msgspec.structs.replace(full, name=TOKEN), "g4-standard-48")
    posts = google.sent("POST")
    assert {compute.method(call)["id"] for call in posts} == {"compute.instances.insert", "compute.firewalls.insert"}  # type: ignore[index]
    assert [text for call in posts for text in compute.problems(call)] == []


def test_the_judge_itself_finds_what_is_wrong(compute: Discovery) -> None:
    url = "https://compute.googleapis.com/compute/v1/projects/p/zones/z/instances"

    def judged(body: object, query: str = "") -> list[str]:
        return compute.problems(httpx.Request("POST", url + query, content=json.dumps(body)))

    assert judged({"name": "a"}) == []
    assert judged({"name": "a"}, "?requestId=x&nonsense=1") == ["compute.instances.insert: no parameter nonsense"]
    assert judged({"nam": "a"})
    assert judged({"scheduling": {"provisioningModel": "CHEAP"}})
    assert judged({"disks": [{"initializeParams": {"diskSizeGb": 50}}]})
    assert judged({"scheduling": {"maxRunDuration": {"seconds": "soon"}}})
    assert compute.problems(httpx.Request("GET", url + "/a/nowhere"))


def test_every_status_that_the_description_has_is_known(compute: Discovery) -> None:
    statuses = compute.document["schemas"]["Instance"]["properties"]["status"]["enum"]
    unknown = [name for name in statuses if instances.read({"status": name}, account="a", zone="z").phase == "unknown"]
    assert unknown == []


def test_quota_metrics_that_are_asked_for_exist(compute: Discovery) -> None:
    from providers.gcp.hardware import ACCELERATORS, quota_metric

    known = set(compute.document["schemas"]["Quota"]["properties"]["metric"]["enum"])
    asked = {quota_metric(name, spot=spot) for name in ACCELERATORS for spot in (False, True)} - {None}
    assert asked <= known
    assert gcp_errors.ALL_GPUS in known
