"""`orch gpus`: the table of GPU models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import _complete
from orchestrator.cli import _words as words
from orchestrator.cli._app import current
from orchestrator.cli._group import Command
from orchestrator.cli._leases import facts_lines
from orchestrator.cli.output import Output, Table

if TYPE_CHECKING:
    from providers.gpus import Gpu


@click.command("gpus", cls=Command)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_complete.gpus)
def command(names: tuple[str, ...]) -> None:
    """List the GPU models and their names.

    NAME is what --gpu takes: a model (h100-sxm), a family (h100), or what a provider calls it. One model is
    shown with all its figures, where they come from, and which models --or-better would add.
    """
    from providers import gpus

    app = current()
    models = [gpus.get(name) for name in gpus.expand(names)] if names else list(gpus.GPUS.values())
    if app.json:
        app.out.document({"gpus": models})
    elif len(models) == 1:
        _page(app.out, models[0], gpus.at_least([models[0].name])[1:])
    else:
        app.out.table(_table(models))


def _table(models: list[Gpu]) -> Table:
    table = Table(["Name", "Title", "Arch", ">Memory GiB", ">GB/s", ">FP16 TFLOPS", ">FP8 TFLOPS", ">Watts"])
    for gpu in models:
        table.add(
            gpu.name,
            gpu.title,
            gpu.architecture,
            words.number(gpu.memory_gib),
            words.number(gpu.bandwidth_gb_s),
            _figure(gpu.fp16_tflops),
            _figure(gpu.fp8_tflops),
            _figure(gpu.watts),
        )
    return table


def _figure(value: float | None) -> str:
    return words.NONE if value is None else words.number(value)


def _page(out: Output, gpu: Gpu, better: tuple[str, ...]) -> None:
    facts: dict[str, str] = {}
    for name in gpu.__struct_fields__:
        value = getattr(gpu, name)
        if value is None or value == () or value == "":
            text = words.NONE
        elif isinstance(value, tuple):
            text = ", ".join(map(str, value))
        elif isinstance(value, float):
            text = words.number(value)
        else:
            text = str(value)
        facts[name] = text
    facts["at least as good"] = ", ".join(better) or words.NONE
    facts_lines(out, facts)
