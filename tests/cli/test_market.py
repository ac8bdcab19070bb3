"""`offers`, `providers`, `gpus`, `policies` and `gc`."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from click.testing import Result

from orchestrator.models import ProviderState, Stray
from policies.plan import SourceState
from providers.base import EgressTier, Offer
from providers.errors import AuthFailed, ProviderError, Unavailable
from providers.gpus import GPUS


@pytest.fixture(autouse=True)
def _market(engine: Any, make: SimpleNamespace) -> None:
    tiers = (EgressTier(up_to_gb=Decimal(100)), EgressTier(usd_per_gb=Decimal("0.09")))
    engine.market = SimpleNamespace(
        offers=[
            make.offer("b", usd_per_hour=Decimal(2), gpu_count=4, egress=tiers),
            make.offer("a", usd_per_hour=Decimal(1)),
            make.offer("unpriced", usd_per_hour=None, egress=None),
            make.offer("gone", usd_per_hour=Decimal("0.1"), available=False),
        ],
        sources=(
            SourceState(provider="fluence", offers=4, observed_at=make.now, note="64 rows shown"),
            SourceState(provider="runpod", state="failed", error="down"),
        ),
        notes={"fluence": "64 rows shown"},
        errors={"runpod": Unavailable("down")},
    )


def test_offers_are_sorted_by_the_price_of_one_gpu(orch: Callable[..., Result]) -> None:
    lines = orch("offers").stdout.splitlines()[1:]
    assert [line.split()[-1] for line in lines] == ["b", "a", "unpriced"]
    assert "free then $0.09/GB" not in lines[0]
    assert "$0.00/GB then $0.09/GB" in lines[0]
    assert lines[2].split("1 x l40")[1].split()[:2] == ["?", "?"]  # neither rate nor egress is known


def test_sold_out_offers_are_counted_and_shown_when_asked_for(orch: Callable[..., Result]) -> None:
    short = orch("offers")
    assert "gone" not in short.stdout
    assert "1 sold out (--all shows them)" in short.stderr
    assert "sold out" in orch("offers --all").stdout


def test_what_each_source_said_stands_beside_the_answer(orch: Callable[..., Result]) -> None:
    err = orch("offers").stderr
    assert err.count("64 rows shown") == 1
    assert "fluence ok, 4 offers, 0 s ago: 64 rows shown" in err
    assert "runpod failed, 0 offers: down" in err


def test_offers_as_json_are_an_array_that_plan_reads(
    orch: Callable[..., Result], tmp_path: Path, one_document: Callable[[Result], Any]
) -> None:
    result = orch("offers --all --json")
    assert result.exit_code == 0
    assert msgspec.json.decode(result.stdout, type=list[Offer])[0].offer_id == "gone"
    (tmp_path / "saved.json").write_text(result.stdout)
    plan = one_document(orch("plan --offers saved.json --now 2026-11-22T12:00:00Z --gpu l40 --json"))
    assert {row["offer"]["offer_id"] for row in plan["candidates"]} == {"a", "b"}


def test_offers_ask_for_what_is_wanted(orch: Callable[..., Result], engine: Any) -> None:
    assert orch("offers --gpu h100 --provider RunPod,fluence").exit_code == 0
    [(query, providers)] = engine.called("offers")
    assert query.gpus == ("h100-pcie", "h100-sxm", "h100-nvl")
    assert "spot" in query.pricing
    assert providers == ("runpod", "fluence")


def test_an_unknown_gpu_is_refused_before_anybody_is_asked(orch: Callable[..., Result], engine: Any) -> None:
    result = orch("offers --gpu h10")
    assert result.exit_code == 2
    assert "hint: did you mean h" in result.stderr
    assert engine.calls == []


@pytest.mark.parametrize(("error", "code"), [(AuthFailed("wrong key"), 5), (Unavailable("down"), 4)])
def test_a_market_that_nobody_could_be_asked_about_is_no_empty_market(
    error: ProviderError, code: int, orch: Callable[..., Result], engine: Any, one_document: Callable[[Result], Any]
) -> None:
    engine.market.offers, engine.market.errors = [], {"runpod": error}
    engine.market.sources = engine.market.sources[1:]
    result = orch("offers --json")
    assert result.exit_code == code
    assert error.message in one_document(result)["error"]["message"]


def test_an_empty_market_is_an_answer(
    orch: Callable[..., Result], engine: Any, one_document: Callable[[Result], Any]
) -> None:
    engine.market.offers = []
    result = orch("offers --json")
    assert result.exit_code == 0
    assert one_document(result) == []


def test_providers_show_what_is_known_and_what_is_held_back(
    orch: Callable[..., Result], engine: Any, make: SimpleNamespace, one_document: Callable[[Result], Any]
) -> None:
    engine.states = [
        ProviderState(
            name="runpod",
            title="RunPod",
            configured_from="RUNPOD_API_KEY",
            workloads=("container",),
            markets=("marketplace-secure",),
            egress="free both ways",
            dead_man=None,
            holds=({"key": "runpod|l40", "until": make.now, "drops": True, "why": "no money"},),
        ),
        ProviderState(
            name="aws", title="AWS", configured_from=None, workloads=("vm",), markets=(), egress="", dead_man="timer"
        ),
    ]
    result = orch("providers")
    assert "RUNPOD_API_KEY" in result.stdout
    assert "not configured" in result.stdout
    assert "held back: runpod: key runpod|l40" in result.stdout
    document = one_document(orch("providers --json"))
    assert [row["name"] for row in document["providers"]] == ["runpod", "aws"]
    assert engine.called("check") == []


def _row(ok: bool | None, **fields: Any) -> dict[str, Any]:
    row = {"provider": "runpod", "configured_from": "KEY", "ok": ok, "account": "key-1", "detail": {}, "hint": None}
    row |= {"reachable": ok, "key_valid": ok, "rights": None, "quota": None, "clock_skew": None}
    return row | {"offers": None, "available": None} | fields


@pytest.mark.parametrize(
    ("rows", "line", "code"),
    [
        ([_row(True)], "providers check", 0),
        ([_row(True), _row(None)], "providers check", 0),
        ([_row(True), _row(None)], "providers check runpod aws", 5),
        ([_row(True), _row(False, detail={"error": "wrong key"}, hint="make a new one")], "providers check", 5),
        ([_row(None, hint="set KEY")], "providers check", 5),
    ],
)
def test_the_check_fails_if_a_key_is_refused_or_missing(
    rows: list[dict[str, Any]],
    line: str,
    code: int,
    orch: Callable[..., Result],
    engine: Any,
    one_document: Callable[[Result], Any],
) -> None:
    engine.checked = rows
    shown, document = orch(line), orch(line + " --json")
    assert (shown.exit_code, document.exit_code) == (code, code)
    assert one_document(document) == {"providers": rows}
    for row in rows:
        assert not row["hint"] or f"hint: runpod: {row['hint']}" in shown.stderr


def test_the_names_to_check_reach_the_engine(orch: Callable[..., Result], engine: Any) -> None:
    engine.checked = [_row(True)]
    orch("providers check runpod")
    assert engine.called("check") == [(("runpod",),)]


def test_all_gpus_are_listed(orch: Callable[..., Result], one_document: Callable[[Result], Any]) -> None:
    lines = orch("gpus").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(GPUS)
    assert {row["name"] for row in one_document(orch("gpus --json"))["gpus"]} == set(GPUS)


def test_one_gpu_shows_its_figures_its_source_and_what_is_better(orch: Callable[..., Result]) -> None:
    out = orch("gpus l40").stdout
    assert "memory_gib" in out
    assert GPUS["l40"].source in out
    assert "l40s" in next(line for line in out.splitlines() if line.startswith("at least as good"))


def test_a_family_lists_its_models(orch: Callable[..., Result]) -> None:
    names = [line.split()[0] for line in orch("gpus h100").stdout.splitlines()[1:]]
    assert names == ["h100-pcie", "h100-sxm", "h100-nvl"]


def test_policies_are_listed_with_what_they_require(
    orch: Callable[..., Result], one_document: Callable[[Result], Any]
) -> None:
    out = orch("policies").stdout
    assert "cheapest-zero-egress" in out
    assert "egress_free=true" in out
    document = one_document(orch("policies --json"))
    assert {"name", "description", "source", "require", "minimize", "failover"} <= set(document["policies"][0])


def test_one_policy_is_shown_and_a_file_is_a_policy(
    orch: Callable[..., Result], tmp_path: Path, one_document: Callable[[Result], Any]
) -> None:
    assert "require.egress_free  true" in orch("policies cheapest-zero-egress").stdout
    (tmp_path / "mine.toml").write_text('extends = ["reliable"]\n[require]\nmax_usd_per_hour = 2.5\n')
    document = one_document(orch("policies ./mine.toml --json"))
    assert Decimal(document["require"]["max_usd_per_hour"]) == Decimal("2.5")


def test_an_error_in_a_policy_file_says_where(orch: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[require]\nmin_relability = 0.9\n")
    result = orch("policies ./bad.toml")
    assert result.exit_code == 2
    assert "bad.toml:2:" in result.stderr
    assert "min_reliability" in result.stderr


def _stray(make: SimpleNamespace, **fields: Any) -> Stray:
    given: dict[str, Any] = {
        "provider": "runpod",
        "account": "key-1",
        "instance_id": "pod-9",
        "token": None,
        "lease": None,
        "phase": "running",
        "usd_per_hour": Decimal("0.82"),
        "created_at": make.now,
        "why": "carries our mark, and no open lease accounts for it",
        "ended": False,
    }
    return Stray(**(given | fields))


def test_gc_reports_and_says_how_to_end(
    orch: Callable[..., Result], engine: Any, make: SimpleNamespace, one_document: Callable[[Result], Any]
) -> None:
    engine.strays = [_stray(make)]
    result = orch("gc")
    assert result.exit_code == 0
    assert "pod-9" in result.stdout
    assert "hint: orch gc --delete ends them" in result.stderr
    assert engine.called("gc") == [(False,)]
    assert engine.called("resume") == [()]
    assert one_document(orch("gc --json"))["strays"][0]["usd_per_hour"] == "0.82"


@pytest.mark.parametrize(("ended", "code"), [(True, 0), (False, 8)])
def test_gc_delete_fails_unless_all_is_ended(
    ended: bool, code: int, orch: Callable[..., Result], engine: Any, make: SimpleNamespace
) -> None:
    engine.strays = [_stray(make, ended=True), _stray(make, ended=ended)]
    result = orch("gc --delete")
    assert result.exit_code == code
    assert engine.called("gc") == [(True,)]
    assert ("1 of 2 could not be ended for sure" in result.stderr) == (not ended)


def test_gc_with_nothing_to_report_says_so(orch: Callable[..., Result]) -> None:
    result = orch("gc")
    assert result.stdout == ""
    assert "belongs to an open lease" in result.stderr
