"""The switches of the emulated Paperspace."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(slots=True)
class Options:
    """How this Paperspace is set up, and which way it takes where nothing certain is known of the real one.

    Everything may be changed while it runs. Times are in seconds; those of a machine's life are multiplied by the
    world's `boot_scale`, those of the rate limit and of a deleted machine's afterlife are not.

    Attributes:
        key: the one valid API key.
        team_id, max_machines: the team and how many machines it may have, as the session shows them.
        standing: of the team's account: without a way to pay, or locked by Paperspace, it creates nothing.
        approved: the types out of those that need an approval which the team may use; None: all.
        capacity_code, limit_code, approval_code, standing_code: tRPC names of refusals whose code nobody knows.
        request_limit: requests a minute before a 429 (the real limits are unpublished), or None.
        limit_header: whether that 429 says `Retry-After`; not documented.
        waf: whether what looks like an attack is blocked by an HTML page before it gets here.
        public_templates: whether `/os-templates` needs no key (its reference page shows none).
        page_size: items on a page when `limit` is not given.
        name_match: how the `name` filter of machines compares; the real rule is unknown.
        machine_region: how a machine spells its region: ``long`` as in samples, ``short`` (NY2) or ``lower``.
        text_numbers: sizes in bytes (`ram`, `storage...`) come as strings.
        extra_fields: adds a field that nobody documented to every object of every answer.
        state_words: other words for states, for example ``{"provisioning": "hibernating"}``.
        event_s: until an event is in progress.
        provision_s, start_s, service_s: from create to `starting`, from there to `serviceready`, and to `ready`.
        ssh_s: from `ready` to an answering SSH server.
        stop_s, restart_s, delete_s: how long these take.
        deleted_shown_s: how long GET shows a deleted machine, with `dtDeleted`, before it gives 404.
        deleted_listed: whether lists show it meanwhile, too.
        second_delete: of a DELETE for what is being deleted: 200 again, 404, or 409.
        bill_step_s: the granularity of compute billing; 1 or 3600, nobody knows.
        bill_boot: whether `provisioning` costs; "off is the only state without a usage fee" says that it does.
        script_delete_in_use: whether a startup script can be deleted while a machine has it.
    """

    key: str = "paperspace-sandbox-key"
    team_id: int = 734215
    max_machines: int = 20
    standing: Literal["good", "no-payment-method", "locked"] = "good"
    approved: frozenset[str] | None = None
    capacity_code: str = "BAD_REQUEST"
    limit_code: str = "FORBIDDEN"
    approval_code: str = "FORBIDDEN"
    standing_code: str = "PRECONDITION_FAILED"
    request_limit: int | None = None
    limit_header: bool = False
    waf: bool = True
    public_templates: bool = True
    page_size: int = 15
    name_match: Literal["exact", "contains"] = "contains"
    machine_region: Literal["long", "short", "lower"] = "long"
    text_numbers: bool = False
    extra_fields: bool = False
    state_words: dict[str, str] = field(default_factory=dict)
    event_s: float = 2.0
    provision_s: float = 90.0
    start_s: float = 30.0
    service_s: float = 20.0
    ssh_s: float = 5.0
    stop_s: float = 20.0
    restart_s: float = 60.0
    delete_s: float = 15.0
    deleted_shown_s: float = 10.0
    deleted_listed: bool = False
    second_delete: Literal[200, 404, 409] = 200
    bill_step_s: int = 1
    bill_boot: bool = True
    script_delete_in_use: bool = True
