"""From accepted to running: wait for the address, for SSH, and for the proof of the GPU."""

from __future__ import annotations

import asyncio
import contextlib

from orchestrator import probe, ssh
from orchestrator.ending import LONGEST_WAIT_S, remember
from orchestrator.engine import Engine, too_dear, where
from orchestrator.spend import disk_usd_per_hour
from orchestrator.store import AttemptRow, LeaseRow
from providers import gpus
from providers.base import Address, Facts, Instance, Phase
from providers.errors import BootFailed, NotReachable, PriceChanged, ProviderError, RateLimited, WrongGpu

#: Real seconds between looks: quick at first, then in proportion to the wait.
_FIRST_POLL_S, _LONGEST_POLL_S = 0.5, 5.0
#: nvidia-smi may appear a little after SSH does, where a driver is still being set up.
_DRIVER_GRACE_S = 30.0
_PROBE_S = 60.0


class WantedGone(Exception):
    """Somebody recorded that the lease is wanted gone while it was being launched."""


async def boot(engine: Engine, row: AttemptRow, lease: LeaseRow, *, ready: str) -> probe.Probed | None:
    """Wait until the machine is ready.

    Args:
        ready: ``gpu`` (reachable and the GPU proven), ``ssh`` (reachable) or ``none`` (the provider says it runs).

    Raises:
        ProviderError: it failed, never came up, cannot be reached, holds another GPU, or costs more.
        WantedGone: stop waiting.
    """
    watch = _Watch(engine, row, lease)
    pause = _FIRST_POLL_S
    while True:
        if await engine.store.wanted(lease.id) == "down":
            raise WantedGone
        instance = await watch.look()
        if instance is not None and instance.phase is Phase.RUNNING:
            if ready == "none":
                return None
            if instance.address is not None and await watch.reached(instance.address):
                if ready == "ssh" or not _probed_kind(row):
                    return None
                proof = await watch.prove(instance.address)
                if proof is not None:
                    return proof
        watch.check_deadline()
        await engine.env.sleep(pause)
        pause = min(pause * 1.3, _LONGEST_POLL_S)


def _probed_kind(row: AttemptRow) -> bool:
    """Whether the probe knows how to prove that GPU (it asks nvidia-smi)."""
    gpu = gpus.GPUS.get(row.offer.gpu)
    return gpu is None or gpu.vendor == "nvidia"


class _Watch:
    """One machine while it boots, and what its deadlines count from."""

    def __init__(self, engine: Engine, row: AttemptRow, lease: LeaseRow) -> None:
        self._engine, self._row, self._lease = engine, row, lease
        self._facts: Facts = engine.provider(row.provider).facts
        # From the record, so that a take-over does not give a stuck machine its whole time again.
        since = engine.env.now() - (row.accepted_at or row.started_at)
        self._accepted = engine.env.monotonic() - max(0.0, since.total_seconds())
        self._running: float | None = None
        self._reached: float | None = None
        self._missing = 0
        self._said: str = ""
        self._why = ""

    async def look(self) -> Instance | None:
        """The provider's word on it.

        Raises:
            ProviderError: the machine failed, vanished, or is dearer than promised.
        """
        row = self._row
        try:
            if not await self._engine.same_account(row):
                # Another account's listing proves nothing: neither that it runs nor that it is gone.
                self._why = "the key opens another account now"
                return None
            instance = await self._engine.provider(row.provider).find(row.ref)
        except RateLimited as error:
            await self._engine.env.sleep(min(error.wait_s, LONGEST_WAIT_S))
            return None
        except ProviderError as error:
            self._why = str(error)  # an outage is not an absence; the deadline decides
            return None
        if instance is None or instance.phase is Phase.GONE:
            self._missed(instance)
            return None
        self._missing = 0
        row.last_seen_at = self._engine.env.now()
        # Some providers report one rate for machine and disk together; the disk was promised, too.
        if too_dear(instance.usd_per_hour, row.promised_usd_per_hour + disk_usd_per_hour(row)):
            raise PriceChanged(
                f"the provider now reports {instance.usd_per_hour} USD/h, promised were {row.promised_usd_per_hour}"
            )
        if instance.phase is Phase.FAILED:
            raise instance.failure or BootFailed(f"{where(row.offer)} failed while booting", code="failed")
        if instance.phase is Phase.RUNNING and self._running is None:
            self._running = self._engine.env.monotonic()
        if instance.address is not None and instance.address != row.address:
            remember(row, instance)
            await self._engine.store.save_attempt(row, self._lease)
        await self._say("booting", f"{where(row.offer)}: {instance.phase}")
        return instance

    def _missed(self, instance: Instance | None) -> None:
        """Not listed: that counts only after the consistency window, and twice; ended counts at once."""
        if instance is not None:
            raise BootFailed(f"{where(self._row.offer)} was ended by the provider while booting", code="ended")
        self._missing += 1
        waited = self._engine.env.monotonic() - self._accepted
        if self._missing >= 2 and waited >= self._facts.consistency_s:
            raise BootFailed(f"{where(self._row.offer)} vanished while booting", code="vanished")

    async def reached(self, address: Address) -> bool:
        """Whether SSH answers there."""
        if not await ssh.answers(address, self._engine.env):
            await self._say("booting", f"{where(self._row.offer)}: runs, waiting for SSH")
            self._why = f"no SSH banner at {address.host}:{address.port}"
            return False
        if self._reached is None:
            self._reached = self._engine.env.monotonic()
        return True

    async def prove(self, address: Address) -> probe.Probed | None:
        """Run the GPU probe; None if it should be tried again."""
        await self._say("probing", f"{where(self._row.offer)}: SSH answers, checking the GPU")
        row = self._row
        target = self._engine.target(row, address)
        result = await ssh.run(target, probe.SCRIPT, timeout_s=_PROBE_S)
        output = result.stdout + (result.stderr if result.status == 255 else "")
        try:
            return probe.judge(output, result.status, gpu=row.offer.gpu, count=row.offer.gpu_count)
        except NotReachable as error:
            self._why = str(error)
            return None
        except WrongGpu as error:
            grace = self._engine.env.monotonic() - (self._reached or 0.0) < _DRIVER_GRACE_S
            if error.code in ("no-nvidia-smi", "no-gpu") and grace:
                self._why = str(error)
                return None
            raise

    def check_deadline(self) -> None:
        """Raise once a phase has lasted longer than the provider's deadline for it."""
        now = self._engine.env.monotonic()
        name = where(self._row.offer)
        if self._running is None:
            if now - self._accepted > self._facts.accept_s:
                raise BootFailed(
                    f"{name} was accepted, but did not run within {self._facts.accept_s:g} s. {self._why}".strip(),
                    code="boot-deadline",
                )
        elif (
            now - self._running > self._facts.boot_s or now - self._accepted > self._facts.accept_s + self._facts.boot_s
        ):
            raise NotReachable(
                f"{name} runs, but could not be reached within {self._facts.boot_s:g} s. {self._why}".strip(),
                code="reach-deadline",
            )

    async def _say(self, kind: str, message: str) -> None:
        if message != self._said:
            self._said = message
            await self._engine.emit(kind, message, lease=self._lease, row=self._row)


async def heartbeat(engine: Engine, every_s: float = 5.0) -> None:
    """Keep this process's claims alive until cancelled."""
    while True:
        await engine.env.sleep(every_s)
        # One failed renewal (a busy store) must not end all renewals: the claims would lapse.
        with contextlib.suppress(Exception):
            await engine.store.renew()
        await asyncio.sleep(0)  # noqa: TID251 - lets others run where sleeping costs nothing (virtual time)
