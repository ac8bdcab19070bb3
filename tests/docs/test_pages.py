"""Tables and lists of the pages say what the code says. Where one fails, the message has the lines to paste."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Callable

import pytest

import orchestrator
from orchestrator import errors, lease, models, sync
from policies.plan import Plan
from policies.request import Request
from providers import registry
from providers.sandbox import faults, scenario
from tests.docs.pages import PAGES, ROOT, name, text

DOCS = ROOT / "docs"
README = text(ROOT / "README.md")


def _rows(page: str, heading: str) -> list[str]:
    """The rows of the first table whose head begins with *heading*."""
    lines = page.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(line)
    return rows


def _first_words(page: str, heading: str) -> list[str]:
    """What stands as code in the first column of that table."""
    return [word for row in _rows(page, heading) for word in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_the_readme_has_a_row_for_every_provider_as_the_registry_knows_it() -> None:
    wanted = []
    for entry in registry.entries().values():
        facts = registry.load(entry.adapter).facts
        cells = [f"[{entry.title}]({entry.docs})", ", ".join(facts.markets), ", ".join(facts.workloads), facts.egress]
        wanted.append("| " + " | ".join(cells) + " |")
    assert _rows(README, "provider") == wanted, "\n".join(["README.md needs these rows:", *wanted])


def test_the_index_names_every_page() -> None:
    index = text(DOCS / "index.md")
    linked = set(re.findall(r"\]\(([^)#]+)\)", index))
    pages = {page.relative_to(DOCS).as_posix() for page in PAGES if page.is_relative_to(DOCS)}
    assert pages - {"index.md"} - linked == set()
    for entry in registry.entries().values():
        assert f"- [{entry.title}]({entry.docs.removeprefix('docs/')})" in index


def test_the_extras_of_the_readme_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = set(re.findall(rf"{project['name']}\[(\w+)\]", README))
    assert {"sandbox", "all"} <= named <= set(project["optional-dependencies"])
    needed = {entry.extra for entry in registry.entries().values() if entry.extra}
    assert needed <= named, f"README.md does not name the extras {needed - named}"


def test_make_targets_that_pages_name_exist() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        for target in re.findall(r"(?:^|`|\$ )make ([a-z][\w-]*)", text(page), re.MULTILINE):
            assert target in targets, f"{name(page)}: make {target}"


def test_every_state_of_a_lease_is_explained_with_where_it_leads() -> None:
    rows = _rows(text(DOCS / "concepts.md"), "state")
    found = {}
    for row in rows:
        state, _, then = (cell.strip() for cell in row.strip("|").split("|"))
        found[state.strip("`")] = set(re.findall(r"`(\w+)`", then))
    assert found == {state: set(then) for state, then in lease.TRANSITIONS.items()}


def test_every_scenario_and_every_fault_is_explained_and_no_other() -> None:
    page = text(DOCS / "sandbox.md")
    rows = _rows(page, "scenario")
    assert rows[:-1] == [f"| `{each}` | {description} |" for each, description in scenario.builtin().items()]
    assert rows[-1].startswith("| `random:SEED` |")
    semantic, transport = page.split("In the provider's own words", 1)[1].split("On the way there and back", 1)
    arguments = {"gpu", "memory_mib", "factor", "seconds", "retry_after"}
    assert set(_first_words(semantic, "kind")) - arguments == faults.SEMANTIC
    assert set(_first_words(transport, "kind")) - arguments == faults.TRANSPORT


PYTHON = text(DOCS / "python.md")


@pytest.mark.parametrize("public", orchestrator.__all__)
def test_every_public_name_is_on_the_python_page(public: str) -> None:
    assert re.search(rf"`{public}`|`{public}\(|^## {public}$", PYTHON, re.MULTILINE), public


def test_every_method_is_on_the_python_page_with_its_arguments() -> None:
    headings = "\n".join(re.findall(r"^### (.+)$", PYTHON, re.MULTILINE))
    methods = {
        each: method
        for each, method in inspect.getmembers(orchestrator.Orchestrator, inspect.isfunction)
        if not each.startswith("_")
    }
    assert set(re.findall(r"`(\w+)\(", headings)) == {*methods, "Orchestrator"}
    called: dict[str, Callable[..., object]] = {**methods, "Orchestrator": orchestrator.Orchestrator}
    for each, method in called.items():
        shown = re.search(rf"`{each}\(([^`]*)\)`", headings)
        assert shown, each
        wanted = [param for param in inspect.signature(method).parameters.values() if param.name != "self"]
        assert re.findall(r"[a-z_]+", re.sub(r"=[^,]+", "", shown[1])) == [param.name for param in wanted], each


def test_the_page_is_right_about_which_methods_have_a_blocking_twin() -> None:
    ours = {each for each in dir(orchestrator.Orchestrator) if callable(getattr(orchestrator.Orchestrator, each))}
    public = {each for each in ours if not each.startswith("_")}
    assert public - set(dir(sync.Orchestrator)) == {"providers", "check", "remote"}
    assert "Only `offers` has a blocking\ntwin" in PYTHON


@pytest.mark.parametrize("record", [models.Lease, models.Receipt, models.Event])
def test_every_field_of_a_record_is_on_the_python_page(record: type[models.Lease]) -> None:
    [row] = [row for row in _rows(PYTHON, "record") if row.startswith(f"| `{record.__name__}` |")]
    assert re.findall(r"`(\w+)`", row)[1:] == list(record.__struct_fields__)


def test_every_field_of_a_plan_is_on_the_python_page() -> None:
    section = PYTHON.split("\n## Plan\n")[1].split("\n## ")[0]
    assert set(Plan.__struct_fields__) <= set(re.findall(r"`(\w+)`", section))


def test_options_that_the_python_page_shows_make_a_request() -> None:
    section = PYTHON.split("\n## Request\n")[1].split("\n## ")[0]
    shown = re.findall(r"`(\w+)=(.+?)`", section.split("`Request(...)`")[0])
    assert len(shown) >= 7
    for option, value in shown:
        assert Request.of(**{"gpu": "l40", option: eval(value)})


def test_every_error_is_on_the_python_page_with_its_exit_code() -> None:
    listed = {row.split("|")[1].strip(" `"): int(row.split("|")[2]) for row in _rows(PYTHON, "error")}
    ours = [cls for cls in errors.OrchError.__subclasses__() if cls.__module__ == "orchestrator.errors"]
    codes = {cls.__name__: cls.exit_code for cls in ours}
    assert listed == codes | {"CommandFailed": orchestrator.CommandFailed.exit_code}
    assert f"`OrchError` itself has code {errors.OrchError.exit_code}." in PYTHON


def test_the_exit_codes_on_the_pipelines_page_are_those_of_the_errors() -> None:
    for row in _rows(text(DOCS / "pipelines.md"), "code"):
        code, error = re.match(r"\| (\d+) \| `(\w+)`", row).groups()  # type: ignore[union-attr]
        assert getattr(orchestrator, error).exit_code == int(code)


def test_pages_are_plain_text_without_paths_of_somebodys_computer() -> None:
    for page in PAGES:
        found = re.findall(r"/(?:home|Users|work|root)/\S*", text(page))
        assert found == [], f"{name(page)}: {found}"
