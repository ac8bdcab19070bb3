"""The emulated Google Cloud's operations: every change is one, and most that goes wrong stands inside of it.

An operation is PENDING, RUNNING, then DONE; a failed one is DONE with `error` and `httpErrorStatusCode`. Source:
the description of Compute v1, and operations that clients have published.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from providers.gcp.emulator_options import Options
from providers.gcp.emulator_wire import Refusal, link, stamp
from providers.sandbox.world import World

_HEX = "0123456789abcdef"
_DIGITS = "0123456789"
_SYSTEM = "system@google.com"
_TIMES = ("inserted_at", "started_at", "due", "ended_at")
_PHRASES = {400: "BAD REQUEST", 403: "FORBIDDEN", 404: "NOT FOUND", 409: "CONFLICT", 503: "SERVICE UNAVAILABLE"}


@dataclass(slots=True)
class Failure:
    """What an operation fails with: a code, words, the HTTP status inside, and `errorDetails`."""

    code: str
    message: str
    status: int
    details: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Operation:
    """One operation.

    Attributes:
        scope: ``zones/us-central1-a``, ``regions/...`` or ``global``.
        target: path of the resource.
        due: when it ends; None: never.
        failure: what it will have failed with.
    """

    id: str
    name: str
    kind: str
    project: str
    scope: str
    target: str
    target_id: str
    user: str
    inserted_at: datetime
    request_id: str = ""
    started_at: datetime | None = None
    due: datetime | None = None
    ended_at: datetime | None = None
    status: str = "PENDING"
    failure: Failure | None = None
    message: str = ""

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self.status == "DONE"

    @property
    def path(self) -> str:
        return f"projects/{self.project}/{self.scope}/operations/{self.name}"

    def dump(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        state = asdict(self)
        for name in _TIMES:
            state[name] = None if state[name] is None else state[name].isoformat()
        return state

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Operation:
        """What `dump` wrote."""
        values = dict(state)
        for name in _TIMES:
            values[name] = None if values[name] is None else datetime.fromisoformat(values[name])
        values["failure"] = None if values["failure"] is None else Failure(**values["failure"])
        return cls(**values)


class Operations:
    """All operations of the one project, and the request ids that lead to them."""

    def __init__(self, world: World, options: Options) -> None:
        self.world = world
        self.options = options
        self.all: dict[str, Operation] = {}
        self._requests: dict[str, tuple[str, datetime]] = {}
        self._open: dict[str, Operation] = {}

    def begin(
        self,
        kind: str,
        project: str,
        scope: str,
        target: str,
        target_id: str,
        *,
        user: str,
        request: str = "",
        request_id: str = "",
        seconds: float | None = 0.0,
        failure: Failure | None = None,
    ) -> Operation:
        """Start an operation.

        Args:
            request: what the request id is remembered under, together with it.
            seconds: after which it ends, before the world's boot scale; None: never.

        Raises:
            Refusal: too many are in progress.
        """
        limit = self.options.max_operations
        if limit is not None and len(self._open) >= limit:
            raise Refusal(
                403,
                "rateLimitExceeded",
                "Operation rate exceeded for the project: too many concurrent operations.",
                domain="usageLimits",
                info=("CONCURRENT_OPERATIONS_QUOTA_EXCEEDED", {"consumer": f"projects/{project}"}),
            )
        made = self._make(kind, project, scope, target, target_id, user)
        made.request_id, made.failure = request_id, failure
        if seconds is not None:
            made.due = made.inserted_at + timedelta(seconds=seconds * self.world.boot_scale)
        self.all[made.name] = self._open[made.name] = made
        if request_id:
            self._requests[f"{request}#{request_id}"] = (made.name, made.inserted_at)
        self.advance()
        return made

    def event(
        self, kind: str, project: str, zone: str, target: str, target_id: str, *, at: datetime, text: str
    ) -> None:
        """What Google does by itself: an operation that is over as soon as it is there."""
        made = self._make(kind, project, f"zones/{zone}", target, target_id, _SYSTEM, "systemevent", at)
        made.status, made.message, made.started_at, made.ended_at = "DONE", text, at, at
        self.all[made.name] = made

    def replayed(self, request: str, request_id: str) -> Operation | None:
        """The operation of an earlier request with that id."""
        name, since = self._requests.get(f"{request}#{request_id}", ("", self.world.now()))
        fresh = (self.world.now() - since).total_seconds() < self.options.request_id_kept_s
        return self.all.get(name) if fresh else None

    def end(self, operation: Operation, failure: Failure | None, at: datetime) -> None:
        """Let it end now, whatever was planned."""
        operation.failure, operation.due = failure, at
        self._finish(operation)

    def advance(self) -> None:
        """Bring all that are open to the world's time."""
        now = self.world.now()
        start = timedelta(seconds=self.options.start_s * self.world.boot_scale)
        for operation in list(self._open.values()):
            if operation.status == "PENDING" and operation.inserted_at + start <= now:
                operation.status, operation.started_at = "RUNNING", operation.inserted_at + start
            if operation.due is not None and operation.due <= now:
                self._finish(operation)

    def find(self, scope: str, name: str) -> Operation | None:
        """One by name or id."""
        for operation in (self.all.get(name), *(self.all.values() if name.isdecimal() else ())):
            if operation is not None and operation.scope == scope and name in (operation.name, operation.id):
                return operation if self._kept(operation) else None
        return None

    def listed(self, scope: str | None) -> list[Operation]:
        """Those of a scope, or of all, newest last."""
        return [one for one in self.all.values() if scope in (None, one.scope) and self._kept(one)]

    def _kept(self, operation: Operation) -> bool:
        if operation.ended_at is None:
            return True
        return (self.world.now() - operation.ended_at).total_seconds() < self.options.operations_kept_s

    def _finish(self, operation: Operation) -> None:
        operation.started_at = operation.started_at or operation.inserted_at
        operation.status, operation.ended_at = "DONE", operation.due
        self._open.pop(operation.name, None)

    def _make(
        self,
        kind: str,
        project: str,
        scope: str,
        target: str,
        target_id: str,
        user: str,
        prefix: str = "operation",
        at: datetime | None = None,
    ) -> Operation:
        at = at or self.world.now()
        letters = self.world.letters
        tail = f"{letters(13, _HEX)}-{letters(8, _HEX)}-{letters(8, _HEX)}"
        name = f"{prefix}-{int(at.timestamp() * 1000)}-{tail}"
        return Operation(f"1{letters(18, _DIGITS)}", name, kind, project, scope, target, target_id, user, at)

    # The state as a file.

    def dump(self) -> dict[str, Any]:
        """All of them, ready for JSON."""
        requests = [[key, name, at.isoformat()] for key, (name, at) in self._requests.items()]
        return {"all": [operation.dump() for operation in self.all.values()], "requests": requests}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave."""
        restored = [Operation.restore(row) for row in state["all"]]
        self.all = {operation.name: operation for operation in restored}
        self._open = {name: operation for name, operation in self.all.items() if not operation.done}
        self._requests = {key: (name, datetime.fromisoformat(at)) for key, name, at in state["requests"]}


def view(operation: Operation) -> dict[str, Any]:
    """An operation wherever one stands."""
    known: dict[str, Any] = {
        "kind": "compute#operation",
        "id": operation.id,
        "name": operation.name,
        "operationType": operation.kind,
        "targetLink": link(operation.target),
        "targetId": operation.target_id,
        "status": operation.status,
        "statusMessage": operation.message or None,
        "user": operation.user,
        "progress": 100 if operation.done else 0,
        "insertTime": stamp(operation.inserted_at),
        "startTime": None if operation.started_at is None else stamp(operation.started_at),
        "endTime": None if operation.ended_at is None else stamp(operation.ended_at),
        "clientOperationId": operation.request_id or None,
        "selfLink": link(operation.path),
    }
    kind, _, name = operation.scope.partition("/")
    if name:
        known[kind.removesuffix("s")] = link(f"projects/{operation.project}/{operation.scope}")
    if operation.done and (failure := operation.failure) is not None:
        error: dict[str, Any] = {"code": failure.code, "message": failure.message}
        if failure.details:
            error["errorDetails"] = failure.details
        known["error"] = {"errors": [error]}
        known["httpErrorStatusCode"] = failure.status
        known["httpErrorMessage"] = _PHRASES.get(failure.status, "INTERNAL SERVER ERROR")
    return {key: value for key, value in known.items() if value is not None}
