"""What a launch is sent, and what its user data does."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.base import LaunchSpec, Offer
from providers.errors import InvalidRequest
from providers.lambda_cloud import request
from tests.contract import lambda_golden as golden

BASH = shutil.which("bash")


def test_a_plain_launch_has_no_image_and_no_user_data(offer: Offer, spec: LaunchSpec) -> None:
    assert request.body(offer, spec, golden.TOKEN, ssh_key=golden.SSH_KEY_NAME) == golden.LAUNCH_BODY


def test_an_offer_of_another_provider_is_refused(offer: Offer, spec: LaunchSpec) -> None:
    for strange in (msgspec.structs.replace(offer, native={}), msgspec.structs.replace(offer, provider="vast")):
        with pytest.raises(InvalidRequest):
            request.body(strange, spec, golden.TOKEN, ssh_key="k")


@pytest.mark.parametrize("native", [{}, {"image_id": ""}, {"image_id": 7}])
def test_no_image_is_named_where_none_was_chosen(offer: Offer, spec: LaunchSpec, native: dict[str, object]) -> None:
    body = request.body(offer, msgspec.structs.replace(spec, native=native), golden.TOKEN, ssh_key="k")
    assert "image" not in body


@pytest.mark.parametrize("env", [{"A B": "1"}, {"1A": "1"}, {"": "1"}, {"A": "x\0y"}, {"A;rm": "1"}])
def test_a_variable_that_cannot_be_set_is_refused(spec: LaunchSpec, env: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        request.user_data(msgspec.structs.replace(spec, env=env))


def test_too_much_user_data_is_refused(spec: LaunchSpec) -> None:
    with pytest.raises(InvalidRequest):
        request.user_data(msgspec.structs.replace(spec, cmd="x" * 1_000_000))


@pytest.mark.skipif(BASH is None, reason="bash is missing: apt-get install bash")
def test_the_script_sets_the_variables_and_runs_the_command(spec: LaunchSpec, tmp_path: Path) -> None:
    home, profile, bin_ = tmp_path / "home/ubuntu", tmp_path / "etc/profile.d", tmp_path / "bin"
    for folder in (home, profile, bin_):
        folder.mkdir(parents=True)
    (home / ".bashrc").write_text("case $- in *i*) ;; *) return;; esac\n")
    # Runs what a unit would run, with the profile that a login shell reads, and notes how it was asked.
    (bin_ / "systemd-run").write_text(
        f'#!/bin/bash\nprintf "%s\\n" "$@" > {tmp_path}/unit\n. {profile}/orch.sh\n'
        f'while [ "$1" != /bin/bash ]; do shift; done\ncd {home} && "$1" -c "$3"\n'
    )
    (bin_ / "systemd-run").chmod(0o755)
    tricky = 'it\'s "$HOME" `id` \\ ü\nsecond line'
    full = msgspec.structs.replace(spec, env={"TRICKY": tricky, "B": ""}, cmd="printf %s \"$TRICKY\" > 'a b'")
    script = request.user_data(full)
    assert script is not None
    assert script.startswith("#!/bin/bash\n")
    local = script.replace("/etc/profile.d", str(profile)).replace("/home/ubuntu", str(home))
    path = f"{bin_}:/usr/bin:/bin"
    done = subprocess.run([str(BASH), "-e"], input=local, text=True, env={"PATH": path}, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (home / "a b").read_text() == tricky
    asked = (tmp_path / "unit").read_text().splitlines()
    assert "--property=User=ubuntu" in asked
    assert "--no-block" in asked
    # What `ssh HOST COMMAND` sees: bash reads ~/.bashrc, which would return before anything appended to it.
    shown = subprocess.run(
        [str(BASH), "-c", f'. {home}/.bashrc; printf %s "$TRICKY"'], text=True, capture_output=True, check=True
    )
    assert shown.stdout == tricky


@pytest.mark.skipif(BASH is None, reason="bash is missing: apt-get install bash")
@given(value=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40), cmd=st.text(max_size=40))
def test_no_text_breaks_out_of_its_quotes(value: str, cmd: str) -> None:
    spec = LaunchSpec(
        name="n", owner=golden.OWNER, lease="l", ssh_public_key="k", env={"A": value}, cmd=cmd.replace("\0", "") or None
    )
    script = request.user_data(spec) or ""
    # Every statement of ours still starts a statement: shlex agrees with us on the words.
    words = shlex.split(script, comments=False)
    at = words.index("%s")
    assert words[at - 1] == "printf"
    assert words[at + 1].startswith("export A=")
    assert shlex.split(words[at + 1]) == ["export", f"A={value}"]
    if spec.cmd:
        assert words[-1] == spec.cmd


def test_an_image_must_fit_region_kind_and_family() -> None:
    rows = golden.IMAGES["data"]
    found = request.image_for(rows, region="europe-central-1", arch="arm64")
    assert found == "5c0cb0b4-0000-4000-8000-000000000002"
    assert request.image_for(rows, region="us-south-1", arch="arm64") == "5c0cb0b4-0000-4000-8000-000000000004"
    assert request.image_for(rows, region="us-west-1", arch="arm64") is None
    assert (
        request.image_for(
            [{}, {"id": 1}, {"id": "x", "architecture": "arm64", "family": None}], region="r", arch="arm64"
        )
        is None
    )
