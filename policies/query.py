"""What of a request and a policy a provider's own search may use: hints only, `judge` has the last word."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from policies.limits import limits_of
from policies.model import PolicyLike
from policies.policy import tighten_require
from policies.request import Request
from providers.base import Pricing, Query


def query_for(request: Request, policy: PolicyLike) -> Query:
    """The query for the offers of *request* under *policy*.

    Raises:
        BadRequest: no known GPU is asked for.
        BadPolicy: a `require` of the request cannot be read.
    """
    require = tighten_require(policy.require, request.require)
    limits = limits_of(request, require, datetime(2000, 1, 1, tzinfo=UTC))  # nothing here depends on the time
    return Query(
        gpus=tuple(sorted(limits.gpus)),
        count=request.count,
        pricing=cast("tuple[Pricing, ...]", tuple(sorted(limits.pricing))),
        egress_free=limits.egress_free,
        disk_gib=request.disk_gib,
        min_duration_s=request.hours * 3600,
        countries=tuple(sorted(limits.countries or ())),
    )
