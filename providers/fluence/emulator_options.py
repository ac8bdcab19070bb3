"""The switches of the emulated Fluence."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal


@dataclass(slots=True)
class Options:
    """How this Fluence is set up, and which way it takes where the documentation leaves two.

    All but `balance` may be changed while it runs. Times are multiplied by the world's `boot_scale`.

    Attributes:
        key: the one valid API key.
        balance: USDC on the account at the start.
        auth_shape: refusal of a bad key on GPU paths: ``error`` 403 with `error` (the documented sample),
            ``code`` 401 with `code` and `error` (as the account API), ``detail`` 403 with `detail`.
        create_status: HTTP status of a create.
        unavailable_text: what a create says of a plan that is sold out, gone or unknown.
        minimum_runtime_s: seconds that an instance must have been ACTIVE before a DELETE is taken.
        boot_s: seconds from create to ACTIVE (or FAILED); the documentation says two to three minutes.
        ready_s: seconds from ACTIVE to an address, or to a started container.
        update_s: seconds that a container's update takes.
        status_words: other words for states, for example ``{"ACTIVE": "HIBERNATING"}``.
        extra_fields: adds fields that nobody has documented to every object of every answer.
    """

    key: str = "fluence-sandbox-key"
    balance: Decimal = Decimal(100)
    auth_shape: Literal["error", "code", "detail"] = "error"
    create_status: int = 200
    unavailable_text: str = "Selected plan is no longer available"
    minimum_runtime_s: float = 0.0
    boot_s: float = 150.0
    ready_s: float = 10.0
    update_s: float = 20.0
    status_words: dict[str, str] = field(default_factory=dict)
    extra_fields: bool = False
