"""The switches of the emulated Lambda Cloud."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(slots=True)
class Options:
    """How this Lambda Cloud is set up, and which way it takes where its documentation leaves two.

    Everything may be changed while it runs. Times are in seconds; those of a machine's life are multiplied by the
    world's `boot_scale`, those of the rate limits are not.

    Attributes:
        key: the one valid API key.
        standing: of the account: ``inactive`` (no verified address, no means of payment) refuses every call,
            ``bad-address`` (of the bill) every launch.
        max_instances: the account's quota, or None for no end.
        request_spacing_s, launch_spacing_s: one request, and one launch, per so much time; 0 for no limit.
            Lambda's API description says 1 and 12.
        slack_s: by how much of *real* time a request may come early, for the jitter of the way to here.
        limit_body: of a 429, which nobody has documented: ``json`` with the code that one client expects, or the
            ``html`` page of a proxy.
        limit_header: whether a 429 says `Retry-After`; none is documented.
        boot_s, boot_per_gpu_s: from launch to `active` with one GPU (measured: 238 to 333 s), and for each more
            (eight: 10 to 15 minutes).
        address_s: from `active` to an `ip`.
        ssh_s: from an `ip` to an answering SSH server.
        terminate_s: from `terminating` to gone.
        restart_s: how long a restart takes.
        ended_shown_s: how long an ended instance is still shown as `terminated`; usually it just disappears.
        preempted_shown_s: the same for `preempted`.
        missing_status: of a launch that names what does not exist; the description lists both.
        second_terminate: of a terminate for what is `terminating`: 404, or 200 again.
        terminate_booting: whether what is `booting` can be terminated; else 409 until it is up.
        keys_before_capacity: whether a launch looks for its SSH key before it looks for capacity.
        duplicate_key_code: what a second SSH key of one name is refused with.
        private_ip: whether instances get a private address; some real ones do not show any.
        null_fields: what is not known yet is null instead of absent.
        price_as_text: prices in cents come as strings, as older clients saw.
        extra_fields: adds fields that nobody has documented to every object of every answer.
        status_words: other words for statuses, for example ``{"booting": "hibernating"}``.
    """

    key: str = "lambda-sandbox-key"
    standing: Literal["active", "inactive", "bad-address"] = "active"
    max_instances: int | None = None
    request_spacing_s: float = 1.0
    launch_spacing_s: float = 12.0
    slack_s: float = 0.1
    limit_body: Literal["json", "html"] = "json"
    limit_header: bool = False
    boot_s: float = 270.0
    boot_per_gpu_s: float = 66.0
    address_s: float = 5.0
    ssh_s: float = 10.0
    terminate_s: float = 30.0
    restart_s: float = 90.0
    ended_shown_s: float = 0.0
    preempted_shown_s: float = 600.0
    missing_status: Literal[400, 404] = 404
    second_terminate: Literal[200, 404] = 404
    terminate_booting: bool = True
    keys_before_capacity: bool = True
    duplicate_key_code: str = "global/duplicate"
    private_ip: bool = True
    null_fields: bool = False
    price_as_text: bool = False
    extra_fields: bool = False
    status_words: dict[str, str] = field(default_factory=dict)
