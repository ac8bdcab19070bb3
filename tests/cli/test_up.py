"""`orch up`: the plan, the question, the progress, and what is said about the machine that runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

from orchestrator.cli._app import App
from orchestrator.errors import (
    BudgetExceeded,
    ConfigError,
    Interrupted,
    LaunchFailed,
    NoOffer,
    OutcomeUnclear,
)


@pytest.fixture(autouse=True)
def _ready(engine: Any, make: SimpleNamespace) -> None:
    engine.planned = make.plan(make.offer())
    engine.open = [make.lease()]


def test_without_a_terminal_it_wants_yes(orch: Callable[..., Result], engine: Any) -> None:
    result = orch("up --gpu l40")
    assert result.exit_code == 2
    assert "hint: say --yes" in result.stderr
    assert "policy cheapest: 1 offer," in result.stderr
    assert engine.called("up") == []


def test_on_a_terminal_it_asks_and_no_means_nothing_is_rented(
    orch: Callable[..., Result], engine: Any, app: App
) -> None:
    app.terminal = True
    result = orch(*["up", "--gpu", "l40"], answer="n\n")
    assert result.exit_code == 130
    assert "Rent it at $0.70/h, expected $16.8" in result.stderr
    assert "nothing was begun" in result.stderr
    assert engine.called("up") == []


def test_on_a_terminal_yes_rents_the_plan_that_was_shown(orch: Callable[..., Result], engine: Any, app: App) -> None:
    app.terminal = True
    result = orch(*["up", "--gpu", "l40"], answer="y\n")
    assert result.exit_code == 0, result.stderr
    [(request, plan)] = engine.called("up")
    assert request.gpu == ("l40",)
    assert plan is engine.planned


def test_ctrl_d_at_the_question_rents_nothing(orch: Callable[..., Result], engine: Any, app: App) -> None:
    app.terminal = True
    result = orch(*["up", "--gpu", "l40"], answer="")
    assert result.exit_code == 130
    assert engine.called("up") == []


@pytest.mark.parametrize("line", ["up --gpu l40 --yes", "up --gpu l40 -y"])
def test_yes_does_not_ask(line: str, orch: Callable[..., Result], engine: Any) -> None:
    result = orch(line)
    assert result.exit_code == 0, result.stderr
    assert len(engine.called("up")) == 1
    assert "Rent it" not in result.stderr


def test_the_sandbox_never_asks_and_says_once_who_runs_commands(
    orch: Callable[..., Result], app: App, engine: Any
) -> None:
    app.terminal = True
    result = orch("--sandbox up --gpu l40")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("commands there run as you on this computer") == 1
    assert len(engine.called("up")) == 1


def test_real_providers_get_no_sandbox_notice(orch: Callable[..., Result]) -> None:
    assert "sandbox" not in orch("up --gpu l40 --yes").stderr


def test_what_runs_is_told_with_its_price_and_that_it_bills_on(orch: Callable[..., Result]) -> None:
    out = orch("up --gpu l40 --yes").stdout
    assert "trainer runs: 1 x l40 at fluence DE-EAST for $0.70/h, expected $16.80 in all" in out
    assert "orch ssh trainer" in out
    assert "ssh -p 2222 root@127.0.0.1" in out
    assert "until `orch down trainer`" in out


def test_a_machine_that_ends_by_itself_says_when(
    orch: Callable[..., Result], engine: Any, make: SimpleNamespace
) -> None:
    engine.open = [make.lease(ends_at=make.now + timedelta(hours=2))]
    out = orch("up --gpu l40 --yes --ttl 2h").stdout
    assert "2026-11-22T14:00:00Z" in out
    assert "in 2 h" in out
    assert "until `orch down" not in out
    [(request, _)] = engine.called("up")
    assert request.ttl_s == 7200


def test_the_plan_and_the_progress_stay_off_stdout(
    orch: Callable[..., Result], engine: Any, make: SimpleNamespace, one_document: Callable[[Result], Any]
) -> None:
    engine.happened = [make.event(1, "launching", "asking fluence"), make.event(2, "running", "fluence runs")]
    result = orch("up --gpu l40 --yes --json")
    assert result.exit_code == 0
    [lease] = one_document(result)["leases"]
    assert lease["name"] == "trainer"
    assert lease["usd_per_hour"] == "0.70"
    assert "policy cheapest" in result.stderr
    assert "attempt 1 launching: asking fluence\nattempt 1 running: fluence runs\n" in result.stderr


def test_progress_of_several_machines_says_which(
    orch: Callable[..., Result], engine: Any, make: SimpleNamespace
) -> None:
    engine.happened = [make.event(1, "launching", "asking fluence")]
    result = orch("up --gpu l40 --yes --replicas 2")
    assert "lease2345 attempt 1 launching: asking fluence" in result.stderr


def test_progress_on_a_pipe_has_no_times(orch: Callable[..., Result], engine: Any, make: SimpleNamespace) -> None:
    later = make.event(1, "running", "fluence runs", at=make.now + timedelta(seconds=77))
    engine.happened = [later]
    first = orch("up --gpu l40 --yes").stderr
    engine.happened = [make.event(1, "running", "fluence runs")]
    assert orch("up --gpu l40 --yes").stderr == first


def test_what_a_dead_command_left_is_settled_first_and_told(
    orch: Callable[..., Result], engine: Any, make: SimpleNamespace
) -> None:
    engine.left = [make.lease("older")]
    result = orch("up --gpu l40 --yes")
    names = [call[0] for call in engine.calls]
    assert names.index("resume") < names.index("plan") < names.index("up")
    assert "older, left by an earlier command, runs and bills" in result.stderr


def test_what_cannot_be_settled_is_a_warning_and_keeps_nobody_from_renting(
    orch: Callable[..., Result], engine: Any
) -> None:
    engine.fails["resume"] = ConfigError("aws is not configured, but a machine there is on record", hint="set it")
    result = orch("up --gpu l40 --yes")
    assert result.exit_code == 0
    assert "warning: what earlier commands left is not settled: aws is not configured" in result.stderr
    assert "hint: set it" in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoOffer("none of 3 offers satisfies policy 'cheapest'", hint="orch plan"), 3),
        (LaunchFailed("every candidate failed", hint="later"), 4),
        (ConfigError("no provider is configured", hint="try --sandbox"), 5),
        (BudgetExceeded("every offer costs more than the budget"), 7),
        (OutcomeUnclear("something may be running", hint="orch gc"), 8),
        (Interrupted("stopped; what was begun is ended"), 130),
    ],
)
def test_every_failure_has_its_exit_code_its_document_and_its_hint(
    error: Any, code: int, orch: Callable[..., Result], engine: Any, one_document: Callable[[Result], Any]
) -> None:
    engine.fails["up"] = error
    shown = orch("up --gpu l40 --yes")
    assert shown.exit_code == code
    assert shown.stdout == ""
    assert f"error: {error.message}" in shown.stderr
    assert (f"hint: {error.hint}" in shown.stderr) == (error.hint is not None)
    document = orch("up --gpu l40 --yes --json")
    assert document.exit_code == code
    assert one_document(document) == {
        "error": {"type": type(error).__name__, "message": error.message, "hint": error.hint}
    }


def test_a_failure_that_knows_leases_gives_them(
    orch: Callable[..., Result], engine: Any, make: SimpleNamespace, one_document: Callable[[Result], Any]
) -> None:
    engine.fails["up"] = LaunchFailed("every candidate failed", leases=(make.ended(),))
    document = one_document(orch("up --gpu l40 --yes --json"))
    assert document["leases"][0]["attempts"][0]["error"]["code"] == "sold-out"


def test_an_empty_plan_asks_nothing(orch: Callable[..., Result], engine: Any, app: App, make: SimpleNamespace) -> None:
    app.terminal = True
    engine.planned = make.plan(make.offer(available=False))
    engine.fails["up"] = NoOffer("none of 1 offers satisfies policy 'cheapest'")
    result = orch("up --gpu l40")
    assert result.exit_code == 3
    assert "sold_out" in result.stderr
    assert "Rent it" not in result.stderr


def test_without_any_provider_the_sandbox_is_named(orch: Callable[..., Result], engine: Any) -> None:
    engine.fails["plan"] = ConfigError("no provider is configured", hint="set KEY, or: orch --sandbox up ...")
    result = orch("up --gpu l40")
    assert result.exit_code == 5
    assert "--sandbox" in result.stderr


def test_a_machine_without_an_address_is_told_without_an_ssh_line(
    orch: Callable[..., Result], engine: Any, make: SimpleNamespace
) -> None:
    engine.open = [make.lease(address=None, promised_total_usd=Decimal(20))]
    engine.fails["remote"] = ConfigError("there is nothing to reach")
    out = orch("up --gpu l40 --yes --ready none").stdout
    assert "trainer runs" in out
    assert "or: " not in out
