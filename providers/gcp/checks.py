"""What `orch providers check` asks of Google: what may be read, quotas, the clock. It makes nothing."""

from __future__ import annotations

from providers.errors import AuthFailed, ProviderError
from providers.gcp import quotas
from providers.gcp.client import Client
from providers.gcp.errors import ALL_GPUS
from providers.gcp.together import tried
from providers.http import skew_text

_QUOTA_PAGE = "ask for GPUs on the console's page IAM & Admin > Quotas"


async def read(client: Client, regions: tuple[str, ...]) -> dict[str, str]:
    """Lines for people.

    Raises:
        AuthFailed: the key is refused.
    """
    lines: dict[str, str] = {}
    fixes: list[str] = []
    prices = await tried(client.skus(size=1))
    table = await tried(quotas.read(client, verb="account"))
    refused = [result for result in (prices, table) if isinstance(result, ProviderError)]
    for error in refused:
        if isinstance(error, AuthFailed):
            raise error
    # There is no dry run of a create, and permissions can be tested on existing machines only.
    lines["rights"] = (
        "; ".join(str(error) for error in refused)
        or "reads prices, machine types and quotas; whether it may create machines shows only at a launch"
    )
    if refused:
        fixes.append("enable the Compute Engine and Cloud Billing APIs, and grant roles/compute.instanceAdmin.v1")
    if isinstance(table, ProviderError):
        lines["quota"] = "unknown"
    else:
        lines["quota"] = table.summary(regions)
        if ALL_GPUS in table.project and table.project[ALL_GPUS][0] <= 0:
            fixes.append(f"{ALL_GPUS} is 0: {_QUOTA_PAGE}")
    lines["clock_skew"] = skew_text(client.clock_skew_s)
    if fixes:
        lines["fix"] = "; ".join(fixes)
    return lines
