"""Create, change and delete: what the API server does to one object between the wire and the store."""

from __future__ import annotations

import copy
from typing import Any

import providers.coreweave.emulator_admission as admission
import providers.coreweave.emulator_patch as patches
import providers.coreweave.emulator_pod_rules as pods
import providers.coreweave.emulator_rules as rules
from providers.coreweave.emulator_cluster import TERMINAL, Cluster, Fate
from providers.coreweave.emulator_resources import (
    NAMESPACES,
    PODS,
    SECRETS,
    Place,
    Resource,
)
from providers.coreweave.emulator_selectors import required_terms
from providers.coreweave.emulator_status import (
    Cause,
    bad_request,
    exists,
    forbidden,
    invalid,
    modified,
    not_found,
    precondition,
    wrong,
)

Json = dict[str, Any]

_SERVER_KEYS = ("uid", "creationTimestamp", "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds")
#: A Pod on a node without a limit of its own gets this one when it is told to go.
_GRACE_S = 30


class Objects:
    """Objects by the server's rules. Answers are full objects; `emulator_api` trims and wraps them."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.store = cluster.store

    def get(self, place: Place) -> Json:
        """One object.

        Raises:
            Refused: 404.
        """
        found = self.store.find(place.resource, place.namespace, place.name)
        if found is None:
            raise not_found(place.resource.plural, place.resource.group, place.name)
        return found

    # Create.

    def create(self, place: Place, body: Json, *, dry: bool = False, strict: bool = False) -> Json:
        """A new object.

        Args:
            dry: only look whether it could be made.
            strict: refuse fields of Pods that nobody knows, which are dropped otherwise.

        Raises:
            Refused: 400, 403, 404, 409 or 422, and nothing was made.
        """
        resource = place.resource
        thing = self._typed(resource, body)
        if strict and resource is PODS and (strange := pods.unknown(body)):
            said = ", ".join(f'unknown field "{name}"' for name in strange)
            raise bad_request(f'Pod in version "v1" cannot be handled as a Pod: strict decoding error: {said}')
        self._named(place, thing)
        name = str(thing["metadata"].get("name") or "")
        if resource.namespaced:
            self._check_namespace(place)
        thing = admission.filled(self.cluster, resource, thing)
        causes = rules.metadata(resource, thing) + admission.causes(self.cluster, resource, thing)
        if causes:
            raise invalid(resource.kind, resource.group, name, causes)
        if resource is PODS:
            admission.check_quota(self.cluster, thing)
        known = self.store.find(resource, place.namespace, name)
        if known is not None:
            deleting = "deletionTimestamp" in known["metadata"]
            raise exists(resource.plural, resource.group, name, deleting=deleting)
        return thing if dry else self.store.add(resource, thing)

    def _typed(self, resource: Resource, body: Json) -> Json:
        if body.get("kind") != resource.kind or body.get("apiVersion") != resource.api_version:
            text = f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get version/kind"
            raise bad_request(text)
        rules.typed(resource, {"metadata": {}, **body})
        if resource is PODS:
            pods.decode(body)
        thing = copy.deepcopy(body)
        meta = thing.setdefault("metadata", {})
        for key in (*_SERVER_KEYS, "generation", "managedFields", "selfLink"):
            meta.pop(key, None)
        for key in [key for key, value in meta.items() if value is None or value in ({}, [])]:
            del meta[key]
        return thing

    def _named(self, place: Place, thing: Json) -> None:
        meta = thing["metadata"]
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"] + self.cluster.world.letters(5, "bcdfghjklmnpqrstvwxz2456789")
        if place.resource.namespaced:
            if meta.setdefault("namespace", place.namespace) != place.namespace:
                text = "the namespace of the provided object does not match the namespace sent on the request"
                raise bad_request(text)
        else:
            meta.pop("namespace", None)
        meta |= {"uid": self.cluster.world.uuid(), "creationTimestamp": self.cluster.stamp()}

    def _check_namespace(self, place: Place) -> None:
        namespace = self.store.find(NAMESPACES, "", place.namespace)
        if namespace is None:
            raise not_found(NAMESPACES.plural, "", place.namespace)
        if namespace["status"]["phase"] == "Terminating":
            resource = place.resource
            why = f"unable to create new content in namespace {place.namespace} because it is being terminated"
            refusal = forbidden(resource.plural, resource.group, place.name or None, why)
            refusal.details = {
                **(refusal.details or {}),
                "causes": [dict(Cause("NamespaceTerminating", "metadata.namespace", why))],
            }
            raise refusal

    # Change.

    def patch(self, place: Place, content_type: str, patch: Any, *, dry: bool = False) -> Json:
        """An object after a patch.

        Raises:
            Refused: see `update`; 415 and 422 for the patch itself.
        """
        # The kind of patch is looked at before the object.
        before = self.store.find(place.resource, place.namespace, place.name)
        after = patches.apply(before or {"metadata": {}}, patch, content_type, custom=place.resource.custom)
        if before is None:
            raise not_found(place.resource.plural, place.resource.group, place.name)
        return self._change(place, before, after, dry=dry)

    def replace(self, place: Place, body: Json, *, dry: bool = False) -> Json:
        """An object, replaced by *body*.

        Raises:
            Refused: see `update`; 400 if the names differ, 422 without the version where that is needed.
        """
        before = self.get(place)
        rules.typed(place.resource, {"metadata": {}, **body})
        meta = body.get("metadata") or {}
        if meta.get("name") != place.name:
            raise bad_request("the name of the object does not match the name on the URL")
        if place.resource.custom and not meta.get("resourceVersion"):
            cause = Cause(
                "FieldValueInvalid", "metadata.resourceVersion", "Invalid value: 0x0: must be specified for an update"
            )
            raise invalid(place.resource.kind, place.resource.group, place.name, [cause])
        return self._change(place, before, copy.deepcopy(body), dry=dry)

    def _change(self, place: Place, before: Json, after: Json, *, dry: bool) -> Json:
        resource, old = place.resource, before["metadata"]
        after = copy.deepcopy(after)
        meta = after.setdefault("metadata", {})
        version = meta.get("resourceVersion") or old["resourceVersion"]
        if version != old["resourceVersion"]:
            raise modified(resource.plural, resource.group, place.name)
        if meta.get("uid", old["uid"]) != old["uid"]:
            raise precondition(resource.kind, resource.group, place.name, "UID", str(meta["uid"]), old["uid"])
        if meta.get("name", place.name) != place.name:
            cause = wrong("metadata.name", meta["name"], "field is immutable")
            raise invalid(resource.kind, resource.group, place.name, [cause])
        after = self._whole(place, before, after)
        causes = rules.metadata(resource, after)
        if place.sub != "status":
            causes += admission.causes(self.cluster, resource, after) + rules.changed(resource, before, after)
            causes += pods.check_change(before, after) if resource is PODS else []
        if causes:
            raise invalid(resource.kind, resource.group, place.name, causes)
        if dry:
            return after
        if (
            "deletionTimestamp" in after["metadata"]
            and not after["metadata"].get("finalizers")
            and resource is not PODS
        ):
            # The last finalizer is gone, and the object with it.
            self.store.remove(resource, before)
            return after
        return self.store.update(resource, after)

    def _whole(self, place: Place, before: Json, after: Json) -> Json:
        """The parts that this path may change, from *after*; the others from *before*."""
        resource, old = place.resource, before["metadata"]
        rules.typed(resource, after)
        split = "status" in resource.subresources
        if place.sub == "status":
            status = after.get("status") or {}
            return {**before, "status": pods.whole_status(status) if resource is PODS else status}
        meta = {
            key: value
            for key, value in after["metadata"].items()
            if key not in _SERVER_KEYS and value not in (None, {}, [])
        }
        kept = {key: old[key] for key in _SERVER_KEYS if key in old}
        result: Json = {
            **after,
            "apiVersion": before["apiVersion"],
            "kind": before["kind"],
            "metadata": {**meta, **kept},
        }
        if split and "status" in before:
            result["status"] = before["status"]
        elif split:
            result.pop("status", None)
        if resource is SECRETS and result.get("stringData"):
            result = admission.filled(self.cluster, resource, result)
        if resource.custom:
            result["metadata"]["generation"] = old["generation"] + (result.get("spec") != before.get("spec"))
        return result

    # Delete.

    def delete(self, place: Place, options: Json) -> tuple[Json, bool]:
        """Delete one object.

        Returns:
            The object, and whether it is on its way (True) or was removed at once (False).

        Raises:
            Refused: 404; 409 if a precondition does not hold.
        """
        thing, resource = self.get(place), place.resource
        meta = thing["metadata"]
        for key, what in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            asked = (options.get("preconditions") or {}).get(key)
            if asked is not None and asked != meta[key]:
                raise precondition(resource.kind, resource.group, place.name, what, asked, meta[key])
        if options.get("propagationPolicy") == "Orphan" or options.get("orphanDependents"):
            self._orphan(meta["uid"])
        if resource is NAMESPACES:
            return self._end_namespace(thing), True
        grace = self._grace(thing, options) if resource is PODS else 0
        if (
            "deletionTimestamp" in meta
            and grace >= meta.get("deletionGracePeriodSeconds", 0)
            and (grace or meta.get("finalizers"))
        ):
            return thing, True
        thing = self._marked(resource, thing, grace)
        if grace or thing["metadata"].get("finalizers"):
            return self.store.update(resource, thing), True
        if resource is PODS:
            # A watch sees the mark before the end.
            thing = self.store.update(resource, thing)
            self.cluster.remove_pod(thing)
        else:
            self.store.remove(resource, thing)
        return thing, False

    def _marked(self, resource: Resource, thing: Json, grace: int) -> Json:
        thing = copy.deepcopy(thing)
        meta = thing["metadata"]
        meta["deletionTimestamp"] = self.cluster.stamp(self.cluster.now + grace)
        meta["deletionGracePeriodSeconds"] = grace
        if resource.custom:
            meta["generation"] += 1
        return thing

    def _grace(self, pod: Json, options: Json) -> int:
        """Seconds that a Pod is given; one that no kubelet knows, or that has ended, is given none."""
        asked = options.get("gracePeriodSeconds")
        done = (pod.get("status") or {}).get("phase") in TERMINAL
        if not pod["spec"].get("nodeName") or (done and asked is None):
            return 0
        return int(pod["spec"].get("terminationGracePeriodSeconds", _GRACE_S) if asked is None else asked)

    def _orphan(self, owner: str) -> None:
        for resource, thing in self.store.everything():
            owners = thing["metadata"].get("ownerReferences") or []
            if any(item.get("uid") == owner for item in owners):
                freed = copy.deepcopy(thing)
                rest = [item for item in owners if item.get("uid") != owner]
                freed["metadata"] |= {"ownerReferences": rest} if rest else {}
                if not rest:
                    del freed["metadata"]["ownerReferences"]
                self.store.update(resource, freed)

    def _end_namespace(self, thing: Json) -> Json:
        if thing["status"]["phase"] == "Terminating":
            return thing
        thing = self._marked(NAMESPACES, thing, 0)
        thing["metadata"].pop("deletionGracePeriodSeconds")
        thing["status"]["phase"] = "Terminating"
        return self.store.update(NAMESPACES, thing)

    # A Pod as an instance.

    def adopt(self, pod: Json) -> Fate:
        """Count a new Pod as an instance, and open its line in the ledger."""
        meta, spec = pod["metadata"], pod["spec"]
        types = instance_types(spec)
        shapes = [self.cluster.market.shapes[name] for name in types if name in self.cluster.market.shapes]
        words = [meta["name"], meta["uid"], meta["namespace"], *types, *(shape.gpu_class for shape in shapes)]
        fate = Fate(
            meta["uid"],
            meta["namespace"],
            meta["name"],
            self.cluster.now,
            subject=" ".join([*words, *(shape.device for shape in shapes)]),
            offer=" ".join(types),
        )
        self.cluster.fates[fate.uid] = fate
        self.cluster.open_pod(fate)
        return fate


def instance_types(spec: Json) -> list[str]:
    """The instance types that a Pod says it may run on."""
    found: list[str] = []
    label = "node.kubernetes.io/instance-type"
    if label in (spec.get("nodeSelector") or {}):
        found.append(spec["nodeSelector"][label])
    for term in required_terms(spec) or []:
        for item in term.get("matchExpressions") or []:
            if item.get("key") == label and item.get("operator") == "In":
                found += item.get("values") or []
    return list(dict.fromkeys(found))
