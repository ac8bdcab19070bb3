"""`orch offers`: what is for rent now, at which price, as far as every configured provider says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import _complete, _plan
from orchestrator.cli._app import App, current
from orchestrator.cli._group import Command, Option
from orchestrator.cli._run import run
from orchestrator.errors import ConfigError, LaunchFailed

if TYPE_CHECKING:
    from orchestrator.catalog import Market
    from providers.base import Offer

_KEY_ERRORS = ("AuthFailed", "Forbidden")


@click.command("offers", cls=Command)
@click.option(
    "--gpu",
    "-g",
    cls=Option,
    multiple=True,
    metavar="NAME[,NAME]",
    shell_complete=_complete.gpus,
    help="Only these GPU models or families (default all).",
)
@click.option(
    "--provider",
    cls=Option,
    multiple=True,
    metavar="NAME[,NAME]",
    shell_complete=_complete.providers,
    help="Ask only these providers (default all that are configured).",
)
@click.option("--all", "everything", cls=Option, is_flag=True, help="Also what is sold out.")
def command(gpu: tuple[str, ...], provider: tuple[str, ...], everything: bool) -> None:
    """List what is for rent now.

    Spot offers are among them. With --json a JSON array that `orch plan --offers FILE` reads.
    """
    from providers.base import Query
    from providers.gpus import expand

    app = current()
    names = tuple(name.strip().lower() for part in provider for name in part.split(",") if name.strip())
    query = Query(gpus=expand(gpu), pricing=("on-demand", "reserved", "prepaid", "spot"))

    async def work(engine: Any) -> tuple[Market, Any]:
        return await engine.offers(query, providers=names), engine.env.now()

    market, now = run(app, work)
    _somebody_answered(market)
    found = sorted((o for o in market.offers if everything or o.available is not False), key=_plan.by_price)
    _show(app, found)
    for source in market.sources:
        app.out.note(_plan.source_line(source, now), "dim")
    sold_out = len(market.offers) - len(found)
    if sold_out:
        app.out.note(f"{sold_out} sold out (--all shows them)")


def _show(app: App, found: list[Offer]) -> None:
    if app.json:
        app.out.document(found)
    elif found:
        app.out.table(_plan.offers(found))
    else:
        app.out.note("nothing is for rent")


def _somebody_answered(market: Market) -> None:
    """An empty market is an answer; a market that nobody could be asked about is not.

    Raises:
        ConfigError: every provider refused its key.
        LaunchFailed: no provider answered.
    """
    if any(source.state != "failed" for source in market.sources):
        return
    said = "; ".join(f"{name}: {error}" for name, error in market.errors.items())
    if market.errors and all(error.type in _KEY_ERRORS for error in market.errors.values()):
        raise ConfigError(f"no provider accepts its key: {said}", hint="check the keys: orch providers check")
    raise LaunchFailed(f"no provider answered: {said}", hint="try again, or look at: orch providers check")
