"""The request options: what words become, and what is said about wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.options import request_of, request_options
from orchestrator.errors import UsageError
from policies.request import Request

DOCUMENTED = (
    "--gpu --count --replicas --or-better --policy --require --hours --egress --ingress --checkpoint --disk --cpus "
    "--memory --region --country --provider --exclude-provider --workload --image --cmd --env --port --max-price "
    "--budget --ttl --idle --name --keep --detach --wait --ready --yes -f"
)


def _read(*words: str) -> Request:
    got: list[Request] = []

    @click.command()
    @request_options
    def command(**given: Any) -> None:
        got.append(request_of(given))

    result = CliRunner().invoke(command, list(words), standalone_mode=False)
    if result.exception:
        raise result.exception
    return got[0]


def test_every_request_option_of_the_design_is_there() -> None:
    @request_options
    @click.command()
    def command(**given: Any) -> None: ...

    have = {name for param in command.params for name in param.opts}
    assert set(DOCUMENTED.split()) <= have


def test_without_options_the_defaults_are_the_requests() -> None:
    assert _read("--gpu", "l40") == Request(gpu=("l40",))
    assert Request().hours == 24
    assert Request().egress_gb == 0
    assert Request().disk_gib == 50
    assert Request().policy == "cheapest"


def test_the_defaults_in_the_help_are_the_requests() -> None:
    @request_options
    @click.command()
    def command(**given: Any) -> None: ...

    help_of = {param.opts[0]: param.help or "" for param in command.params if isinstance(param, click.Option)}
    defaults = Request()
    expected = {
        "--count": defaults.count,
        "--replicas": defaults.replicas,
        "--policy": defaults.policy,
        "--hours": f"{defaults.hours:g}",
        "--egress": f"{defaults.egress_gb:g}",
        "--ingress": f"{defaults.ingress_gb:g}",
        "--checkpoint": f"{defaults.checkpoint_s / 60:g}m",
        "--disk": defaults.disk_gib,
        "--ready": defaults.ready,
    }
    for option, value in expected.items():
        assert f"(default {value})" in help_of[option], option


def test_words_become_a_request() -> None:
    line = (
        "--gpu l40,l40s -g h100 --count 2 --replicas 3 --or-better --hours 90m --egress 1.5TB --ingress 20 "
        "--disk 200GiB --cpus 8 --memory 64 --region eu-* --region us-east-1 --country de,FR --provider RunPod,fluence "
        "--exclude-provider vast --max-price 2.50 --budget $40 --ttl 2h --name my-run --ready ssh --wait 10m "
        "--env A=1 --env B=x=y --port 8080/http --port 22 --require min_reliability=0.99 --checkpoint 15m"
    )
    request = _read(*line.split(), "--image", "img:1", "--cmd", "python train.py --fast")
    assert request.gpu == ("l40", "l40s", "h100")
    assert (request.count, request.replicas, request.or_better) == (2, 3, True)
    assert (request.hours, request.egress_gb, request.ingress_gb) == (1.5, 1500, 20)
    assert (request.disk_gib, request.cpus, request.memory_gib) == (200, 8, 64)
    assert request.region == ("eu-*", "us-east-1")
    assert request.country == ("DE", "FR")
    assert request.provider == ("runpod", "fluence")
    assert request.exclude_provider == ("vast",)
    assert (request.max_price, request.budget) == (Decimal("2.50"), Decimal(40))
    assert (request.ttl_s, request.wait_s, request.checkpoint_s) == (7200, 600, 900)
    assert request.env == {"A": "1", "B": "x=y"}
    assert request.port == ("8080/http", "22/tcp")
    assert request.require == ("min_reliability=0.99",)
    assert (request.image, request.cmd) == ("img:1", "python train.py --fast")
    assert (request.name, request.ready) == ("my-run", "ssh")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--egress", "5 potatoes"], "--egress"),
        (["--egress", "5gb"], "--egress"),
        (["--egress", "-1"], "--egress"),
        (["--hours", "0"], "--hours"),
        (["--hours", "NaN"], "--hours"),
        (["--disk", "big"], "--disk"),
        (["--count", "1.5"], "--count"),
        (["--count", "0"], "--count"),
        (["--budget", "much"], "--budget"),
        (["--ttl", "5"], "--ttl"),
        (["--country", "Germany"], "--country"),
        (["--port", "99999/http"], "--port"),
        (["--env", "NAME"], "--env"),
        (["--ready", "soon"], "--ready"),
        (["--workload", "toaster"], "--workload"),
        (["--name", "Not A Name"], "--name"),
    ],
)
def test_a_bad_value_is_one_error_that_names_the_option(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        _read("--gpu", "l40", *words)
    assert caught.value.message.startswith(said)
    assert "\n" not in caught.value.message


def test_an_unknown_gpu_is_answered_with_the_nearest(orch: Callable[..., Result]) -> None:
    result = orch("plan --gpu h10")
    assert result.exit_code == 2
    assert "error: --gpu: no model is called 'h10'" in result.stderr
    assert "h100" in result.stderr.partition("hint:")[2]


def test_no_gpu_at_all_is_told(orch: Callable[..., Result]) -> None:
    result = orch("plan")
    assert result.exit_code == 2
    assert "no model is asked for" in result.stderr


def test_a_file_gives_options_and_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "request.toml"
    file.write_text('gpu = ["l40", "l40s"]\nhours = 4\negress_gb = 200\nexclude-provider = "vast"\n')
    request = _read("-f", str(file), "--egress", "1TB", "--gpu", "h100")
    assert request.gpu == ("h100",)
    assert (request.hours, request.egress_gb) == (4, 1000)
    assert request.exclude_provider == ("vast",)


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ('gpu = "l40"\nhours = "long"\n', ":2:", "hours"),
        ('gpu = "l40"\n\n\ncolour = "red"\n', ":4:", "colour"),
        ('gpu = "l40"\nhours = \n', ":2:", "not TOML"),
        ('gpu = "l40"\ndisk_gib = "x"\n', ":2:", "disk_gib"),
    ],
)
def test_an_error_in_a_file_says_where(tmp_path: Path, text: str, place: str, said: str) -> None:
    file = tmp_path / "request.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        _read("-f", str(file))
    assert caught.value.message.startswith(f"{file}{place} {said}")


def test_a_missing_file_is_told(orch: Callable[..., Result]) -> None:
    result = orch("plan -f nowhere.toml")
    assert result.exit_code == 2
    assert "error: nowhere.toml: No such file or directory" in result.stderr


@pytest.mark.parametrize("option", ["--detach", "--keep", "--idle 10m"])
@pytest.mark.parametrize("command", ["up", "plan"])
def test_an_option_without_an_enforcer_is_refused(
    command: str, option: str, orch: Callable[..., Result], engine: Any
) -> None:
    result = orch(f"{command} --gpu l40 --yes {option}")
    assert result.exit_code == 2
    assert f"{option.split()[0]} needs a daemon" in result.stderr
    assert "hint: " in result.stderr
    assert engine.calls == []


def test_what_a_file_wants_without_an_enforcer_is_refused_too(tmp_path: Path, orch: Callable[..., Result]) -> None:
    file = tmp_path / "r.toml"
    file.write_text('gpu = "l40"\nkeep = true\n')
    assert orch(f"up -f {file} --yes").exit_code == 2
