"""The switches of the emulated AWS."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Options:
    """How this AWS is set up, and which way it takes where the documentation leaves two.

    Times are in seconds and are multiplied by the world's `boot_scale`, except where it says otherwise.

    Attributes:
        access_key, secret_key: the one valid pair (the one that AWS's own documents use as an example).
        account, other_account: the pair's account, and the empty one that the fault `other_account` opens.
        region: what `environment` names as the default region.
        verify_signature: whether a request must carry the right SigV4 signature, not only a known key.
        max_skew_s: how far `X-Amz-Date` may be off the sandbox's clock (AWS: 900), not scaled; None: not looked
            at, because clients sign with the real clock and the sandbox's may run faster.
        pending_s: seconds from the launch to `running`.
        ready_s: seconds from `running` until SSH answers (AWS: 30 to 120).
        shutting_down_s: seconds from the order to end until `terminated`.
        visible_s: seconds that a terminated instance stays in answers, not scaled; about an hour, not documented.
        list_lag_s: seconds that a new instance is unknown to all calls but a replayed launch, not scaled.
        default_vpc: whether the account's regions have a default VPC.
        throttling: whether the documented token buckets for requests are kept.
        extra_fields: adds elements that nobody has documented to every XML answer.
    """

    access_key: str = "AKIAIOSFODNN7EXAMPLE"
    secret_key: str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105 - AWS's own example
    account: str = "123456789012"
    other_account: str = "210987654321"
    region: str = "us-east-1"
    verify_signature: bool = True
    max_skew_s: float | None = None
    pending_s: float = 15.0
    ready_s: float = 60.0
    shutting_down_s: float = 30.0
    visible_s: float = 3600.0
    list_lag_s: float = 0.0
    default_vpc: bool = True
    throttling: bool = False
    extra_fields: bool = False
