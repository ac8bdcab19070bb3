"""The smallest provider there can be, for tests of the sandbox around it.

POST /machines {name, key, gpu?} rents, GET /machines/ID tells, DELETE /machines/ID ends, GET /machines lists.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from providers.sandbox.kit import Emulator, Record, local_path
from providers.sandbox.world import World

BOOT_S = 5.0


class TinyEmulator(Emulator):
    name: ClassVar[str] = "tiny"
    semantic: ClassVar[frozenset[str]] = frozenset(["sold_out", "host_lost"])

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.rows: dict[str, dict[str, Any]] = {}

    async def handle(self, request: Request) -> Response:
        if request.headers.get("authorization") != "Bearer tiny-key":
            return JSONResponse({"error": "bad key"}, 401)
        path = local_path(request)
        if request.method == "POST":
            return self._rent(json.loads(await request.body()))
        if path == "/machines":
            return JSONResponse(list(self.rows.values()))
        row = self.rows.get(path.rsplit("/", 1)[1])
        if row is None:
            return JSONResponse({"error": "no such machine"}, 404)
        if request.method == "DELETE":
            self.lose(row["id"])
        return JSONResponse(row)

    def _rent(self, body: dict[str, Any]) -> Response:
        if self.fault("sold_out", verb="launch", subject=body["name"]):
            return JSONResponse({"error": "sold out"}, 409)
        now = self.world.now()
        row = {"id": self.world.uuid(), "state": "booting", "host": None, "since": now.isoformat(), **body}
        self.rows[row["id"]] = row
        self.world.ledger.open("tiny", row["id"], at=now, usd_per_hour=Decimal("0.36"), name=body["name"])
        return JSONResponse(row, 201)

    def verb(self, method: str, path: str) -> str:
        return {"POST": "launch", "DELETE": "terminate"}.get(method, "owned" if path == "/machines" else "find")

    def advance(self) -> None:
        for row in self.rows.values():
            due = datetime.fromisoformat(row["since"]) + timedelta(seconds=BOOT_S * self.world.boot_scale)
            if row["state"] == "booting" and self.world.now() >= due:
                row["state"], row["host"] = "running", self.world.address()
                self.world.machines.start(
                    f"tiny:{row['id']}",
                    host=row["host"],
                    port=22,
                    user="root",
                    authorized_keys=[row["key"]],
                    gpu="NVIDIA L40",
                    memory_mib=46068,
                    count=1,
                )

    def environment(self, base_url: str) -> dict[str, str]:
        return {"TINY_API_KEY": "tiny-key", "ORCH_TINY_URL": base_url}

    def records(self) -> list[Record]:
        alive = {row["id"]: row["state"] != "gone" for row in self.rows.values()}
        return [Record(row["id"], row["name"], alive[row["id"]], alive[row["id"]]) for row in self.rows.values()]

    def plant(self, name: str, owner: str | None = None) -> str:
        raise NotImplementedError

    def lose(self, instance: str) -> None:
        self.rows[instance]["state"] = "gone"
        self.world.machines.stop(f"tiny:{instance}")
        self.world.ledger.close("tiny", instance, at=self.world.now())

    def rate_limited(self, retry_after: float | None) -> Response:
        return JSONResponse({"error": "slow down"}, 429)

    def broken(self) -> Response:
        return JSONResponse({"error": "broken"}, 500)

    def dump(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load(self, state: dict[str, Any]) -> None:
        self.rows = state["rows"]
