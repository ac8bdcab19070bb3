"""The switches of the emulated Google Cloud."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(slots=True)
class Options:
    """How this Google Cloud is set up, and which way it takes where the documentation leaves two.

    Everything may be changed while it runs. Times are in seconds; those of a machine's life are multiplied by the
    world's `boot_scale`, notices and run durations are not.

    Attributes:
        project, project_number: the one project.
        token: a bearer token that is always accepted, with all scopes.
        api_key: accepted for the price catalogue (``key=``), where Google takes one instead of a token.
        service_accounts: e-mail addresses that the token endpoint gives tokens to.
        client_id, client_secret, refresh_token: of the one signed-in user.
        clock_skew_s: by how much an assertion's `iat` may differ from the world's time; None: not looked at.
        standing: of the project: ``api-off`` and ``billing-off`` refuse every call with 403.
        denied: permissions that the caller lacks, for example ``compute.instances.create``.
        default_ssh: whether the network `default` comes with the rule `default-allow-ssh`.
        start_s: how long an operation is PENDING.
        visible_s: from insert until a get or a list finds the new instance.
        provision_s, stage_s: from the operation's start through PROVISIONING, and through STAGING.
        ssh_s: from RUNNING until the SSH server answers.
        stockout_s: from insert until the operation fails for want of capacity.
        stop_s, delete_s: how long stopping, and deleting, takes.
        flex_s: how long a FLEX_START instance is PENDING where there is stock.
        notice_s: from ACPI G2 to the hard end of a preempted instance.
        wait_s: how long `operations.wait` blocks at most; it may return at once by its documentation.
        operations_kept_s: finished operations are forgotten after it.
        request_id_kept_s: for how long a `requestId` is known; the documentation does not say.
        second_delete: of an instance that is being deleted: the running operation again, or 404.
        delete_early: of an instance whose insert has not finished: served, or refused as not ready.
        missing_type: what an unknown machine type in a zone is refused with: `notFound` (404) or `invalid` (400).
        bundled_gpus: whether a machine type with GPUs of its own may come with the same `guestAccelerators`.
        stockout_code: the code inside the operation.
        quota_at_once: whether regional quotas are refused with 403, too, and not inside the operation.
        limit_status: of a rate limit.
        per_minute: requests a minute of each class; None: unlimited.
        max_operations: operations in progress at once; None: unlimited.
        page_limit: items a page holds at most, whatever was asked for (Google's own limit is 500).
        sku_page: the same for the price catalogue (5000).
        advice: whether `advice.capacity` is open to this project; it may need to be allow-listed.
        extra_fields: adds fields that nobody has documented to every object of every answer.
        status_words: other words for statuses of instances, for example ``{"STAGING": "HIBERNATING"}``.
    """

    project: str = "orch-sandbox"
    project_number: str = "482910375562"
    token: str = "ya29.orch-sandbox-token"  # noqa: S105 - of the sandbox alone
    api_key: str = "AIzaSyOrchSandbox0000000000000000000000"
    service_accounts: tuple[str, ...] = ("orch@orch-sandbox.iam.gserviceaccount.com",)
    client_id: str = "764086051850-orch.apps.googleusercontent.com"
    client_secret: str = "orch-sandbox-secret"  # noqa: S105
    refresh_token: str = "1//orch-sandbox-refresh"  # noqa: S105
    clock_skew_s: float | None = None
    standing: Literal["active", "api-off", "billing-off"] = "active"
    denied: set[str] = field(default_factory=set)
    default_ssh: bool = True
    start_s: float = 1.0
    visible_s: float = 0.0
    provision_s: float = 5.0
    stage_s: float = 10.0
    ssh_s: float = 40.0
    stockout_s: float = 8.0
    stop_s: float = 30.0
    delete_s: float = 30.0
    flex_s: float = 60.0
    notice_s: float = 30.0
    wait_s: float = 120.0
    operations_kept_s: float = 14 * 86400.0
    request_id_kept_s: float = 86400.0
    second_delete: Literal["operation", 404] = "operation"
    delete_early: Literal["accept", "refuse"] = "accept"
    missing_type: Literal["notFound", "invalid"] = "notFound"
    bundled_gpus: Literal["refuse", "accept"] = "refuse"
    stockout_code: str = "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"
    quota_at_once: bool = False
    limit_status: Literal[403, 429] = 403
    per_minute: int | None = 1500
    max_operations: int | None = None
    page_limit: int = 500
    sku_page: int = 5000
    advice: Literal["open", "closed"] = "open"
    extra_fields: bool = False
    status_words: dict[str, str] = field(default_factory=dict)
