"""The user's own machines behind the provider contract. The truth lies on each machine: records under a lock.

Traps that shape it: all leases of an installation share one SSH key, and sshd tells leases apart by login only, so a
login holds one allocation at a time; a machine that cannot be asked proves nothing, so a listing that misses one fails
(and carries what it could see); and a machine behind a known name may be another one after a reinstallation, which the
id beside the lock tells.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import msgspec

from providers import naming
from providers.base import (
    AttemptRef,
    Context,
    Facts,
    Instance,
    LaunchSpec,
    Listing,
    Offer,
    Provider,
    Query,
)
from providers.errors import (
    AuthFailed,
    InvalidRequest,
    NoCapacity,
    OfferGone,
    ProviderError,
    Unavailable,
    Unclassified,
    WrongGpu,
)
from providers.ssh import checks, errors, instances, offers, script, state
from providers.ssh.client import Answer, Client
from providers.ssh.inventory import SETTING, BadInventory, Inventory, Machine, load, path_of

#: A market is read within 8 s, and a machine that is switched off must not cost the others their answer.
LISTING_S, LOOK_S, CHANGE_S = 6.5, 20.0, 60.0

FACTS = Facts(
    # A record is there before a launch answers, but a script whose connection broke may still wait for the lock (15 s)
    # or for a slow driver.
    consistency_s=60.0,
    accept_s=60.0,
    boot_s=120.0,
    rates=(),
    page_size=None,
    replayable_create=True,
    token_in="tags",  # noqa: S106 - no password, just where our mark is
    terminate_pending=True,
    dead_man="a timer on the machine ends the allocation; after a reboot its logins are refused, and the next launch "
    "there cleans up",
    workloads=("bare-metal",),
    markets=("own",),
    capabilities=frozenset({"cmd", "env"}),
    egress="as the inventory says; unknown where it does not",
)


class Ssh(Provider):
    """The machines of an inventory file (`ORCH_SSH_INVENTORY`, else ``~/.config/orch/machines.toml``).

    Raises:
        BadInventory: the file is there and something in it is wrong.
    """

    name = "ssh"
    facts: ClassVar[Facts] = FACTS

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._client = Client(context)
        if path_of(context.settings).is_file():
            load(context.settings)

    async def account(self) -> str:
        """``own:<owner7>``: what is ours on these machines is ours whoever reads the inventory, and however it grows.

        What one machine proves is a matter of its id, see `find`.
        """
        self._inventory()
        return self._account

    async def offers(self, query: Query) -> Listing:
        """Every machine that has the GPU; one that cannot be reached is marked, and named in the note."""
        inventory = self._inventory()
        wanted = [machine for machine in inventory.live if not query.gpus or machine.gpu in query.gpus]
        looks = await self._look_at(inventory, wanted, "offers", timeout_s=LISTING_S)
        failed = {name: seen for name, seen in looks.items() if isinstance(seen, ProviderError)}
        if failed and len(failed) == len(looks):
            raise _together(failed)
        found: list[Offer] = []
        notes = [str(error) for error in failed.values()]
        for machine in wanted:
            seen = looks[machine.name]
            known = None if isinstance(seen, ProviderError) else seen
            if known is not None and (why := offers.obstacle(machine, known)):
                notes.append(f"{machine.name} {why}")
            found += offers.offers_of(machine, known, account=self._account, now=self.env.now())
        found = [offer for offer in found if offer.pricing in query.pricing]
        missing = [gpu for gpu in query.gpus if all(machine.gpu != gpu for machine in inventory.live)]
        if missing:
            has = ", ".join(sorted({machine.gpu for machine in inventory.live})) or "nothing"
            notes.insert(0, f"there is no {', '.join(missing)} (there is {has})")
        return Listing(found, partial=bool(failed), note="; ".join(notes))

    async def price(self, offer: Offer) -> Offer | None:
        """Ask the machine whether it is free; the price is what the inventory says after that."""
        name, _ = offers.target(offer)
        machine = self._inventory().machines.get(name)
        if machine is None or machine.retired:
            return None
        seen = await self._look(machine, "price")
        machine = self._inventory().machines.get(name)
        if machine is None or machine.retired:
            return None
        fresh = offers.offers_of(machine, seen, account=self._account, now=self.env.now())
        return next((one for one in fresh if one.offer_id == offer.offer_id), None)

    async def resolve(self, offer: Offer, spec: LaunchSpec) -> LaunchSpec:
        """Find out which of the machine's GPUs are of that model, and a free login. Makes nothing."""
        if spec.image is not None:
            raise InvalidRequest("own machines take no container image: run it with docker over SSH", code="image")
        if spec.ports:
            raise Unclassified("nothing opens ports on own machines: use an SSH tunnel", code="ports", hold_s=0.0)
        name, count = offers.target(offer)
        machine = self._machine(name)
        seen = await self._look(machine, "price")
        eligible = [gpu.uuid for gpu in seen.of_model(offer.gpu)]
        if len(eligible) < count:
            there = ", ".join(gpu.name for gpu in seen.gpus) or "no GPU"
            raise WrongGpu(f"{name} holds {there} where the inventory says {machine.gpu}", code="other-gpus")
        logins = seen.free_logins(machine) or list(machine.users)
        found: dict[str, Any] = {"gpus": " ".join(eligible), "login": logins[0], "machine_id": seen.id or ""}
        return msgspec.structs.replace(spec, native={**spec.native, **found})

    async def launch(self, offer: Offer, spec: LaunchSpec, token: str) -> Instance:
        """Take the GPUs under the machine's lock. The same token again is the same allocation."""
        name, count = offers.target(offer)
        if "gpus" not in spec.native:
            spec = await self.resolve(offer, spec)
        machine = self._machine(name)
        values = {"TOKEN": token} | script.launch_values(
            spec,
            machine,
            gpus=str(spec.native["gpus"]),
            count=count,
            machine_id=str(spec.native["machine_id"]),
            now=self.env.now(),
        )
        logins = dict.fromkeys([str(spec.native["login"]), *machine.users])
        answer = await self._take(machine, list(logins), values)
        made = instances.made(answer.lines)
        return instances.of_launch(machine, made, token=token, account=self._account, spec=spec, now=self.env.now())

    async def find(self, attempt: AttemptRef) -> Instance | None:
        """Ask the attempt's own machine.

        Raises:
            ProviderError: it could not be asked, is missing in the inventory, or is not the machine it was.
        """
        handle = attempt.handle or {}
        name = handle.get("machine") or offers.target(attempt.offer)[0]
        machine = self._machine(name)
        if machine.retired:
            return instances.retired(name, attempt.token, self._account, self.context.owner)
        seen = await self._look(machine, "find", token=attempt.token)
        expected = handle.get("machine_id") or attempt.spec.native.get("machine_id")
        if expected and seen.id != expected:
            raise instances.another_machine(name, str(expected), seen.id)
        record = seen.allocation(attempt.token, self.context.owner)
        if record is not None:
            return instances.of_record(machine, record, seen, account=self._account)
        if seen.ended:
            return instances.retired(name, attempt.token, self._account, self.context.owner, handle)
        return None

    async def owned(self) -> list[Instance]:
        """The records with our full owner id, of all machines.

        Raises:
            ProviderError: a machine could not be asked, so what is not listed may be there; `seen` holds the rest.
        """
        inventory = self._inventory()
        looks = await self._look_at(inventory, inventory.live, "owned", timeout_s=LOOK_S)
        failed = {name: seen for name, seen in looks.items() if isinstance(seen, ProviderError)}
        found = [
            instances.of_record(inventory.machines[name], record, seen, account=self._account)
            for name, seen in looks.items()
            if not isinstance(seen, ProviderError)
            for record in seen.allocations
            if record.owner == self.context.owner
        ]
        # Two entries may be the same machine with GPUs of two models.
        found = list({(one.handle["machine_id"], one.token): one for one in found}.values())
        if failed:
            error = _together(failed)
            error.seen = tuple(found)
            raise error
        return found

    async def terminate(self, instance: Instance) -> bool:
        """End processes, files and key, and give the GPUs back last; True once the machine says that all is gone.

        Raises:
            ProviderError: the machine could not be asked, or is not the one it was: nothing is proven.
        """
        name = instance.handle.get("machine") or instance.id.partition("/")[0]
        token = instance.token or instance.id.partition("/")[2]
        if not naming.parse(token):
            raise InvalidRequest(f"{instance.id} names no allocation", code="bad-instance")
        machine = self._machine(name)
        if machine.retired:
            return True
        values = {
            "TOKEN": token,
            "MACHINE_ID": instance.handle.get("machine_id", ""),
            "NOW": script.stamp(self.env.now()),
        }
        login = instance.handle.get("login")
        answer = await self._call(machine, "terminate", values, login=login, timeout_s=CHANGE_S)
        if answer.status in (errors.NOT_YET, errors.LOCKED):
            return False
        if answer.status != 0:
            raise self._error(machine, answer)
        if f"gone {token}" not in answer.lines:
            raise Unavailable(f"{name}: the end was not confirmed", code="no-answer", scope="host")
        return True

    async def check(self) -> dict[str, str]:
        """Looks at every machine with every login: reach, key, host key, GPUs, lock place, clock."""
        inventory = self._inventory()
        return await checks.check(self._client, inventory, env=self.env, account=self._account)

    # -- machines -----------------------------------------------------------------------------------------

    @property
    def _account(self) -> str:
        return f"own:{naming.owner7(self.context.owner)}"

    def _inventory(self) -> Inventory:
        """The inventory as it is now.

        Raises:
            AuthFailed: it is not there, cannot be read, or has a mistake in it.
        """
        file = path_of(self.context.settings)
        try:
            return load(self.context.settings)
        except FileNotFoundError:
            raise AuthFailed(
                f"there is no inventory {file}: write one, or set {SETTING}", code="no-inventory"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise AuthFailed(f"the inventory {file} cannot be read: {error}", code="no-inventory") from None
        except BadInventory as error:
            raise AuthFailed(str(error), code="bad-inventory") from None

    def _machine(self, name: str) -> Machine:
        machine = self._inventory().machines.get(name)
        if machine is None:
            raise Unavailable(
                f"{name} is not in the inventory any more, so nobody can look at what runs there: put it back, or keep "
                "its name with `retired = true` once it is gone for good",
                code="not-in-inventory",
                scope="host",
            )
        return machine

    async def _take(self, machine: Machine, logins: list[str], values: dict[str, str]) -> Answer:
        """Launch with the first login that is free."""
        if machine.retired:
            raise OfferGone(f"{machine.name} is retired", code="retired")
        for login in logins:
            answer = await self._call(machine, "launch", values, login=login, timeout_s=CHANGE_S)
            if answer.status == errors.LOGIN_BUSY:
                continue
            if answer.status != 0:
                raise self._error(machine, answer)
            holder = instances.made(answer.lines).login
            if holder != login:
                # An earlier try went in by another login; only that one can finish what it began.
                answer = await self._call(machine, "launch", values, login=holder, timeout_s=CHANGE_S)
                if answer.status != 0:
                    raise self._error(machine, answer)
            return answer
        raise NoCapacity(
            f"{machine.name}: every login holds an allocation ({', '.join(logins)})", code="login-taken", scope="host"
        )

    async def _look(self, machine: Machine, verb: str, *, token: str = "", timeout_s: float = LOOK_S) -> state.State:
        answer = await self._call(machine, verb, {"TOKEN": token}, timeout_s=timeout_s)
        if answer.status != 0:
            raise self._error(machine, answer)
        return state.read(answer.lines)

    async def _look_at(
        self, inventory: Inventory, machines: list[Machine], verb: str, *, timeout_s: float
    ) -> dict[str, state.State | ProviderError]:
        """All *machines* at once; what kept one from answering stands in its place."""

        async def one(machine: Machine) -> state.State | ProviderError:
            try:
                return await self._look(machine, verb, timeout_s=timeout_s)
            except ProviderError as error:
                return error

        seen = await asyncio.gather(*(one(machine) for machine in machines))
        return {machine.name: found for machine, found in zip(machines, seen, strict=True)}

    async def _call(
        self,
        machine: Machine,
        verb: str,
        values: dict[str, str],
        *,
        login: str | None = None,
        timeout_s: float,
    ) -> Answer:
        return await self._client.call(self._inventory(), machine, verb, values, login=login, timeout_s=timeout_s)

    def _error(self, machine: Machine, answer: Answer) -> ProviderError:
        return errors.from_status(machine.name, answer.status, answer.why, self.context.on_unclassified)


def _together(failed: dict[str, ProviderError]) -> ProviderError:
    """One error for several machines: their kind if all are of one, else that they are not available."""
    kinds = {type(error) for error in failed.values()}
    kind = kinds.pop() if len(kinds) == 1 else Unavailable
    first = next(iter(failed.values()))
    return kind("; ".join(str(error) for error in failed.values()), code=first.code, scope="host")
