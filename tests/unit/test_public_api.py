"""The public API is exactly this, it is typed, and its errors mirror the exit codes."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

import orchestrator
from orchestrator import errors

TYPING = Path(__file__).parents[1] / "typing"

#: Every public name and where it is defined. A name that is added here is a promise; one that goes breaks programs.
PUBLIC = {
    "BudgetExceeded": "orchestrator.errors",
    "CommandFailed": "orchestrator.machine",
    "Completed": "orchestrator.machine",
    "ConfigError": "orchestrator.errors",
    "Event": "orchestrator.models",
    "Interrupted": "orchestrator.errors",
    "LaunchFailed": "orchestrator.errors",
    "Lease": "orchestrator.models",
    "Machine": "orchestrator.machine",
    "NoOffer": "orchestrator.errors",
    "NoSuchLease": "orchestrator.errors",
    "OrchError": "orchestrator.errors",
    "Orchestrator": "orchestrator.core",
    "OutcomeUnclear": "orchestrator.errors",
    "Plan": "policies.plan",
    "Receipt": "orchestrator.models",
    "Request": "policies.request",
    "UsageError": "orchestrator.errors",
}


def test_the_public_names_are_exactly_these() -> None:
    assert orchestrator.__all__ == sorted(PUBLIC)
    assert dir(orchestrator) == sorted([*PUBLIC, "__version__"])


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_can_be_imported_and_is_documented(name: str) -> None:
    found = getattr(orchestrator, name)
    assert found is getattr(importlib.import_module(PUBLIC[name]), name)
    assert found.__module__ == PUBLIC[name]
    assert found.__doc__


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="NoSuchName"):
        _ = orchestrator.NoSuchName
    with pytest.raises(ImportError):
        exec("from orchestrator import NoSuchName")


def _public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def test_the_blocking_twin_has_the_methods_of_the_async_one() -> None:
    from orchestrator import sync

    assert _public(orchestrator.Machine) - _public(sync.Machine) == {"target"}
    kept = _public(sync.Orchestrator)
    assert kept <= _public(orchestrator.Orchestrator)
    assert {"offers", "plan", "up", "down", "leases", "lease", "events", "rented", "resume", "gc"} <= kept


@pytest.mark.parametrize("package", ["orchestrator", "policies", "providers"])
def test_each_package_says_that_it_is_typed(package: str) -> None:
    assert resources.files(package).joinpath("py.typed").is_file()


def _listed() -> dict[str, int]:
    """Error names and exit codes in the docstring of `orchestrator.errors`."""
    assert errors.__doc__
    return {name: int(code) for name, code in re.findall(r"^\s+([A-Z]\w+)\s+(\d+)\s", errors.__doc__, re.MULTILINE)}


def _family(base: type[errors.OrchError]) -> set[type[errors.OrchError]]:
    return {base} | {each for sub in base.__subclasses__() for each in _family(sub)}


def test_every_error_has_the_exit_code_that_its_page_says() -> None:
    defined = {cls for cls in _family(errors.OrchError) if cls.__module__ == "orchestrator.errors"}
    assert {cls.__name__: cls.exit_code for cls in defined} == _listed()


def test_exit_codes_are_distinct() -> None:
    codes = list(_listed().values())
    assert len(set(codes)) == len(codes)


def test_errors_that_are_defined_elsewhere_bring_no_exit_code_of_their_own() -> None:
    import orchestrator.cli._failures
    import orchestrator.machine

    elsewhere = {cls for cls in _family(errors.OrchError) if cls.__module__ != "orchestrator.errors"}
    assert {orchestrator.machine.CommandFailed, orchestrator.cli._failures.Abandoned} <= elsewhere
    for cls in elsewhere:
        assert "exit_code" not in vars(cls), cls


def test_an_error_keeps_its_hint_when_it_goes_to_another_process() -> None:
    import pickle

    for cls in _family(errors.OrchError):
        if cls.__module__ == "orchestrator.errors":
            copy = pickle.loads(pickle.dumps(cls("it is so", hint="do that")))
            assert (type(copy), copy.message, copy.hint) == (cls, "it is so", "do that")


@pytest.fixture(scope="module")
def mypy_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for both programs, so that our own modules are read once."""
    return tmp_path_factory.mktemp("mypy")


def _mypy(file: Path, cache: Path) -> list[str]:
    """What mypy --strict says of *file*, run as an outsider would: no settings of ours, another working folder."""
    argv = ["--strict", "--config-file", os.devnull, "--python-version", "3.11", "--cache-dir", str(cache)]
    argv += ["--show-error-codes", "--no-error-summary", "--hide-error-context", str(file)]
    env = {key: value for key, value in os.environ.items() if key not in ("MYPYPATH", "PYTHONPATH")}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mypy", *argv], capture_output=True, text=True, env=env, cwd=cache, timeout=300
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if ": error:" in line]


def test_a_users_program_is_clean_under_mypy_strict(mypy_cache: Path) -> None:
    assert _mypy(TYPING / "user_program.py", mypy_cache) == []


def test_mistakes_in_a_users_program_are_found(mypy_cache: Path) -> None:
    file = TYPING / "wrong_program.py"
    wanted = {
        (number, code)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if "# wrong: " in line
        for code in line.partition("# wrong: ")[2].split(", ")
    }
    found = set()
    for line in _mypy(file, mypy_cache):
        match = re.search(r"\.py:(\d+): error: .*\[([a-z-]+)\]$", line)
        assert match, line
        found.add((int(match[1]), match[2]))
    assert found == wanted
