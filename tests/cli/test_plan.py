"""`orch plan`: saved markets without anything else, fresh ones through the engine, and what is shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from click.testing import Result

from providers.base import EgressTier, Offer

NOW = "2026-11-22T12:00:00Z"


@pytest.fixture
def market(tmp_path: Path, make: SimpleNamespace) -> Path:
    """Four offers: one cheap with dear egress, one dear with free egress, one sold out, one of another GPU."""
    offers = [
        make.offer("a/cheap", provider="runpod", usd_per_hour=Decimal("0.50"), egress=_tiers("0.12")),
        make.offer("b/free", provider="fluence", usd_per_hour=Decimal("0.70"), egress=_tiers("0")),
        make.offer("c/gone", provider="fluence", usd_per_hour=Decimal("0.10"), available=False),
        make.offer("d/other", provider="runpod", gpu="h100-pcie"),
    ]
    return _write(tmp_path / "market.json", offers)


def _tiers(price: str) -> tuple[EgressTier, ...]:
    return (EgressTier(usd_per_gb=Decimal(price)),)


def _write(file: Path, offers: list[Offer]) -> Path:
    file.write_bytes(msgspec.json.encode(offers))
    return file


def _shows(text: str, *words: str) -> bool:
    """Whether one line of *text* holds all the *words*."""
    return any(all(word in line for word in words) for line in text.splitlines())


def test_a_saved_market_gives_the_document_of_the_design(
    market: Path, orch: Callable[..., Result], one_document: Callable[[Result], Any]
) -> None:
    result = orch(f"plan --offers {market} --now {NOW} --gpu l40 --json")
    assert result.exit_code == 0
    plan = one_document(result)
    assert set(plan) == {"request", "policy", "made_at", "candidates", "dropped", "sources"}
    assert plan["made_at"] == NOW
    assert [row["offer"]["offer_id"] for row in plan["candidates"]] == ["a/cheap", "b/free"]
    first = plan["candidates"][0]
    assert set(first) == {"rank", "offer", "replicas", "flags", "cost"}
    assert Decimal(first["cost"]["compute_usd"]) == 12
    assert {row["offer"]["offer_id"]: row["reason"] for row in plan["dropped"]} == {
        "c/gone": "sold_out",
        "d/other": "wrong_gpu",
    }


def test_egress_turns_the_ranking(
    market: Path, orch: Callable[..., Result], one_document: Callable[[Result], Any]
) -> None:
    plan = one_document(orch(f"plan --offers {market} --now {NOW} --gpu l40 --egress 1TB --json"))
    assert [row["offer"]["offer_id"] for row in plan["candidates"]] == ["b/free", "a/cheap"]
    assert Decimal(plan["candidates"][1]["cost"]["egress_usd"]) == 120


def test_a_saved_market_needs_no_engine_state_folder_or_key(
    market: Path, orch: Callable[..., Result], engine: Any, tmp_path: Path
) -> None:
    assert orch(f"plan --offers {market} --now {NOW} --gpu l40").exit_code == 0
    assert engine.opened_with is None
    assert not (tmp_path / "xdg").exists()
    assert not (tmp_path / "home").exists()


def test_a_saved_market_loads_no_store_and_no_http(market: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nsys.argv = ['orch', *sys.argv[1:]]\nfrom orchestrator.cli import main\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    )
    words = ["plan", "--offers", str(market), "--now", NOW, "--gpu", "l40"]
    env = {
        "PATH": os.environ["PATH"],
        "XDG_STATE_HOME": str(tmp_path / "none"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=env, check=True)
    loaded = set(done.stderr.split())
    assert "policies.judge" in loaded
    assert loaded & {"orchestrator.core", "sqlalchemy", "httpx", "pydantic", "rich", "structlog"} == set()
    assert not (tmp_path / "none").exists()


def test_json_lines_and_stdin_are_understood(
    market: Path, tmp_path: Path, orch: Callable[..., Result], one_document: Callable[[Result], Any]
) -> None:
    offers = json.loads(market.read_bytes())
    lines = "\n".join(json.dumps(offer) for offer in offers)
    (tmp_path / "market.jsonl").write_text(lines)
    from_file = orch(f"plan --offers market.jsonl --now {NOW} --gpu l40 --json")
    from_stdin = orch(*f"plan --offers - --now {NOW} --gpu l40 --json".split(), answer=lines)
    assert one_document(from_file) == one_document(from_stdin)


def test_an_offer_needs_only_its_required_fields(
    tmp_path: Path, orch: Callable[..., Result], one_document: Callable[[Result], Any]
) -> None:
    (tmp_path / "m.json").write_text('[{"offer_id": "x", "provider": "p", "gpu": "L40", "usd_per_hour": "1"}]')
    plan = one_document(orch(f"plan --offers m.json --now {NOW} --gpu l40 --json"))
    assert plan["candidates"][0]["offer"]["region"] is None


def test_the_shown_plan_has_costs_reasons_and_the_egress_that_is_not_counted(
    market: Path, orch: Callable[..., Result]
) -> None:
    result = orch(f"plan --offers {market} --now {NOW} --gpu l40")
    out = result.stdout
    assert out.splitlines()[0] == "1 x l40 for 24 h, policy cheapest: 2 offers, the best costs $12.01 in all"
    assert "egress 0 GB: nothing is counted for data that leaves" in out
    assert _shows(out, "1", "runpod DE-EAST l40.1x", "$0.50/h", "$12.00")
    assert _shows(out, "1", "sold_out")
    assert _shows(out, "1", "wrong_gpu")
    assert "EGRESS" in out
    assert result.stderr == ""


def test_egress_that_was_asked_for_is_not_called_zero(market: Path, orch: Callable[..., Result]) -> None:
    out = orch(f"plan --offers {market} --now {NOW} --gpu l40 --egress 100").stdout
    assert "egress 0 GB" not in out
    assert _shows(out, "runpod", "$12.00", "$24.0")


def test_many_candidates_are_cut_unless_all_are_asked_for(
    tmp_path: Path, make: SimpleNamespace, orch: Callable[..., Result]
) -> None:
    offers = [make.offer(f"x/{n:02}", usd_per_hour=Decimal(n)) for n in range(1, 15)]
    file = _write(tmp_path / "m.json", offers)
    short = orch(f"plan --offers {file} --now {NOW} --gpu l40").stdout
    assert "and 4 more (orch plan --all shows them)" in short
    assert "$11.00/h" not in short
    full = orch(f"plan --offers {file} --now {NOW} --gpu l40 --all").stdout
    assert "$14.00/h" in full


def test_nothing_kept_shows_the_plan_and_exits_with_3(
    market: Path, orch: Callable[..., Result], one_document: Callable[[Result], Any]
) -> None:
    shown = orch(f"plan --offers {market} --now {NOW} --gpu l4")
    assert shown.exit_code == 3
    assert "nothing satisfies it" in shown.stdout
    assert _shows(shown.stdout, "4", "wrong_gpu")
    document = orch(f"plan --offers {market} --now {NOW} --gpu l4 --json")
    assert document.exit_code == 3
    assert one_document(document)["candidates"] == []


def test_budget_and_max_price_drop_with_their_reasons(
    market: Path, orch: Callable[..., Result], one_document: Callable[[Result], Any]
) -> None:
    plan = one_document(orch(f"plan --offers {market} --now {NOW} --gpu l40 --max-price 0.6 --budget 5 --json"))
    reasons = {row["offer"]["offer_id"]: row["reason"] for row in plan["dropped"]}
    assert reasons["b/free"] == "price_too_high"
    assert reasons["a/cheap"] == "total_too_high"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[\n{"offer_id": "a", "provider": "p", "gpu": "l40"},\n{"offer_id": 5}\n]', ":3:"),
        ('{"offer_id": "a", "provider": "p", "gpu": "l40"}\nnot json\n', ":2:"),
        ("", ":"),
    ],
)
def test_a_market_that_cannot_be_read_says_where(
    text: str, place: str, tmp_path: Path, orch: Callable[..., Result], one_document: Callable[[Result], Any]
) -> None:
    (tmp_path / "bad.json").write_text(text)
    result = orch(f"plan --offers bad.json --now {NOW} --gpu l40 --json")
    assert result.exit_code == 2
    assert one_document(result)["error"]["message"].startswith(f"bad.json{place}")
    assert "error: bad.json" in result.stderr


def test_a_market_that_is_not_there_exits_with_2(orch: Callable[..., Result]) -> None:
    result = orch("plan --offers none.json --gpu l40")
    assert result.exit_code == 2
    assert "error: none.json: No such file or directory" in result.stderr


@pytest.mark.parametrize("time", ["yesterday", "2026-13-01"])
def test_a_time_that_is_none_exits_with_2(time: str, market: Path, orch: Callable[..., Result]) -> None:
    result = orch(f"plan --offers {market} --gpu l40 --now {time}")
    assert result.exit_code == 2
    assert f"--now: '{time}' is not a time" in result.stderr


def test_now_needs_a_saved_market(orch: Callable[..., Result]) -> None:
    result = orch(f"plan --gpu l40 --now {NOW}")
    assert result.exit_code == 2
    assert "hint: a live market is always of this moment" in result.stderr


def test_a_fresh_plan_comes_from_the_engine(
    make: SimpleNamespace, orch: Callable[..., Result], engine: Any, one_document: Callable[[Result], Any]
) -> None:
    engine.planned = make.plan(make.offer())
    result = orch("plan --gpu l40 --json")
    assert result.exit_code == 0
    assert one_document(result)["sources"][0]["provider"] == "fluence"
    [(request,)] = engine.called("plan")
    assert request.gpu == ("l40",)
    assert engine.called("resume") == []
    assert engine.called("up") == []


def test_an_unknown_policy_is_answered_with_the_nearest(market: Path, orch: Callable[..., Result]) -> None:
    result = orch(f"plan --offers {market} --now {NOW} --gpu l40 --policy cheepest")
    assert result.exit_code == 2
    assert "error: there is no policy 'cheepest'" in result.stderr
    assert "cheapest" in result.stderr.partition("hint:")[2]


def test_an_unknown_requirement_exits_with_2(market: Path, orch: Callable[..., Result]) -> None:
    result = orch(f"plan --offers {market} --now {NOW} --gpu l40 --require min_relability=0.9")
    assert result.exit_code == 2
    assert "min_reliability" in result.stderr
