"""`ps`, `show`, `events`, `down`, `ssh` and `exec` on records that a test made."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

from orchestrator.cli._app import App
from orchestrator.cli.exec import hoisted
from orchestrator.errors import ConfigError, OutcomeUnclear


def test_ps_shows_each_open_machine(orch: Callable[..., Result], engine: Any, make: SimpleNamespace) -> None:
    engine.open = [make.lease(), make.lease("other", id="zzz234567", ends_at=make.now + timedelta(minutes=90))]
    engine.over = [make.ended("old", id="yyy234567")]
    lines = orch("ps").stdout.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "GPU", "WHERE", "RATE", "SPENT", "AGE", "ENDS", "SSH"]
    assert len(lines) == 3
    for word in (
        "trainer",
        "running",
        "1 x l40",
        "fluence DE-EAST",
        "$0.70/h",
        "$0.1166",
        "12 min",
        "root@127.0.0.1:2222",
    ):
        assert word in lines[1]
    assert "in 1 h 30 min" in lines[2]


def test_ps_all_shows_those_that_are_over(
    orch: Callable[..., Result], engine: Any, make: SimpleNamespace, one_document: Callable[[Result], Any]
) -> None:
    engine.open, engine.over = [make.lease()], [make.ended("old")]
    assert [row["name"] for row in one_document(orch("ps --json"))["leases"]] == ["trainer"]
    assert [row["name"] for row in one_document(orch("ps --json --all"))["leases"]] == ["trainer", "old"]


def test_ps_without_machines_says_so_beside_the_answer(orch: Callable[..., Result]) -> None:
    result = orch("ps")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "no open machines" in result.stderr


def test_ps_finishes_what_a_dead_command_left_and_says_what_is_still_unfinished(
    orch: Callable[..., Result], engine: Any, make: SimpleNamespace
) -> None:
    engine.open = [make.lease(state="booting")]
    result = orch("ps")
    assert engine.called("resume")
    assert "trainer: another command works on it, or the next `orch ps` goes on finishing it" in result.stderr


def test_show_has_request_attempts_errors_and_receipt(
    orch: Callable[..., Result], engine: Any, make: SimpleNamespace
) -> None:
    engine.over = [make.ended()]
    out = orch("show trainer").stdout
    for words in (
        "state     ended",
        "account   key-1234",
        "instance  vm-77 l40.1x",
        "gpu = l40",
        "1. fluence DE-EAST, 1 x l40 at $0.70/h: closed, user",
        "NoCapacity: none left [sold-out]",
        "evidence          not listed in two answers",
        "cost              $0.13",
    ):
        assert words in out
    assert "hours = 24" not in out  # a default was not asked for


def test_show_gives_the_lease_itself_as_json(
    orch: Callable[..., Result], engine: Any, make: SimpleNamespace, one_document: Callable[[Result], Any]
) -> None:
    engine.open = [make.lease()]
    document = one_document(orch("show trainer --json"))
    assert document["id"] == "lease2345"
    assert document["address"] == {"host": "127.0.0.1", "port": 2222, "user": "root"}
    assert document["created_at"] == "2026-11-22T11:48:00Z"
    assert document["receipt"] is None


@pytest.mark.parametrize("line", ["show nobody", "ssh nobody", "exec nobody ls", "events nobody"])
def test_an_unknown_machine_exits_with_6(
    line: str, orch: Callable[..., Result], one_document: Callable[[Result], Any]
) -> None:
    result = orch(line)
    assert result.exit_code == 6
    assert "error: no lease is called 'nobody'" in result.stderr
    assert "hint: orch ps --all" in result.stderr
    if not line.startswith("exec"):
        assert one_document(orch(line + " --json"))["error"]["type"] == "NoSuchLease"


def test_events_are_lines_for_people_and_one_document_for_programs(
    orch: Callable[..., Result], engine: Any, make: SimpleNamespace, one_document: Callable[[Result], Any]
) -> None:
    engine.open = [make.lease()]
    engine.happened = [make.event(1, "lease-created", "trainer", attempt=None), make.event(2, "running", "it runs")]
    shown = orch("events trainer").stdout.splitlines()
    assert shown == [
        "2026-11-22T12:00:00Z  lease2345  lease-created  trainer",
        "2026-11-22T12:00:00Z  lease2345#1  running  it runs",
    ]
    document = one_document(orch("events --json"))
    assert [event["kind"] for event in document["events"]] == ["lease-created", "running"]


def test_a_failure_in_the_middle_of_a_stream_leaves_one_whole_document(
    orch: Callable[..., Result], engine: Any, one_document: Callable[[Result], Any]
) -> None:
    engine.fails["events"] = RuntimeError("the disk is gone")
    result = orch("events --follow --json")
    assert result.exit_code == 1
    assert one_document(result) == {"events": []}
    assert "error: RuntimeError: the disk is gone" in result.stderr


def test_no_events_are_an_empty_document(orch: Callable[..., Result], one_document: Callable[[Result], Any]) -> None:
    assert one_document(orch("events --json")) == {"events": []}


def test_events_of_more_than_one_page_are_all_read(
    orch: Callable[..., Result], engine: Any, make: SimpleNamespace, one_document: Callable[[Result], Any]
) -> None:
    engine.happened = [make.event(n, "booting", str(n)) for n in range(1, 2503)]
    assert len(one_document(orch("events --json"))["events"]) == 2502


def test_following_one_machine_ends_with_it_and_waits_in_between(
    orch: Callable[..., Result], engine: Any, make: SimpleNamespace, one_document: Callable[[Result], Any]
) -> None:
    engine.open = [make.lease()]
    engine.happened = [make.event(1, "running", "it runs")]

    class Later(type(engine)):  # type: ignore[misc]
        async def events(self, *args: Any, **kwargs: Any) -> Any:
            if self.env.slept and self.open:
                self.open, self.over = [], [make.ended()]
                self.happened.append(make.event(2, "lease-ended", "it has ended"))
            return await super().events(*args, **kwargs)

    engine.__class__ = Later
    document = one_document(orch("events trainer --follow --json"))
    assert [event["kind"] for event in document["events"]] == ["running", "lease-ended"]
    assert engine.env.slept


def test_down_shows_the_receipt(orch: Callable[..., Result], engine: Any, make: SimpleNamespace) -> None:
    engine.over = [make.ended()]
    result = orch("down trainer other")
    assert result.exit_code == 0, result.stderr
    assert engine.called("down") == [(("trainer", "other"), False)]
    assert "trainer: ended, cost $0.1166" in result.stdout
    assert "evidence          not listed in two answers" in result.stdout


def test_down_goes_on_with_what_dead_commands_left_after_the_receipts(
    orch: Callable[..., Result], engine: Any, make: SimpleNamespace, one_document: Callable[[Result], Any]
) -> None:
    engine.over = [make.ended()]
    engine.fails["resume"] = ConfigError("runpod is not configured, but a machine there is on record")
    result = orch("down trainer --json")
    assert result.exit_code == 0
    assert one_document(result)["leases"][0]["state"] == "ended"
    assert "warning: what earlier commands left is not settled: runpod is not configured" in result.stderr
    names = [call[0] for call in engine.calls]
    assert names.index("down") < names.index("resume")


@pytest.mark.parametrize("line", ["down", "down trainer --all"])
def test_down_wants_names_or_all(line: str, orch: Callable[..., Result], engine: Any) -> None:
    assert orch(line).exit_code == 2
    assert engine.calls == []


def test_down_all_asks_on_a_terminal(orch: Callable[..., Result], engine: Any, app: App, make: SimpleNamespace) -> None:
    engine.open = [make.lease()]
    app.terminal = True
    refused = orch(*["down", "--all"], answer="n\n")
    assert refused.exit_code == 130
    assert "End 1 machine?" in refused.stderr
    assert "trainer" in refused.stderr
    assert engine.called("down") == []
    assert orch(*["down", "--all"], answer="y\n").exit_code == 0
    assert engine.called("down") == [((), True)]


def test_down_all_without_a_terminal_wants_yes(orch: Callable[..., Result], engine: Any, make: SimpleNamespace) -> None:
    engine.open = [make.lease()]
    assert orch("down --all").exit_code == 2
    assert engine.called("down") == []
    assert orch("down --all --yes").exit_code == 0
    assert orch("--sandbox down --all").exit_code == 0
    assert len(engine.called("down")) == 2


def test_down_all_with_nothing_open_is_done(
    orch: Callable[..., Result], engine: Any, one_document: Callable[[Result], Any]
) -> None:
    result = orch("down --all --json")
    assert result.exit_code == 0
    assert one_document(result) == {"leases": []}
    assert engine.called("down") == []


def test_an_end_that_is_not_confirmed_exits_with_8(
    orch: Callable[..., Result], engine: Any, make: SimpleNamespace, one_document: Callable[[Result], Any]
) -> None:
    lease = make.lease(state="ending")
    engine.fails["down"] = OutcomeUnclear("not every end is confirmed", hint="orch show", leases=(lease,))
    result = orch("down trainer --json")
    assert result.exit_code == 8
    assert one_document(result)["leases"][0]["state"] == "ending"


def test_ssh_hands_the_terminal_to_the_systems_ssh(
    orch: Callable[..., Result], engine: Any, app: App, make: SimpleNamespace
) -> None:
    engine.open = [make.lease()]
    executed: list[list[str]] = []
    app.execute = executed.append
    result = orch("ssh trainer")
    assert result.exit_code == 0, result.stderr
    assert executed == [["ssh", "-p", "2222", "root@127.0.0.1"]]
    assert engine.calls[-1] == ("close",)  # the store is closed before the process becomes another


def test_ssh_with_words_runs_them_untouched(
    orch: Callable[..., Result], engine: Any, app: App, make: SimpleNamespace
) -> None:
    engine.open = [make.lease()]
    executed: list[list[str]] = []
    app.execute = executed.append
    assert orch("ssh", "trainer", "--", "ls", "-l", "--json", "a b").exit_code == 0
    assert executed[0][-4:] == ["ls", "-l", "--json", "a b"]
    assert app.json is False


def test_ssh_as_json_opens_nothing(
    orch: Callable[..., Result], engine: Any, app: App, make: SimpleNamespace, one_document: Callable[[Result], Any]
) -> None:
    engine.open = [make.lease()]
    app.execute = lambda argv: pytest.fail("it opened a connection")
    document = one_document(orch("ssh trainer --json"))
    assert document == {
        "host": "127.0.0.1",
        "port": 2222,
        "user": "root",
        "key_file": "/keys/id_ed25519",
        "argv": ["ssh", "-p", "2222", "root@127.0.0.1"],
    }


@pytest.mark.parametrize(
    "line",
    [
        "exec trainer -- ls -l --json --help",
        "exec trainer ls -l --json --help",
        "exec --verbose trainer -- ls -l --json --help",
    ],
)
def test_exec_passes_every_word_on(
    line: str, orch: Callable[..., Result], engine: Any, app: App, make: SimpleNamespace
) -> None:
    engine.open = [make.lease()]
    assert orch(line).exit_code == 0
    assert engine.far.ran == [["ls", "-l", "--json", "--help"]]
    assert app.json is False


@pytest.mark.parametrize("status", [0, 1, 7, 255])
def test_exec_returns_the_remote_status(
    status: int, orch: Callable[..., Result], engine: Any, make: SimpleNamespace
) -> None:
    engine.open = [make.lease()]
    engine.far.status = status
    assert orch("exec trainer -- false").exit_code == status


def test_exec_without_a_command_is_refused(orch: Callable[..., Result], engine: Any) -> None:
    result = orch("exec trainer")
    assert result.exit_code == 2
    assert "hint: orch exec trainer -- nvidia-smi" in result.stderr
    assert engine.calls == []


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        (["m", "--", "ls", "--", "x"], ["m", "ls", "--", "x"]),
        (["m", "--json", "--", "ls"], ["--json", "m", "ls"]),
        (["--json", "m", "--state-dir", "d", "--", "ls"], ["--json", "--state-dir", "d", "m", "ls"]),
        (["m", "tool", "--json", "--", "x"], ["m", "tool", "--json", "--", "x"]),
        (["m", "--json"], ["m", "--json"]),
        ([], []),
    ],
)
def test_global_options_of_exec_stand_before_the_dashes(given: list[str], parsed: list[str]) -> None:
    assert hoisted(given) == parsed


def test_exec_as_json_keeps_stdout_for_the_document(make: SimpleNamespace) -> None:
    # In a process of its own: the remote command writes to real file descriptors.
    code = (
        "import asyncio, sys\n"
        "from tests_fake import engine\n"
        "from orchestrator.cli._app import App\n"
        "from orchestrator.cli._group import cli\n"
        "cli.main(['exec', 'trainer', '--json', '--', 'sh', '-c', 'echo far; exit 3'], obj=App(factory=engine))\n"
    )
    module = (
        "import types, sys\n"
        "class Remote:\n"
        "    def ssh_argv(self, command, tty=False): return list(command)\n"
        "class Engine:\n"
        "    async def __aenter__(self): return self\n"
        "    async def __aexit__(self, *a): pass\n"
        "    async def remote(self, ref): return Remote()\n"
        "fake = types.ModuleType('tests_fake'); fake.engine = lambda **k: Engine()\n"
        "sys.modules['tests_fake'] = fake\n"
    )
    done = subprocess.run([sys.executable, "-c", module + code], capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stdout == '{"ref":"trainer","exit_status":3}\n'
    assert done.stderr == "far\n"
