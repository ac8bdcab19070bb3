"""Run by the official `vastai` package: search, create, show, destroy. Prints what the SDK gave, as one JSON object."""

from __future__ import annotations

import json
import time
from typing import Any

from vastai import VastAI


def main() -> None:
    vast = VastAI(server_url=None)  # VAST_URL and VAST_API_KEY, as for any user
    offers = vast.search_offers(query="num_gpus=1 inet_up_cost=0 reliability>0.9", order="dph_total", limit=5)
    made = vast.create_instance(
        offers[0]["id"],
        image="vastai/base-image:@vastai-automatic-tag",
        disk=20,
        label="official-client",
        ssh=True,
        direct=True,
        env={"GREETING": "hello", "-p 8000:8000": "1"},
        cancel_unavail=True,
    )
    contract = made["new_contract"]
    first = vast.show_instance(contract)
    running = _until_running(vast, contract)
    listed = vast.show_instances()
    destroyed = vast.destroy_instance(contract)
    found = {
        "offers": offers,
        "made": made,
        "first": first,
        "running": running,
        "listed": listed,
        "destroyed": destroyed,
        "after": [vast.show_instance(contract), vast.show_instances()],
    }
    print(json.dumps(found))


def _until_running(vast: VastAI, contract: int) -> dict[str, Any]:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        row: dict[str, Any] = vast.show_instance(contract)
        if row["actual_status"] == "running" and row["ports"]:
            return row
        time.sleep(0.2)
    raise SystemExit(f"never running: {row}")


main()
