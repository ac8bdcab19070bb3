"""`POST /v2/pods`: from a valid body to a pod, or to the refusal that RunPod gives for it.

Sources: the API description of `createPod` and its table of failures; recorded payloads.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from providers.runpod import emulator_rules
from providers.runpod.emulator_lifecycle import Lifecycle
from providers.runpod.emulator_market import Market, subject
from providers.runpod.emulator_pods import Pod, public_keys
from providers.runpod.emulator_scheduler import Wish, cuda, place
from providers.runpod.emulator_wire import CAPACITY, Refusal
from providers.sandbox.faults import Fault
from providers.sandbox.world import World

Take = Callable[..., Fault | None]
_DEFAULT_DISK_GB = 50  # v2 documents none; this was v1's
_DOOM_AT = 0.6  # share of the boot after which a doomed pod fails
_HEX = "0123456789abcdef"


class Creator:
    """Makes pods.

    Args:
        fault: uses up a waiting fault (`Emulator.fault`).
    """

    def __init__(self, world: World, market: Market, life: Lifecycle, fault: Take) -> None:
        self.world = world
        self.market = market
        self.life = life
        self.fault = fault

    def create(self, body: dict[str, Any], account: str, account_keys: list[str]) -> Pod:
        """The pod that *body* asks for; it bills from now on.

        Args:
            body: holds to the schema (`emulator_rules.create_errors`).
            account_keys: the account's registered SSH keys, for `startSsh`.

        Raises:
            Refusal: any of the documented refusals, or one that a fault brings about.
        """
        emulator_rules.check_create_rules(body)
        wish = Wish.of(body)
        found = place(self.market, wish)
        centers = wish.data_centers or ((found,) if found and wish.cloud == "SECURE" else ())
        about = subject(wish.gpu, wish.cloud, *centers, body["name"])
        self._refuse(wish, about)
        if found is None or self._sold_out(about):
            raise Refusal(400, CAPACITY)
        pod = self._make(body, wish, found, account, account_keys)
        hourly = pod.usd_per_hour + self.market.disk_usd(pod.disk)
        if self.life.balance(account) < hourly or self._take("no_money", about):
            # The status is documented; the sentence was never recorded.
            raise Refusal(402, "insufficient balance")
        self._spoil(pod, about)
        self.life.add(pod)
        return pod

    def plant(self, name: str, env: dict[str, str]) -> Pod:
        """A running pod that somebody else rented, on the first GPU in the market."""
        gpu = next(gpu for gpu in self.market.gpus.values() if "SECURE" in gpu.usd)
        body = {
            "name": name,
            "image": "runpod/base:1.0.2-ubuntu2404",
            "ports": ["22/tcp"],
            "env": dict(env),
            "gpu": {"id": gpu.id},
        }
        wish = Wish.of(body)
        # It was there before anybody looked, whatever is free now.
        pod = self._make(body, wish, place(self.market, wish) or min(gpu.stock["SECURE"]), "main", [])
        pod.ready_at = pod.created_at
        self.life.add(pod)
        self.life.advance()
        return pod

    def _refuse(self, wish: Wish, about: str) -> None:
        """The refusals that have nothing to do with stock."""
        if self._take("forbidden", about):
            raise Refusal(403, "access denied")
        if strange := self._take("unknown_code", about):
            detail = strange.args.get("detail", "placement rejected by host policy PX-7731")
            raise Refusal(400, str(detail))
        if self._take("gone", about):
            self.market.gone.add(wish.gpu)
            raise Refusal(400, CAPACITY)

    def _sold_out(self, about: str) -> bool:
        return self._take("sold_out", about) is not None

    def _take(self, kind: str, about: str) -> Fault | None:
        return self.fault(kind, verb="launch", subject=about)

    def _make(self, body: dict[str, Any], wish: Wish, found: str, account: str, account_keys: list[str]) -> Pod:
        now, gpu = self.world.now(), self.market.gpus[wish.gpu]
        env = self._environment(body, account_keys)
        pod_id = self.world.letters(14)
        return Pod(
            id=pod_id,
            account=account,
            name=body["name"],
            image=body["image"],
            args=body.get("args", ""),
            disk=int(body.get("disk", _DEFAULT_DISK_GB)),
            ports=list(body.get("ports", [])),
            env=env,
            mounts={kind: mount for kind, mount in body.get("mounts", {}).items() if mount},
            gpu=wish.gpu,
            count=wish.count,
            cloud=wish.cloud,
            place=found,
            cuda=cuda(gpu, wish),
            usd_per_hour=(self.market.usd(gpu, wish.cloud) or Decimal(0)) * wish.count,
            route=f"{pod_id}-{self.world.letters(8, _HEX)}",
            own_key="rpa_" + self.world.letters(46, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"),
            created_at=now,
            boot_from=now,
            ready_at=self._after(now, 1),
            keys=public_keys(env),
            global_networking=wish.global_networking,
        )

    def _environment(self, body: dict[str, Any], account_keys: list[str]) -> dict[str, str]:
        """The pod's environment. Two flags add to it what the body does not set itself."""
        env = dict(body.get("env", {}))
        if body.get("startSsh") and account_keys:
            env.setdefault("PUBLIC_KEY", "\n".join(account_keys))
        if body.get("startJupyter"):
            env.setdefault("JUPYTER_PASSWORD", self.world.letters(20))
        return env

    def _spoil(self, pod: Pod, about: str) -> None:
        """What will go wrong with an accepted pod."""
        about = f"{about} {pod.id}"
        if doom := self._take("fail_after_accept", about):
            pod.fails_at = self._after(pod.created_at, _DOOM_AT)
            pod.fails_as = "exited" if str(doom.args.get("status", "")).upper() == "EXITED" else "error"
        if stuck := self._take("boot_stuck", about):
            pod.stuck = str(stuck.args.get("how", "silent"))
            pod.ready_at = pod.ready_at if pod.stuck == "no_address" else None
        if wrong := self._take("wrong_gpu", about):
            pod.wrong_gpu = str(wrong.args.get("gpu", "NVIDIA T4"))
            pod.wrong_mib = int(wrong.args.get("memory_mib", 15360))
        if lag := self._take("list_lag", about):
            pod.hidden_until = pod.created_at + timedelta(seconds=float(lag.args.get("seconds", 5)))

    def _after(self, start: datetime, share: float) -> datetime:
        return start + timedelta(seconds=self.life.boot_s() * share)
