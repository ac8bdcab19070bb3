"""Account, GPU models, market metrics, charges, logs: what is only read.

Sources: the official descriptions of these calls; the official client for `gpu_types`, `gpu_names` and `credit`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from math import ceil
from typing import Any

from providers.sandbox.ledger import Line
from providers.vast.emulator_instance import Instance
from providers.vast.emulator_market import Ask, Market
from providers.vast.emulator_wire import Refusal, number

_MILLS = Decimal("0.001")
_CHARGE_TYPES = {"compute": "gpu", "disk": "disk", "ingress": "bwd", "egress": "bwu"}
_ANSWERS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_HOSTING = {"secure_cloud": True, "true": True, "1": True, "community": False, "false": False, "0": False}


def user(market: Market, account: str, user_id: int, credit: Decimal, key: str | None) -> dict[str, Any]:
    """The account. Which of `balance` and `credit` holds prepaid money is not published: both do here."""
    return {
        "id": user_id,
        "key_id": 77_001,
        "email": market.account["email"] if account == "main" else "other@example.com",
        "email_verified": True,
        "balance": number(credit),
        "credit": number(credit),
        "ssh_key": key or "",
        "sid": "sandbox",
        "has_billing": False,
        "can_pay": credit > 0,
    }


def gpu_types(market: Market) -> dict[str, Any]:
    """The models on the market."""
    models = {ask.gpu_name: ask.model for ask in market.asks.values()}
    rows = [
        {"name": name, "canonical_name": name, "gpu_ram_mb": model.gpu_ram, "gpu_arch": model.gpu_arch}
        for name, model in sorted(models.items())
    ]
    return {"gpu_types": rows}


def gpu_names(market: Market) -> dict[str, Any]:
    """The models' names alone."""
    return {"gpu_names": sorted({ask.gpu_name for ask in market.asks.values()})}


# Metrics.


def metrics(market: Market, query: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """Counts and price percentiles per model.

    Args:
        query: `verified` (yes, no, all), `hosting_type` (secure_cloud, community, all) and `num_gpus`, as described;
            guides use true and 1 as well.
    """
    verified = _ANSWERS.get(query.get("verified", "yes"))
    secure = _HOSTING.get(query.get("hosting_type", "all"))
    count = query.get("num_gpus", "all")
    asks = [
        ask
        for ask in market.listed(now)
        if verified in (None, ask.verification == "verified")
        and secure in (None, ask.datacenter)
        and count in ("all", str(ask.num_gpus))
    ]
    names = sorted({ask.gpu_name for ask in asks})
    return {"success": True, "gpus": [_metric(market, name, [a for a in asks if a.gpu_name == name]) for name in names]}


def _metric(market: Market, name: str, asks: list[Ask]) -> dict[str, Any]:
    prices = sorted(market.price(ask) / ask.num_gpus for ask in asks)
    free = [ask for ask in asks if market.rentable(ask)]
    verified = [ask for ask in asks if ask.verification == "verified"]
    free_verified = [ask for ask in free if ask.verification == "verified"]
    model, median = asks[0].model, _percentile(prices, 50)
    return {
        "gpu_name": name,
        "total": len(asks),
        "available": len(free),
        "rented_verified": len(verified) - len(free_verified),
        "avail_verified": len(free_verified),
        "rented_unverified": len(asks) - len(free) - (len(verified) - len(free_verified)),
        "avail_unverified": len(free) - len(free_verified),
        "usage": number(Decimal(100 * (len(asks) - len(free))) / len(asks)),
        "usage_30d": 50.0,
        "dlperf": model.dlperf,
        "tflops": model.total_flops,
        "price_p10": number(_percentile(prices, 10)),
        "price_p25": number(_percentile(prices, 25)),
        "price_median": number(median),
        "price_p75": number(_percentile(prices, 75)),
        "price_p90": number(_percentile(prices, 90)),
        "tflops_per_dollar": number(Decimal(str(model.total_flops)) / median),
        "dlperf_per_dollar": number(Decimal(str(model.dlperf)) / median),
    }


def _percentile(ordered: list[Decimal], percent: int) -> Decimal:
    """By nearest rank."""
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


# Charges.


def charges(lines: list[Line], rentals: Mapping[str, Instance], query: Mapping[str, str], now: datetime) -> Any:
    """What each rental cost, by kind; a row for every contract that billed within the days asked for.

    Raises:
        Refusal: 400, the range of days is missing.
    """
    first, last = _days(query)
    rows = []
    for instance_id in dict.fromkeys(line.instance for line in lines):
        own = [line for line in lines if line.instance == instance_id]
        if any(line.opened_at <= last and (line.closed_at is None or line.closed_at >= first) for line in own):
            rows.append(_charge(rentals[instance_id], own, now))
    rows.sort(key=lambda row: row["start"], reverse=query.get("latest_first", "true") != "false")
    found = rows[: _limit(query)]
    return {"success": True, "count": len(found), "total": len(rows), "results": found, "next_token": None}


def _days(query: Mapping[str, str]) -> tuple[float, float]:
    try:
        day = json.loads(query.get("select_filters", "{}"))["day"]
        return float(day["gte"]), float(day["lte"])
    except (ValueError, KeyError, TypeError):
        text = "Must provide both 'day' gte and lte filters for instance charges"
        raise Refusal(400, None, text) from None


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", "100")
    return max(1, min(500, int(text))) if text.isdigit() else 100


def _charge(instance: Instance, lines: list[Line], now: datetime) -> dict[str, Any]:
    items = [_item(line, now) for line in lines]
    start, end = min(item["start"] for item in items), max(item["end"] for item in items)
    total = sum((line.usd(now.timestamp()) for line in lines), Decimal(0))
    return {
        "start": start,
        "end": end,
        "type": "instance",
        "source": f"instance-{instance.id}",
        "description": f"Instance {instance.id} Charges - {(end - start) // 86400 + 1} days",
        "amount": _mills(total),
        "metadata": {} if instance.label is None else {"label": instance.label},
        "items": items,
    }


def _item(line: Line, now: datetime) -> dict[str, Any]:
    end = now.timestamp() if line.closed_at is None else line.closed_at
    return {
        "start": int(line.opened_at),
        "end": int(end),
        "type": _CHARGE_TYPES[line.what],
        "source": None,
        "description": f"{(end - line.opened_at) / 3600:.3f} hours at ${float(line.rates[-1][1]):.3f}/hour",
        "amount": _mills(line.usd(now.timestamp())),
        "metadata": {},
        "items": [],
    }


def _mills(usd: Decimal) -> float:
    return float(usd.quantize(_MILLS, ROUND_HALF_UP))


def log_text(instance: Instance) -> str:
    """What a container has printed."""
    lines = [instance.status_msg or ""] if not instance.running else ["Created container", "sshd is running"]
    return "\n".join(line.strip() for line in lines) + "\n"
