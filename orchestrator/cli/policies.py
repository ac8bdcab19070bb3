"""`orch policies`: the policies there are, and what one of them says."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli import _complete
from orchestrator.cli import _words as words
from orchestrator.cli._app import current
from orchestrator.cli._group import Command
from orchestrator.cli._leases import facts_lines
from orchestrator.cli.output import Table


@click.command("policies", cls=Command)
@click.argument("name", required=False, shell_complete=_complete.policies)
def command(name: str | None) -> None:
    """List the policies, or show one.

    NAME is a built-in policy, one that an installed package brings, or the path of a TOML file.
    """
    from policies.policy import describe, load, names

    app = current()
    if name is not None:
        found = describe(load(name))
        if app.json:
            app.out.document(found)
        else:
            facts_lines(app.out, _facts(found))
        return
    all_of_them = [describe(load(each)) for each in names()]
    if app.json:
        app.out.document({"policies": all_of_them})
        return
    table = Table(["Name", "Minimizes", "Requires", "Description"])
    for policy in all_of_them:
        table.add(policy["name"], policy["minimize"]["objective"], _require(policy), policy["description"])
    app.out.table(table)


def _require(policy: dict[str, Any]) -> str:
    return ", ".join(f"{key}={_text(value)}" for key, value in policy["require"].items()) or words.NONE


def _facts(policy: dict[str, Any]) -> dict[str, str]:
    facts = {"name": policy["name"], "description": policy["description"], "source": policy["source"]}
    for table in ("require", "minimize", "failover"):
        facts |= {f"{table}.{key}": _text(value) for key, value in policy[table].items()}
    return facts


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
