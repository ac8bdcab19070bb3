"""What a create's body may hold.

Sources: the official create description and its `x-input-validation`; the guides and the official client for `env`
as an object and for the launch modes it really sends; refusals that clients quote for the lengths' wording.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from providers.vast.emulator_instance import KVM_IMAGE
from providers.vast.emulator_wire import Refusal, invalid_args, is_number

IMAGE_MAX, LABEL_MAX, LATER_LABEL_MAX = 1024, 256, 1024
ENV_KEY_MAX, ENV_MAX, PORTS_MAX = 256, 32768, 64
LEAST_DISK_GB, DEFAULT_DISK_GB = 8, 10
LEAST_BID, MOST_BID = Decimal("0.001"), Decimal(128)
MOST_REBID_PER_GPU = Decimal(32)
# The official client sends the cut-off words; several stand side by side.
_RUNTYPES = re.compile(r"(ssh|jupyter)(_proxy|_direct|_direc)?|args")
_TEXTS = (
    *("image", "template_hash_id", "label", "runtype", "onstart", "args_str", "image_login", "user", "extra"),
    *("jupyter_dir", "target_state", "client_id"),
)
_FLAGS = ("cancel_unavail", "vm", "force", "python_utf8", "lang_utf8", "use_jupyter_lab")


@dataclass(frozen=True, slots=True)
class Order:
    """A create that holds to the rules.

    Attributes:
        bid: USD per hour for the machine; None asks for it on demand.
        cancel: fail rather than wait where it cannot start at once.
    """

    image: str
    disk: Decimal
    label: str | None
    bid: Decimal | None
    runtype: str
    env: dict[str, str]
    onstart: str | None
    args: list[str]
    vm: bool
    cancel: bool
    running: bool = True

    @property
    def kind(self) -> str:
        """``on-demand`` or ``bid``."""
        return "on-demand" if self.bid is None else "bid"


def read_order(body: dict[str, Any], ask_id: int, args_max: int) -> Order:
    """The create in *body*.

    Raises:
        Refusal: 400.
    """
    body = {name: value for name, value in body.items() if value is not None}
    _check_types(body, ask_id)
    image = body.get("image", "")
    if not image:
        # No template is known here, so one cannot stand in for the image either.
        what = "template not found" if "template_hash_id" in body else "image is required"
        raise invalid_args(3467, what, ask_id=ask_id)
    args = _arguments(body)
    length = sum(map(len, args)) + len(body.get("onstart", ""))
    if len(image) > IMAGE_MAX or length > args_max or len(body.get("label", "")) > LABEL_MAX:
        what = f"len(image) > {IMAGE_MAX}, or len(args) > {args_max}, or len(label) > {LABEL_MAX}"
        raise invalid_args(3471, what, ask_id=ask_id)
    bid = _bid(body, ask_id)
    running = body.get("target_state", "running") == "running"
    return Order(
        image=image,
        disk=_disk(body, ask_id),
        label=body.get("label"),
        bid=bid,
        runtype=_runtype(body, bool(args), ask_id),
        env=_environment(body.get("env", {}), ask_id),
        onstart=body.get("onstart"),
        args=args,
        vm=bool(body.get("vm")) or image.startswith(KVM_IMAGE),
        cancel=body.get("cancel_unavail", bid is None and running),
        running=running,
    )


def _check_types(body: dict[str, Any], ask_id: int) -> None:
    for name in _TEXTS:
        if name in body and not isinstance(body[name], str):
            raise invalid_args(3467, f"'{name}' must be a string", ask_id=ask_id)
    for name in _FLAGS:
        if name in body and not isinstance(body[name], bool):
            raise invalid_args(3467, f"'{name}' must be true or false", ask_id=ask_id)
    if body.get("target_state", "running") not in ("running", "stopped"):
        raise invalid_args(3467, "'target_state' must be running or stopped", ask_id=ask_id)


def _arguments(body: dict[str, Any]) -> list[str]:
    args = body.get("args", [])
    if not isinstance(args, list) or not all(isinstance(arg, str) for arg in args):
        raise invalid_args(3467, "'args' must be a list of strings")
    return [*args, *([body["args_str"]] if body.get("args_str") else [])]


def _bid(body: dict[str, Any], ask_id: int) -> Decimal | None:
    if "price" not in body:
        return None
    price = Decimal(str(body["price"])) if is_number(body["price"]) else None
    if price is None or not LEAST_BID <= price <= MOST_BID:
        text = f"error 400/3495: invalid price: must be between {LEAST_BID} and {MOST_BID}"
        raise Refusal(400, "invalid_price", text, ask_id=ask_id)
    return price


def _disk(body: dict[str, Any], ask_id: int) -> Decimal:
    disk = body.get("disk", DEFAULT_DISK_GB)
    if not is_number(disk) or disk < LEAST_DISK_GB:
        raise invalid_args(3467, f"'disk' must be a number of at least {LEAST_DISK_GB}", ask_id=ask_id)
    return Decimal(str(disk))


def _runtype(body: dict[str, Any], has_args: bool, ask_id: int) -> str:
    runtype = str(body.get("runtype", "args" if has_args else "ssh"))
    if not runtype.split() or not all(_RUNTYPES.fullmatch(part) for part in runtype.split()):
        raise invalid_args(3467, f"unknown runtype {runtype!r}", ask_id=ask_id)
    return runtype


def _environment(env: Any, ask_id: int) -> dict[str, str]:
    if isinstance(env, str):
        return {}  # a string of docker flags, as the description has it, is taken and not applied
    if not isinstance(env, dict) or not all(isinstance(value, str | int | float) for value in env.values()):
        raise invalid_args(3467, "'env' must be an object of strings", ask_id=ask_id)
    found = {name: str(value) for name, value in env.items()}
    total = sum(len(name) + len(value) for name, value in found.items())
    if total > ENV_MAX or any(len(name) > ENV_KEY_MAX for name in found):
        raise invalid_args(3467, f"'env' is too long: {ENV_KEY_MAX} a name, {ENV_MAX} in all", ask_id=ask_id)
    if sum(name.startswith("-p ") for name in found) > PORTS_MAX:
        raise invalid_args(3467, f"at most {PORTS_MAX} ports", ask_id=ask_id)
    return found


def read_rebid(body: dict[str, Any], gpus: int) -> Decimal:
    """The new bid in the body of a change of bid.

    Raises:
        Refusal: 400.
    """
    price = body.get("price")
    if "client_id" not in body or not is_number(price) or Decimal(str(price)) < LEAST_BID:
        raise Refusal(400, "invalid_args", f"Please set a bid price >= {LEAST_BID}.")
    if Decimal(str(price)) > MOST_REBID_PER_GPU * gpus:
        raise Refusal(400, "invalid_args", f"Please set a bid price <= {MOST_REBID_PER_GPU * gpus}.")
    return Decimal(str(price))


def read_label(body: dict[str, Any]) -> str | None:
    """The new label in a body, or None if it has none.

    Raises:
        Refusal: 400.
    """
    label = body.get("label")
    if label is not None and not isinstance(label, str):
        raise Refusal(400, "invalid_args", "label must be a string")
    if label is not None and len(label) > LATER_LABEL_MAX:
        text = f"Please limit label length to {LATER_LABEL_MAX} characters, ideally less than 128."
        raise Refusal(400, "label_too_long", text)
    return label


def read_state(body: dict[str, Any]) -> bool | None:
    """Whether a body asks for a running or a stopped instance; None if it does not say.

    Raises:
        Refusal: 400.
    """
    state = body.get("state")
    if state not in (None, "running", "stopped"):
        raise Refusal(400, "invalid_args", f"unknown state {state!r}")
    return None if state is None else state == "running"
