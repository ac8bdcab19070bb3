"""The create body, and what its start script really does when a shell runs it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from providers.base import LaunchSpec, Offer
from providers.errors import InvalidRequest
from providers.vast.request import body, start_script
from tests.contract import vast_golden as golden

TOKEN = "orch-aerukz4-abcdefghi-01"


def test_an_on_demand_body_is_the_documented_one(offer: Offer, spec: LaunchSpec) -> None:
    sent = body(offer, replace(spec, ports=("8080/http",)), TOKEN)
    script = sent.pop("onstart")
    expected = dict(golden.CREATE_BODY)
    expected.pop("onstart")
    assert sent == expected
    assert "ssh-ed25519 AAAA orch" in script


def test_on_demand_never_names_a_price_and_a_bid_names_the_quoted_one(
    offer: Offer, bid: Offer, spec: LaunchSpec
) -> None:
    assert body(offer, spec, TOKEN)["price"] is None
    assert body(bid, spec, TOKEN)["price"] == 0.21


@pytest.mark.parametrize("price", [None, "0", "0.0009", "128.01"])
def test_a_bid_that_the_wire_does_not_take_is_not_sent(bid: Offer, spec: LaunchSpec, price: str | None) -> None:
    from decimal import Decimal

    wrong = replace(bid, usd_per_hour=None if price is None else Decimal(price))
    with pytest.raises(InvalidRequest):
        body(wrong, spec, TOKEN)


def test_a_machine_that_is_taken_is_refused_and_never_queued(offer: Offer, bid: Offer, spec: LaunchSpec) -> None:
    for each in (offer, bid):
        assert body(each, spec, TOKEN)["cancel_unavail"] is True


def test_the_users_image_and_environment_go_beside_our_mark(offer: Offer, spec: LaunchSpec) -> None:
    sent = body(offer, replace(spec, image="me/mine:1", env={"HF_TOKEN": "x", "ORCH_OWNER": "not me"}), TOKEN)
    assert sent["image"] == "me/mine:1"
    assert sent["env"] == {"HF_TOKEN": "x", "ORCH_OWNER": spec.owner, "ORCH_TOKEN": TOKEN}
    assert sent["label"] == TOKEN


@pytest.mark.parametrize(
    ("ports", "flags"),
    [
        (("8080/http", "9000/tcp"), ["-p 8080:8080", "-p 9000:9000"]),
        (("5000/udp",), ["-p 5000:5000/udp"]),
        (("22/tcp", "22"), []),
        (("22/udp",), ["-p 22:22/udp"]),
        (("8080",), ["-p 8080:8080"]),
    ],
)
def test_ports_become_dockers_flags(offer: Offer, spec: LaunchSpec, ports: tuple[str, ...], flags: list[str]) -> None:
    env = body(offer, replace(spec, ports=ports), TOKEN)["env"]
    assert [name for name in env if name.startswith("-p")] == flags


@pytest.mark.parametrize(
    "wrong",
    [
        {"ports": ("80000/tcp",)},
        {"ports": ("0",)},
        {"ports": ("http",)},
        {"ports": ("8080/sctp",)},
        {"ports": tuple(str(port) for port in range(1000, 1064))},
        {"env": {"-p 22:22": "1"}},
        {"env": {"A B": "1"}},
        {"env": {"A" * 257: "1"}},
        {"env": {"A": "x" * 33_000}},
        {"image": "x" * 1025},
        {"cmd": "x" * 4000},
        {"ssh_public_key": "ssh-ed25519 AAAA orch\nssh-rsa BBBB other"},
        {"ssh_public_key": "$(reboot)"},
        {"ssh_public_key": ""},
    ],
)
def test_what_the_wire_cannot_carry_is_refused_before_it_is_sent(
    offer: Offer, spec: LaunchSpec, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest):
        body(offer, replace(spec, **wrong), TOKEN)


def run(spec: LaunchSpec, home: Path, **env: str) -> None:
    """Run the start script with *home* for everything it writes."""
    (home / "etc").mkdir(exist_ok=True)
    script = start_script(spec).replace("/etc/", f"{home}/etc/").replace("/var/log/", f"{home}/etc/")
    # wait: the command goes on in the background, as it should on a machine.
    subprocess.run(
        ["sh", "-c", script + "wait\n"], env={"PATH": os.environ["PATH"], "HOME": str(home), **env}, check=True
    )


def test_the_script_writes_our_key_once_however_often_it_runs(spec: LaunchSpec, tmp_path: Path) -> None:
    ssh = tmp_path / ".ssh"
    ssh.mkdir()
    (ssh / "authorized_keys").write_text("ssh-rsa BBBB the account's own")  # without a newline at its end
    for _ in range(3):
        run(spec, tmp_path)
    lines = [line for line in (ssh / "authorized_keys").read_text().splitlines() if line]
    assert lines == ["ssh-rsa BBBB the account's own", "ssh-ed25519 AAAA orch"]
    assert (ssh / "authorized_keys").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / ".no_auto_tmux").exists()


def test_a_key_with_odd_words_behind_it_is_written_as_it_is(spec: LaunchSpec, tmp_path: Path) -> None:
    odd = 'ssh-ed25519 AAAA it\'s "me" $(date) %s `id`'
    run(replace(spec, ssh_public_key=odd), tmp_path)
    assert odd in (tmp_path / ".ssh" / "authorized_keys").read_text().splitlines()


def test_the_command_runs_with_the_environment_and_sessions_see_it_too(spec: LaunchSpec, tmp_path: Path) -> None:
    asked = replace(spec, env={"MODEL": "m"}, cmd='echo "it\'s $MODEL" > "$HOME/ran"; exit 3')
    run(asked, tmp_path, MODEL="llama 3", OTHER="not mine")
    assert (tmp_path / "ran").read_text() == "it's llama 3\n"
    assert (tmp_path / "etc" / "environment").read_text() == "MODEL=llama 3\n"


def test_without_a_command_nothing_but_ssh_is_prepared(spec: LaunchSpec) -> None:
    script = start_script(spec)
    assert "nohup" not in script
    assert "environment" not in script
