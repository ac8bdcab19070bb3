"""Where credentials and project come from, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import respx

from providers import errors
from providers.base import Context
from providers.gcp import credentials, regions
from providers.gcp.adapter import Gcp
from providers.http import BadUrl
from tests.unit.gcp.conftest import BEARER
from tests.unit.gcp.google import Google

LOOPBACK = "http://127.0.0.1:8123/gcp"


def write(path: Path, **info: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(info))
    return str(path)


def test_the_named_file_comes_before_gclouds(tmp_path: Path) -> None:
    write(tmp_path / ".config/gcloud/application_default_credentials.json", type="authorized_user")
    named = write(tmp_path / "key.json", type="service_account", project_id="from-the-key")
    found = credentials.load({"GOOGLE_APPLICATION_CREDENTIALS": named, "HOME": str(tmp_path)})
    assert (found.origin, found.project) == ("GOOGLE_APPLICATION_CREDENTIALS", "from-the-key")


def test_the_settings_project_comes_before_the_keys(tmp_path: Path) -> None:
    named = write(tmp_path / "key.json", type="service_account", project_id="from-the-key")
    found = credentials.load(
        {"GOOGLE_APPLICATION_CREDENTIALS": named, "CLOUDSDK_CORE_PROJECT": "chosen", "HOME": str(tmp_path)}
    )
    assert found.project == "chosen"


def test_gclouds_file_is_read_and_so_is_its_project(tmp_path: Path) -> None:
    config = tmp_path / "elsewhere"
    write(config / "application_default_credentials.json", type="authorized_user", quota_project_id="billed")
    (config / "configurations").mkdir()
    (config / "active_config").write_text("work\n")
    (config / "configurations/config_work").write_text("[core]\nproject = from-gcloud\n")
    found = credentials.load({"CLOUDSDK_CONFIG": str(config), "HOME": str(tmp_path)})
    assert (found.project, found.quota_project) == ("from-gcloud", "billed")
    assert not found.is_metadata


def test_without_a_file_but_with_a_project_the_metadata_server_is_asked(tmp_path: Path) -> None:
    assert credentials.load({"GOOGLE_CLOUD_PROJECT": "p", "HOME": str(tmp_path)}).is_metadata


@pytest.mark.parametrize("content", ["", "{", "[]", "\xff"])
def test_a_file_that_cannot_be_read_is_a_failed_key(tmp_path: Path, content: str) -> None:
    file = tmp_path / "key.json"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(errors.AuthFailed):
        credentials.load({"GOOGLE_APPLICATION_CREDENTIALS": str(file), "HOME": str(tmp_path)})


def test_without_anything_it_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(errors.AuthFailed, match="gcloud auth application-default login"):
        credentials.load({"HOME": str(tmp_path)})


def test_a_key_without_a_project_says_what_to_set(tmp_path: Path) -> None:
    named = write(tmp_path / "key.json", type="authorized_user")
    with pytest.raises(errors.AuthFailed, match="GOOGLE_CLOUD_PROJECT"):
        credentials.load({"GOOGLE_APPLICATION_CREDENTIALS": named, "HOME": str(tmp_path)})


@pytest.mark.parametrize("url", ["", "https://compute.googleapis.com"])
def test_a_fixed_token_is_for_loopback_only(url: str, tmp_path: Path) -> None:
    settings = {"ORCH_GCP_TOKEN": "t", "ORCH_GCP_URL": url, "GOOGLE_CLOUD_PROJECT": "p", "HOME": str(tmp_path)}
    with pytest.raises(errors.AuthFailed, match="loopback"):
        credentials.load(settings)


async def test_one_url_stands_in_for_both_apis_with_their_paths_unchanged() -> None:
    settings = {"ORCH_GCP_TOKEN": "test-token", "ORCH_GCP_URL": LOOPBACK, "GOOGLE_CLOUD_PROJECT": "p"}
    cloud = Gcp(Context(settings=settings))
    with respx.mock as router:
        project = router.get(f"{LOOPBACK}/compute/v1/projects/p").mock(
            return_value=httpx.Response(200, json={"id": "7", "name": "p"})
        )
        regions_ = router.get(f"{LOOPBACK}/compute/v1/projects/p/regions").mock(
            return_value=httpx.Response(200, json={"items": []})
        )
        skus = router.get(f"{LOOPBACK}/v1/services/6F81-5844-456A/skus").mock(
            return_value=httpx.Response(200, json={"skus": []})
        )
        lines = await cloud.check()
    assert lines["key"] == "accepted (ORCH_GCP_TOKEN)"
    for route in (project, regions_, skus):
        assert route.calls.last.request.headers["Authorization"] == "Bearer test-token"
    await cloud.aclose()


async def test_the_token_never_shows_in_an_error() -> None:
    settings = {"ORCH_GCP_TOKEN": "test-token", "ORCH_GCP_URL": LOOPBACK, "GOOGLE_CLOUD_PROJECT": "p"}
    cloud = Gcp(Context(settings=settings))
    with respx.mock as router:
        body = {"error": {"code": 401, "message": "who is test-token?", "errors": [{"reason": "authError"}]}}
        router.get(url__startswith=LOOPBACK).mock(return_value=httpx.Response(401, json=body))
        with pytest.raises(errors.AuthFailed) as caught:
            await cloud.account()
    assert "test-token" not in str(caught.value)
    await cloud.aclose()


def test_tokens_are_never_sent_in_the_clear() -> None:
    with pytest.raises(BadUrl):
        Gcp(Context(settings={"ORCH_GCP_URL": "http://example.com"}))


def test_regions_are_checked_and_each_is_searched_once() -> None:
    assert regions.searched({"ORCH_GCP_REGIONS": "us-east1, us-east1 europe-west10"}) == ("us-east1", "europe-west10")
    with pytest.raises(regions.BadRegion, match="ORCH_GCP_REGIONS"):
        regions.searched({"ORCH_GCP_REGIONS": "us-central1-a"})
    assert {regions.country(name) for name in regions.DEFAULT} >= {"US", "CA", "NL", "JP"}


def test_importing_the_adapter_imports_no_google() -> None:
    code = "import sys, providers.gcp.adapter; print([name for name in sys.modules if name.startswith('google')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


async def test_a_minted_token_does_not_show_in_what_is_counted_as_unclassified(
    cloud: Gcp, google: Google, unclassified: list[tuple[str, str, str]]
) -> None:
    google.answer("GET", "", httpx.Response(451, text=f"blocked: Authorization: Bearer {BEARER}"))
    with pytest.raises(errors.Unclassified) as caught:
        await cloud.account()
    assert BEARER not in str(caught.value)
    assert len(unclassified) == 1
    assert BEARER not in str(unclassified)
