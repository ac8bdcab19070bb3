"""What the pages show is true: Python compiles and names what there is, commands parse, links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import json
import re
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from orchestrator.cli import options
from orchestrator.cli._app import App
from orchestrator.cli._group import cli
from providers import registry
from tests.docs.pages import PAGES, ROOT, Block, anchors, blocks, commands, name, prose

PYTHON = blocks("python")
SHELL = [(block, words) for block in blocks("console", "sh", "bash") for words in commands(block)]
OURS = ("orchestrator", "policies", "providers")


@click.command()
@options.request_options
def _asking(**given: object) -> None: ...


REQUESTED = {param.name for param in _asking.params} - {"yes", "detach"}


def test_there_are_examples_to_check() -> None:
    assert len(PYTHON) > 10
    assert len(SHELL) > 40
    assert sum("run" in block.words for block in PYTHON) > 4


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.id)
def test_python_compiles(block: Block) -> None:
    compile(block.code, block.id, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.id)
def test_python_imports_what_there_is(block: Block) -> None:
    for node in ast.walk(ast.parse(block.code)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in OURS:
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


@pytest.mark.parametrize(
    ("block", "words"), SHELL, ids=[f"{block.id} {' '.join(words)[:40]}" for block, words in SHELL]
)
def test_commands_parse(block: Block, words: list[str]) -> None:
    """The words as `orch` itself reads them, up to the point where the command would begin to work."""
    app = App()
    context = cli.make_context("orch", list(words), obj=app)
    command: click.Command = context.command
    rest = [*context._protected_args, *context.args]
    while isinstance(command, click.Group) and rest:
        _, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command, context = found, found.make_context(found.name, list(rest), parent=context)
        rest = [*context._protected_args, *context.args]
    if context.info_name in ("plan", "up"):
        options.request_of({key: value for key, value in context.params.items() if key in REQUESTED})


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: block.id)
def test_toml_can_be_read(block: Block) -> None:
    assert tomllib.loads(block.code)


@pytest.mark.parametrize("block", blocks("json"), ids=lambda block: block.id)
def test_json_can_be_read(block: Block) -> None:
    assert json.loads(block.code)


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.id)
def test_yaml_can_be_read(block: Block) -> None:
    assert all(yaml.safe_load_all(block.code))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.partition(":")[0] in ("http", "https", "mailto"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name(page)}: {target}"
        assert file.is_relative_to(ROOT), f"{name(page)}: {target}"
        if anchor:
            assert anchor in anchors(file), f"{name(page)}: {target}; there are {sorted(anchors(file))}"


@pytest.mark.parametrize("entry", registry.entries().values(), ids=lambda entry: entry.name)
def test_every_provider_has_its_page(entry: registry.Entry) -> None:
    page = ROOT / entry.docs
    assert page.is_file()
    assert entry.title in page.read_text(encoding="utf-8").splitlines()[0]
