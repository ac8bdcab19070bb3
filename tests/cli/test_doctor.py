"""`orch doctor` and each of its checks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from orchestrator.cli import _checks


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUNPOD_API_KEY", "FLUENCE_API_KEY", "ORCH_SSH_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)


def test_every_check_is_listed_and_bad_ones_say_what_to_do(
    orch: Callable[..., Result], one_document: Callable[[Result], Any], tmp_path: Path
) -> None:
    checks = one_document(orch("doctor --json"))["checks"]
    assert [check["name"] for check in checks] == [
        "python", "packages", "ssh", "state folder", "sqlite", "ssh key", "clock", "providers",
    ]  # fmt: skip
    assert all((check["fix"] is None) == (check["result"] == "ok") for check in checks)
    assert not (tmp_path / "xdg").exists()  # looking makes nothing


def test_the_table_and_the_hints_name_the_checks(orch: Callable[..., Result]) -> None:
    result = orch("doctor")
    assert any(line.split()[:2] == ["python", "ok"] for line in result.stdout.splitlines())
    assert "hint: providers: set one of" in result.stderr
    assert "orch --sandbox" in result.stderr


def test_a_state_folder_that_cannot_be_written_fails_with_5(
    orch: Callable[..., Result], one_document: Callable[[Result], Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    result = orch("doctor --state-dir file/state --json")
    assert result.exit_code == 5
    [failed] = [check for check in one_document(result)["checks"] if check["result"] == "fail"]
    assert failed["name"] == "state folder"


def test_a_wrong_setting_is_a_failed_check(
    orch: Callable[..., Result], one_document: Callable[[Result], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_LOG_FORMAT", "papyrus")
    result = orch("doctor --json")
    assert result.exit_code == 5
    assert one_document(result)["checks"][-1]["name"] == "settings"


def test_a_key_in_the_environment_or_in_dotenv_configures_a_provider(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert _checks.providers({})[0].result == "warn"
    monkeypatch.setenv("RUNPOD_API_KEY", "x")
    (tmp_path / ".env").write_text("FLUENCE_API_KEY=y\n")
    [check] = [check for check in _checks.all_checks(None) if check.name == "providers"]
    assert check.result == "ok"
    assert "runpod (RUNPOD_API_KEY)" in check.detail
    assert "fluence (FLUENCE_API_KEY)" in check.detail


def test_an_old_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    assert _checks.python().result == "fail"


def test_an_old_sqlite_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 34, 0))
    assert _checks.sqlite().result == "fail"


def test_a_missing_ssh_client_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    check = _checks.ssh_client()
    assert check.result == "fail"
    assert "openssh-client" in (check.fix or "")


def test_a_missing_package_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checks, "requires", lambda name: ["click>=8", "surely-not-there[x]>=1 ; python_version > '3'"])
    check = _checks.packages()
    assert check.result == "fail"
    assert check.detail == "missing: surely-not-there"


def test_a_missing_extra_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checks, "requires", lambda name: ["click>=8", "surely-not-there>=1; extra == 'sandbox'"])
    check = _checks.packages()
    assert check.result == "warn"
    assert "gpu-orch[sandbox]" in (check.fix or "")


def test_a_folder_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    assert _checks.state_folder(folder).result == "ok"
    folder.chmod(0o755)
    assert _checks.state_folder(folder).fix == f"chmod 700 {folder}"


@pytest.mark.parametrize(
    ("mode", "public", "result"), [(0o600, True, "ok"), (0o644, True, "fail"), (0o600, False, "fail")]
)
def test_the_ssh_key_must_be_private_and_whole(mode: int, public: bool, result: str, tmp_path: Path) -> None:
    key = tmp_path / "id"
    assert _checks.ssh_key(key).result == "ok"
    key.touch(mode=mode)
    os.chmod(key, mode)
    if public:
        (tmp_path / "id.pub").touch()
    assert _checks.ssh_key(key).result == result


@pytest.mark.parametrize(("answer", "result"), [(0, "ok"), (4, "ok"), (5, "warn"), (None, "ok")])
def test_a_clock_that_follows_no_server_is_a_warning(answer: int | None, result: str) -> None:
    assert _checks.clock(lambda: answer).result == result


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="adjtimex is a Linux call")
def test_the_kernel_answers_for_its_clock() -> None:
    assert _checks._adjtimex() in {0, 1, 2, 3, 4, 5, None}


# -- the providers ------------------------------------------------------------------------------------------


def _row(name: str, ok: bool | None, **fields: Any) -> dict[str, Any]:
    row = {"provider": name, "configured_from": "KEY", "ok": ok, "account": "key-1", "detail": {}, "hint": None}
    return row | {"clock_skew": "2 s", "offers": 7, "available": 5} | fields


def test_each_provider_that_has_credentials_is_asked(
    orch: Callable[..., Result],
    engine: Any,
    one_document: Callable[[Result], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "x")
    engine.checked = [
        _row("runpod", True),
        _row("vast", True, hint="this computer's clock is 90 s off: timedatectl set-ntp true"),
        _row("fluence", False, detail={"error": "key revoked"}, hint="make a new one"),
        _row("aws", None),
    ]
    result = orch("doctor --json")
    assert result.exit_code == 5
    found = {check["name"]: check for check in one_document(result)["checks"]}
    assert "aws" not in found
    assert found["runpod"]["result"] == "ok"
    assert "7 offers, 5 to be had, clock 2 s apart" in found["runpod"]["detail"]
    assert found["vast"]["result"] == "warn"
    assert (found["fluence"]["result"], found["fluence"]["detail"]) == ("fail", "key revoked")


def test_nobody_is_asked_offline_or_without_credentials(
    orch: Callable[..., Result], engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    orch("doctor")
    monkeypatch.setenv("RUNPOD_API_KEY", "x")
    orch("doctor --offline")
    assert engine.called("check") == []


def test_in_the_sandbox_no_credentials_are_missed(
    orch: Callable[..., Result], engine: Any, one_document: Callable[[Result], Any]
) -> None:
    engine.checked = [_row("runpod", True)]
    names = [check["name"] for check in one_document(orch("doctor --sandbox --json"))["checks"]]
    assert "providers" not in names
    assert names[-1] == "runpod"
