"""`GET /v2/billing/pods`: what pods cost, in time buckets, out of the sandbox's ledger.

Source: the API description's listPodBilling. One record per pod and bucket; the window is widened to whole buckets.
Weeks begin on Monday here, which the description leaves open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import ceil
from typing import Any

from providers.runpod.emulator_catalog import Params
from providers.runpod.emulator_wire import Refusal, number, parse_time, stamp
from providers.sandbox.ledger import Line

_SIZES = ("hour", "day", "week", "month", "year")
_FIRST = datetime(2020, 1, 1, tzinfo=UTC)  # there is nothing before; keeps absurd windows finite
_PARTS = {"compute": "gpuAmount", "disk": "diskAmount", "volume": "diskAmount"}


def bucket_start(moment: datetime, size: str) -> datetime:
    """The start of the bucket that *moment* is in."""
    hour = moment.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    match size:
        case "hour":
            return hour
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "year":
            return day.replace(month=1, day=1)
        case _:
            return day


def bucket_end(start: datetime, size: str) -> datetime:
    """The start of the bucket after the one that begins at *start*."""
    days = {"day": 1, "week": 7, "month": 32, "year": 367}.get(size)
    return start + timedelta(hours=1) if days is None else bucket_start(start + timedelta(days=days), size)


def answer(lines: list[Line], query: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """The body for the account whose ledger *lines* are given.

    Raises:
        Refusal: 422 for a malformed value, 400 for `lastN` together with a time.
    """
    size, start, end = _window(query, now)
    pod_filter = query.get("podId")
    buckets = list(_buckets(start, end, size))
    by_pod: dict[str, list[Line]] = {}
    for line in lines:
        if pod_filter in (None, line.instance) and _seconds(line, start, end, now) is not None:
            by_pod.setdefault(line.instance, []).append(line)
    records, totals = [], _zeros()
    for first, last in buckets:
        for pod, its_lines in by_pod.items():
            amounts = _amounts(its_lines, first, last, now)
            totals = {name: totals[name] + amounts[name] for name in totals}
            records.append({"startTime": stamp(first), "endTime": stamp(last), "podId": pod} | _numbers(amounts))
    echo = {"startTime": stamp(start), "endTime": stamp(end), "bucketSize": size, "podId": pod_filter}
    metadata = {
        "query": echo,
        "recordCount": len(records),
        "uniquePodCount": len(by_pod),
        "totals": _numbers(totals),
    }
    return {"records": records, "metadata": metadata}


def _window(query: Mapping[str, str], now: datetime) -> tuple[str, datetime, datetime]:
    params = Params(query)
    size = params.value("bucketSize", _SIZES) or "day"
    last_n = params.whole("lastN", 1)
    times = {}
    for name in ("startTime", "endTime"):
        if name in query:
            try:
                times[name] = parse_time(query[name]).astimezone(now.tzinfo)
            except ValueError:
                params.errors.append(f"query.{name}: want an RFC 3339 time")
    params.done()
    if last_n is not None and times:
        raise Refusal(400, "lastN and startTime/endTime are mutually exclusive")
    if last_n is not None:
        start = bucket_start(now, size)
        while last_n > 1 and start > _FIRST:
            start, last_n = bucket_start(start - timedelta(seconds=1), size), last_n - 1
        return size, start, bucket_end(bucket_start(now, size), size)
    start = bucket_start(max(_FIRST, times.get("startTime", now - timedelta(days=30))), size)
    end = min(times.get("endTime", now), bucket_end(bucket_start(now, size), size))
    floor = bucket_start(end, size)
    end = floor if floor == end else bucket_end(floor, size)
    if end <= start:
        raise Refusal(400, "endTime must be after startTime")
    return size, start, end


def _buckets(start: datetime, end: datetime, size: str) -> Iterator[tuple[datetime, datetime]]:
    while start < end:
        after = bucket_end(start, size)
        yield start, after
        start = after


def _seconds(line: Line, start: datetime, end: datetime, now: datetime) -> tuple[float, float] | None:
    """The part of [start, end) in which *line* billed, in Unix seconds; its end is rounded up to the second."""
    closed = now.timestamp() if line.closed_at is None else line.closed_at
    closed = line.opened_at + ceil(closed - line.opened_at)
    first, last = max(line.opened_at, start.timestamp()), min(closed, end.timestamp())
    return (first, last) if first < last else None


def _amounts(lines: list[Line], start: datetime, end: datetime, now: datetime) -> dict[str, Decimal]:
    amounts = _zeros()
    for line in lines:
        if (span := _seconds(line, start, end, now)) is None:
            continue
        ends = [at for at, _ in line.rates[1:]] + [span[1]]
        for (since, usd), until in zip(line.rates, ends, strict=True):
            seconds = min(until, span[1]) - max(since, span[0])
            if seconds > 0:
                amounts[_PARTS[line.what]] += Decimal(usd) * Decimal(str(seconds)) / 3600
    amounts["totalAmount"] = sum(amounts.values(), Decimal(0))
    return amounts


def _zeros() -> dict[str, Decimal]:
    return {name: Decimal(0) for name in ("totalAmount", "gpuAmount", "cpuAmount", "diskAmount")}


def _numbers(amounts: dict[str, Decimal]) -> dict[str, int | float]:
    return {name: number(amount) for name, amount in amounts.items()}
