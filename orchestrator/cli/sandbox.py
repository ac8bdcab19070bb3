"""`orch sandbox`: the loopback market that every command with --sandbox shares."""

from __future__ import annotations

import shlex
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import _complete
from orchestrator.cli import _words as words
from orchestrator.cli._app import App, current
from orchestrator.cli._group import Group, Option
from orchestrator.cli.output import Table
from orchestrator.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from providers.sandbox.detach import Running


@click.group("sandbox", cls=Group)
def command() -> None:
    """Run the loopback market: every provider, no money.

    The first command with --sandbox starts it, once per state folder; it ends ten minutes after its last
    machine. Its ledger says what every provider would bill.
    """


@command.command("serve")
@click.option("--speed", cls=Option, type=float, metavar="X", help="Sandbox seconds per second (default 1).")
@click.option(
    "--boot-scale", cls=Option, type=float, metavar="X", help="Factor on the providers' boot times (default 0.04)."
)
@click.option(
    "--scenario",
    cls=Option,
    metavar="NAME|FILE",
    help="What goes wrong: calm, default, flaky, outage, bad-luck, random:SEED.",
)
@click.option("--seed", cls=Option, type=int, metavar="N", help="Makes ids repeatable (default: random).")
def serve(speed: float | None, boot_scale: float | None, scenario: str | None, seed: int | None) -> None:
    """Serve it here until Ctrl-C, and print the environment to export.

    Other clients and tests reach every provider's emulator with that environment. Commands with --sandbox and
    the same state folder use this one, too.
    """
    import asyncio
    import signal

    from providers.sandbox import detach
    from providers.sandbox import scenario as scenarios

    app = current()
    setup = detach.Setup(
        speed=speed,
        boot_scale=boot_scale,
        scenario=None if scenario is None else scenarios.absolute(scenario),
        seed=seed,
        idle_s=None,
    )

    async def until_signal() -> None:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            await detach.foreground(_state_dir(app), lambda told: _announce(app, told), setup)
        except asyncio.CancelledError:
            app.out.note("the sandbox has ended; its state is kept")

    with asyncio.Runner() as runner:
        runner.run(until_signal())


def _announce(app: App, told: dict[str, Any]) -> None:
    public = {key: told[key] for key in ("base_url", "pid", "epoch", "speed", "scenario", "settings")}
    if app.json:
        app.out.document(public)
    for name, value in sorted(told["settings"].items()):
        app.out.data(f"export {name}={shlex.quote(str(value))}")
    app.out.note(f"serving on {told['base_url']} (pid {told['pid']}); Ctrl-C ends it")


@command.command("status")
def status() -> None:
    """Show whether it runs, and its instances."""
    from providers.sandbox import detach

    app = current()
    running = detach.running(_state_dir(app))
    if running is None:
        if app.json:
            app.out.document({"running": False})
        app.out.note("no sandbox runs; any command with --sandbox starts it")
        return
    now = running.clock()["now"]
    instances = running.instances()
    facts = {"base_url": running.base_url, "pid": running.pid, "speed": running.speed, "scenario": running.scenario}
    if app.json:
        app.out.document({"running": True, **facts, "now": now, "instances": instances})
        return
    speed = "" if running.speed == 1 else f", {words.number(running.speed)} times real time"
    app.out.data(f"runs on {running.base_url} (pid {running.pid}), scenario {running.scenario}, now {now}{speed}")
    table = Table(["Provider", "Instance", "Name", "Alive", "Bills", "Offer"])
    for row in instances:
        yes = [("yes", "green") if row[key] else ("no", "dim") for key in ("alive", "billing")]
        table.add(row["provider"], row["id"], row["name"], *yes, row["offer"])
    if instances:
        app.out.table(table)


@command.command("bill")
def bill() -> None:
    """Show what every provider would bill by now: the ground truth."""
    app = current()
    found = _running(app).bill()
    if app.json:
        app.out.document(found)
        return
    table = Table(["Provider", "Instance", "Name", "What", ">Rate", "From", "To", ">Cost"])
    for line in found["lines"]:
        table.add(
            line["provider"],
            line["instance"],
            line["name"],
            line["what"],
            words.rate(Decimal(line["usd_per_hour"])),
            line["opened_at"],
            line["closed_at"] or ("bills", "yellow"),
            words.money(Decimal(line["usd"])),
        )
    if found["lines"]:
        app.out.table(table)
    app.out.data(f"total {words.money(Decimal(found['total_usd']))} by {found['now']}")


@command.command("stop")
@click.option("--forget", cls=Option, is_flag=True, help="Also forget its machines and its ledger.")
def stop(forget: bool) -> None:
    """End it; its state is kept, and the next start goes on with it."""
    from providers.sandbox import detach

    app = current()
    ran = detach.stop(_state_dir(app), forget=forget)
    if app.json:
        app.out.document({"stopped": ran, "forgotten": forget})
    said = "the sandbox has ended" if ran else "no sandbox ran"
    app.out.note(said + ("; its state is forgotten" if forget else ""))


@command.command("fault")
@click.argument("kind", required=False)
@click.argument("provider", required=False, default="*", shell_complete=_complete.providers)
@click.option("--verb", cls=Option, default="*", metavar="VERB", help="Only in calls of this kind (launch, offers).")
@click.option("--subject", cls=Option, default="", metavar="TEXT", help="Only if this is in what the call is about.")
@click.option("--times", cls=Option, type=int, default=1, metavar="N", help="How often (default 1; -1 for ever).")
@click.option("--arg", "args", cls=Option, multiple=True, metavar="NAME=VALUE", help="A figure that the kind takes.")
@click.option("--scenario", cls=Option, metavar="NAME|FILE", help="Add the faults of a scenario.")
@click.option("--clear", cls=Option, is_flag=True, help="Nothing more goes wrong.")
def fault(
    kind: str | None,
    provider: str,
    verb: str,
    subject: str,
    times: int,
    args: tuple[str, ...],
    scenario: str | None,
    clear: bool,
) -> None:
    """Make something go wrong, or show what is about to.

    KIND is a word of the menu (an unknown one lists them), PROVIDER is who it happens to (default all).
    For example: orch sandbox fault sold_out runpod --times 2
    """
    from providers.sandbox import scenario as scenarios
    from providers.sandbox.client import SandboxError

    app = current()
    control = _running(app).faults
    try:
        if clear:
            control.clear()
        if scenario is not None:
            control.scenario(scenarios.absolute(scenario))
        if kind is not None:
            control.add(kind, provider, verb=verb, subject=subject, times=times, **_arguments(args))
    except SandboxError as error:
        raise UsageError(str(error), hint="orch sandbox fault --help") from None
    found = control.list()
    if app.json:
        app.out.document(found)
        return
    for row in found["waiting"]:
        left = "for ever" if row["times"] < 0 else f"{row['times']} times"
        about = f" about {row['subject']}" if row["subject"] else ""
        app.out.data(f"waiting: {row['kind']} at {row['provider']} in {row['verb']}{about}, {left}")
    for row in found["happened"]:
        app.out.data(f"happened: {row['kind']} at {row['provider']} {row['subject']}".rstrip())
    if not found["waiting"]:
        app.out.note("nothing more goes wrong")


def _arguments(pairs: tuple[str, ...]) -> dict[str, Any]:
    """``NAME=VALUE`` words, figures as figures.

    Raises:
        UsageError: a word has no ``=``.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign:
            raise UsageError(f"--arg: {pair!r} has no value", hint="write --arg NAME=VALUE")
        try:
            found[name] = int(text)
        except ValueError:
            try:
                found[name] = float(text)
            except ValueError:
                found[name] = text
    return found


def _running(app: App) -> Running:
    from providers.sandbox import detach

    running = detach.running(_state_dir(app))
    if running is None:
        raise ConfigError("no sandbox runs", hint="start one: orch --sandbox offers, or: orch sandbox serve")
    return running


def _state_dir(app: App) -> Path:
    """The state folder that the engine would use."""
    from orchestrator import settings

    values = settings.environment()
    if app.state_dir:
        values["ORCH_STATE_DIR"] = app.state_dir
    return settings.load(values).state_dir
