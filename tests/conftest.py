"""Shared by all tests: where the official specs lie, and which skips CI does not accept."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

#: Prints how many exchanges were held to official descriptions.
pytest_plugins = ("tests.contract.official_report",)

ROOT = Path(__file__).parents[1]
SPEC_DIR = Path(os.environ.get("ORCH_SPEC_DIR") or ROOT.parent / "shared" / "specs")
# CI must not turn red by the luck of a draw: it tries the same examples every time; fresh ones are tried elsewhere.
hypothesis.settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")
_skipped: list[tuple[str, str]] = []


@pytest.fixture(scope="session")
def spec_dir() -> Path:
    """The folder of official API descriptions; the test is skipped where it is absent."""
    if not SPEC_DIR.is_dir():
        pytest.skip(f"official specs are not there: set ORCH_SPEC_DIR (looked in {SPEC_DIR.name}/)")
    return SPEC_DIR


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Own machines are this computer: tests of them look for each other's processes by name, so they take turns."""
    for item in items:
        path = item.path.as_posix()
        conformance = "/tests/conformance/" in path and ("[ssh]" in item.name or "[ssh-" in item.name)
        if conformance or "/tests/unit/ssh/" in path or path.endswith("/test_ssh_emulator.py"):
            item.add_marker(pytest.mark.xdist_group("own-machines"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        _skipped.append((report.nodeid, str(report.longrepr[2])))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI, a missing system program or spec that could be there is a failure, not a skip."""
    if not os.environ.get("CI"):
        return
    bad = [f"{node}: {why}" for node, why in _skipped if "apt-get install" in why]
    if SPEC_DIR.is_dir():
        bad += [f"{node}: {why}" for node, why in _skipped if "ORCH_SPEC_DIR" in why]
    if bad:
        print("\nCI does not accept these skips:\n" + "\n".join(bad))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
