"""Tables, money, times and colours."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest
from click.testing import Result

from orchestrator.cli import _words as words
from orchestrator.cli._progress import Living, line
from orchestrator.cli.output import Output, Table, plain_table


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        ("0", "$0.00"),
        ("0.7", "$0.70"),
        ("16.80", "$16.80"),
        ("16.8037", "$16.80"),
        ("9.8037", "$9.8037"),
        ("0.1050", "$0.105"),
        ("0.00841", "$0.0084"),
        ("0.00001", "<$0.0001"),
        ("12345.6", "$12,345.60"),
        ("1E+2", "$100.00"),
    ],
)
def test_money_shows_cents_and_more_where_cents_lose_something(usd: str, shown: str) -> None:
    assert words.money(Decimal(usd)) == shown


def test_what_is_unknown_is_never_shown_as_zero() -> None:
    assert words.money(None) == "?"
    assert words.rate(None) == "?"
    assert words.number(None) == "?"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (3600, "1 h"), (7500, "2 h 5 min"),
     (86400 * 3 + 3700, "3 d 1 h"), (-5, "0 s")],
)  # fmt: skip
def test_spans_have_at_most_two_units(seconds: float, shown: str) -> None:
    assert words.span(seconds) == shown


def test_moments_are_rfc_3339_in_utc() -> None:
    assert words.moment(datetime(2026, 11, 22, 12, 0, 1, 999, tzinfo=UTC)) == "2026-11-22T12:00:01Z"
    assert words.moment(None) == "-"


def test_a_part_of_a_gpu_is_shown_as_such() -> None:
    assert words.gpus("a10", 1, 1 / 6) == "1/6 a10"
    assert words.gpus("h100", 8) == "8 x h100"


def test_a_plain_table_is_aligned_and_holds_no_codes() -> None:
    table = Table(["Name", ">Rate", "State"])
    table.add("a", "$10.00/h", ("running", "green"))
    table.add("longer", "$1.00/h", "")
    assert list(plain_table(table)) == [
        "NAME        RATE  STATE",
        "a       $10.00/h  running",
        "longer   $1.00/h",
    ]


def test_a_terminal_gets_the_same_words_with_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    table = Table(["Name", "State"])
    table.add("trainer", ("running", "green"))
    Output().table(table)
    assert "trainer" in stream.getvalue()
    assert "\x1b[32mrunning" in stream.getvalue()


@pytest.mark.parametrize("why", ["option", "NO_COLOR", "dumb"])
def test_colours_can_be_switched_off(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    if why == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    if why == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    out = Output(no_color=why == "option")
    table = Table(["State"])
    table.add(("running", "green"))
    out.table(table)
    out.data("done", "green")
    assert "running" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("columns", [200, 60, 20])
def test_no_figure_is_cut_off_however_narrow_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", str(columns))
    table = Table(["Offer", ">Rate", ">Total", "Id"])
    table.add("fluence us-central-3 massed-compute/l40-x1", "$0.76/h", "$12,345.67", "x" * 20)
    Output(no_color=True).table(table)
    for text in ("$0.76/h", "$12,345.67", "x" * 20):
        assert text in stream.getvalue()
    assert "l40-x1" in "".join(stream.getvalue().split())


def test_with_json_nothing_but_the_document_reaches_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(json=True)
    out.data("for people")
    out.table(Table(["Name"]))
    out.note("beside")
    out.document({"usd": Decimal("0.10"), "at": datetime(2026, 1, 1, tzinfo=UTC), "none": None})
    captured = capsys.readouterr()
    assert captured.out == '{"usd":"0.10","at":"2026-01-01T00:00:00Z","none":null}\n'
    assert captured.err == "beside\n"


def test_a_terminal_gets_indented_json(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    Output(json=True).document({"a": 1})
    assert stream.getvalue() == '{\n  "a": 1\n}\n'


def test_a_streamed_document_is_whole_even_if_its_writer_fails(capsys: pytest.CaptureFixture[str]) -> None:
    def write() -> None:
        with Output(json=True).stream("rows") as rows:
            rows.add({"n": 1})
            rows.add({"n": 2})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert capsys.readouterr().out == '{"rows": [\n{"n":1}\n,{"n":2}\n]}\n'


def test_the_living_line_shows_how_long_an_attempt_takes_and_leaves_its_end(
    monkeypatch: pytest.MonkeyPatch, make: SimpleNamespace
) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "200")
    seconds = [0.0]
    living = Living(lambda: seconds[0], colored=False, many=False)
    with living.on_screen():
        living(make.event(1, "launching", "asking fluence"))
        seconds[0] = 5.0
        shown = living.render().renderables
        assert [str(text) for text in shown] == ["attempt 1 launching: asking fluence (5 s)"]
        living(make.event(2, "attempt-failed", "no capacity"))
        living(make.event(3, "launching", "asking runpod", attempt=2))
        living(make.event(4, "warning", "cuda: not checked", attempt=2))
        living(make.event(5, "source-failed", "aws: down", attempt=None))
        living(make.event(6, "lease-created", "trainer", attempt=None))
        assert len(living.render().renderables) == 1
        living(make.event(7, "running", "runpod runs", attempt=2))
        assert living.render().renderables == []
    kept = [text for text in stream.getvalue().splitlines() if "attempt 1 attempt-failed" in text]
    assert kept
    for words_ in (
        "attempt 2 running: runpod runs",
        "attempt 2 warning: cuda: not checked",
        "source-failed: aws: down",
    ):
        assert words_ in stream.getvalue()
    assert "lease-created" not in stream.getvalue()


def test_a_line_of_progress_has_no_time_and_no_lease_unless_there_are_several(make: SimpleNamespace) -> None:
    event = make.event(1, "running", "it runs", at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=3))
    assert line(event, many=False) == "attempt 1 running: it runs"
    assert line(event) == "lease2345 attempt 1 running: it runs"
    assert line(make.event(2, "interrupted", "", attempt=None, lease=None)) == "interrupted"


def test_colours_never_reach_a_pipe(orch: Callable[..., Result]) -> None:
    result = orch("show nobody")
    assert "\x1b" not in result.stderr
