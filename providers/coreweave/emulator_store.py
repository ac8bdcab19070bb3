"""The emulated cluster's objects: one revision counter, every change remembered for watches."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from providers.coreweave.emulator_resources import RESOURCES, Resource

Json = dict[str, Any]
Key = tuple[str, str]

_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Change:
    """One change, for watches.

    Attributes:
        what: ADDED, MODIFIED or DELETED.
        before: the object as it was; a label that went away is a DELETED for whoever selects by it.
    """

    revision: int
    plural: str
    what: str
    after: Json
    before: Json | None


class Store:
    """Objects by resource, namespace and name.

    What `find` and `all` give is the store's own and must not be changed; `edit` gives a copy for `update`.
    """

    def __init__(self) -> None:
        self.revision = 300
        self.floor = self.revision
        self.history: list[Change] = []
        self._things: dict[str, dict[Key, Json]] = {resource.plural: {} for resource in RESOURCES}

    def find(self, resource: Resource, namespace: str, name: str) -> Json | None:
        """One object, or None."""
        return self._things[resource.plural].get((namespace, name))

    def edit(self, resource: Resource, namespace: str, name: str) -> Json:
        """A copy of one object that may be changed.

        Raises:
            KeyError: it is not there.
        """
        return copy.deepcopy(self._things[resource.plural][namespace, name])

    def all(self, resource: Resource, namespace: str = "") -> list[Json]:
        """The objects of a namespace, or of all, by namespace and name as the server sorts them."""
        found = self._things[resource.plural]
        return [found[key] for key in sorted(found) if not namespace or key[0] == namespace]

    def everything(self) -> Iterator[tuple[Resource, Json]]:
        """All objects of all kinds."""
        for resource in RESOURCES:
            for thing in list(self._things[resource.plural].values()):
                yield resource, thing

    def add(self, resource: Resource, thing: Json) -> Json:
        """Keep a new object; returns it with its revision."""
        return self._write(resource, copy.deepcopy(thing), "ADDED", None)

    def update(self, resource: Resource, thing: Json) -> Json:
        """Keep a changed object; nothing happens, and no revision passes, if it is the same."""
        before = self._things[resource.plural][_key(thing)]
        thing["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
        if thing == before:
            return before
        return self._write(resource, copy.deepcopy(thing), "MODIFIED", before)

    def remove(self, resource: Resource, thing: Json) -> None:
        """Forget an object, if it is still there."""
        before = self._things[resource.plural].pop(_key(thing), None)
        if before is not None:
            self.revision += 1
            last = copy.deepcopy(before)
            last["metadata"]["resourceVersion"] = str(self.revision)
            self._remember(Change(self.revision, resource.plural, "DELETED", last, before))

    def _write(self, resource: Resource, thing: Json, what: str, before: Json | None) -> Json:
        self.revision += 1
        thing["metadata"]["resourceVersion"] = str(self.revision)
        self._things[resource.plural][_key(thing)] = thing
        self._remember(Change(self.revision, resource.plural, what, thing, before))
        return thing

    def _remember(self, change: Change) -> None:
        self.history.append(change)
        if len(self.history) > _KEPT:
            self.floor = self.history[-_KEPT].revision
            del self.history[:-_KEPT]

    def dump(self) -> Json:
        """The objects, ready for JSON; the history is lost, so that old revisions are gone (410)."""
        things = {plural: list(found.values()) for plural, found in self._things.items()}
        return copy.deepcopy({"revision": self.revision, "things": things})

    def load(self, state: Json) -> None:
        """Take over what `dump` gave."""
        self.revision = self.floor = state["revision"]
        self.history.clear()
        for plural, found in self._things.items():
            found.clear()
            found.update({_key(thing): copy.deepcopy(thing) for thing in state["things"].get(plural, [])})


def _key(thing: Json) -> Key:
    metadata = thing["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
