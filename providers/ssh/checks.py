"""What `orch providers check` says of own machines: everything that would make a launch fail, found out beforehand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from providers.env import Env
from providers.errors import ProviderError, Unavailable
from providers.ssh import errors, offers, state
from providers.ssh.client import Client
from providers.ssh.inventory import Inventory, Machine

LOOK_S = 15.0


@dataclass(slots=True)
class Finding:
    """One machine's part: one line for people, the problems, and what it has."""

    line: str = ""
    problems: list[str] = field(default_factory=list)
    error: ProviderError | None = None
    free: int = 0
    skew_s: int | None = None


async def check(client: Client, inventory: Inventory, *, env: Env, account: str) -> dict[str, str]:
    """The keys of `Provider.check`, and one `machine NAME` for each.

    Raises:
        ProviderError: no machine at all can be used.
    """
    live = inventory.live
    found = await asyncio.gather(*(_one(client, inventory, machine, env) for machine in live))
    if found and all(one.error is not None for one in found):
        raise next(one.error for one in found if one.error is not None)
    answered = [one for one in found if one.error is None]
    skews = [one.skew_s for one in answered if one.skew_s is not None]
    total = sum(machine.gpu_count for machine in live)
    said = {
        "account": account,
        "key": f"accepted by {len(answered)} of {len(live)} machines ({inventory.file})",
        "rights": f"{sum(not one.problems for one in found)} of {len(live)} machines can be allocated on",
        "quota": f"{sum(one.free for one in found)} of {total} GPUs are free",
        "clock_skew": f"{max(skews, key=abs)} s" if skews else "unknown",
    }
    said |= {f"machine {machine.name}": one.line for machine, one in zip(live, found, strict=True)}
    problems = [problem for one in found for problem in one.problems]
    if problems:
        said["fix"] = problems[0] + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
    return said


async def _one(client: Client, inventory: Inventory, machine: Machine, env: Env) -> Finding:
    finding = Finding()
    for login in machine.users:
        try:
            answer = await client.call(inventory, machine, "check", {}, login=login, timeout_s=LOOK_S)
            if answer.status != 0:
                raise errors.from_status(machine.name, answer.status, answer.why)
        except ProviderError as error:
            finding.problems.append(f"as {login}: {error}")
            finding.error = error
            if isinstance(error, Unavailable):
                break  # nobody gets in, whoever asks
            continue
        seen = state.read(answer.lines)
        if why := offers.obstacle(machine, seen):
            finding.problems.append(f"{machine.name} {why}")
        if seen.place == "missing":
            # Whether the login may make it shows at the first launch; root may.
            home = machine.lock_dir.startswith("~/")
            if not home and seen.uid != 0:
                finding.problems.append(f"on {machine.name}: sudo install -d -m 1777 {machine.lock_dir}")
        finding.free = len(seen.free(machine.gpu))
        finding.skew_s = None if seen.clock is None else round(env.now().timestamp()) - seen.clock
        finding.line = f"{len(seen.gpus)} GPUs, {finding.free} {machine.gpu} free, lock place {seen.place}"
    if finding.line:
        finding.error = None
    if finding.problems:
        finding.line = "; ".join(dict.fromkeys([*finding.problems, *([finding.line] if finding.line else [])]))
    return finding
