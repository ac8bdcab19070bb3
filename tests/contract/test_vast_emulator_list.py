"""Vast.ai's emulator: the list of rentals: pages, filters, columns."""

from __future__ import annotations

import base64

import pytest

from tests.contract.vast_desk import (
    L40_EGRESS,
    L40_FREE,
    L40S_TW,
    asks,
    body,
    desk,
    market,
)


async def test_pages_of_at_most_25_lead_to_each_other() -> None:
    async with desk(market(asks=asks(*({"id": n, "machine_id": n} for n in range(100, 160))))) as d:
        made = [await d.create(ask) for ask in range(100, 160)]
        seen, pages, query = [], [], {"limit": "500"}
        while True:
            page = await d.page(**query)
            seen += [row["id"] for row in page["instances"]]
            pages.append(page["instances_found"])
            assert page["total_instances"] == 60
            if page["next_token"] is None:
                break
            query["after_token"] = page["next_token"]
        assert (seen, pages) == (made, [25, 25, 10])
        assert (await d.page(limit="0"))["instances_found"] == 5


async def test_a_page_begins_after_the_last_row_even_if_that_row_is_gone() -> None:
    async with desk() as d:
        made = [await d.create(ask, label=label) for ask, label in ((L40_FREE, "b"), (L40_EGRESS, "a"), (L40S_TW, "c"))]
        order = [{"col": "label", "dir": "desc"}]
        first = await d.page(limit="1", order_by=order)
        assert [row["label"] for row in first["instances"]] == ["c"]
        await d.destroy(made[2])
        rest = await d.page(limit="5", order_by=order, after_token=first["next_token"])
        assert [row["label"] for row in rest["instances"]] == ["b", "a"]


async def test_a_list_can_be_filtered_by_label_and_count_labels() -> None:
    async with desk() as d:
        first, _ = await d.create(L40_FREE, label="x"), await d.create(L40_EGRESS, label="y")
        unlabelled = await d.create(L40S_TW, label=None)
        page = await d.page(select_filters={"label": {"eq": "x"}})
        assert [row["id"] for row in page["instances"]] == [first]
        assert (page["total_instances"], page["label_counts"]) == (1, {"x": 1})
        assert (await d.page())["label_counts"] == {"x": 1, "y": 1, "": 1}
        several = await d.page(select_filters={"id": {"in": [first, unlabelled]}, "gpu_name": {"eq": "L40"}})
        assert [row["id"] for row in several["instances"]] == [first]


async def test_columns_can_be_chosen_and_unknown_ones_are_null() -> None:
    async with desk() as d:
        made = await d.create()
        page = await d.page(select_cols=["id", "label", "huh"])
    assert page["instances"] == [{"id": made, "label": body()["label"], "huh": None}]


BAD_LISTS: list[tuple[dict[str, str], str]] = [
    ({"select_filters": '{"dph_total":{"gt":0}}'}, "invalid_request"),
    ({"select_filters": '{"label":{"like":"x"}}'}, "invalid_request"),
    ({"select_filters": '{"label":"x"}'}, "invalid_request"),
    ({"select_filters": "label=x"}, "invalid_request"),
    ({"select_filters": "[]"}, "invalid_request"),
    ({"order_by": '[{"col":"num_gpus"}]'}, "invalid_request"),
    ({"order_by": '["id"]'}, "invalid_request"),
    ({"limit": "all"}, "invalid_request"),
    ({"after_token": "nonsense"}, "invalid_token"),
    ({"after_token": base64.urlsafe_b64encode(b'{"values":{"label":"x"}}').decode()}, "invalid_token"),
]


@pytest.mark.parametrize(("query", "error"), BAD_LISTS)
async def test_a_list_that_makes_no_sense_is_a_400(query: dict[str, str], error: str) -> None:
    async with desk() as d:
        reply = await d.http.get("/api/v1/instances/", params=query)
    assert (reply.status_code, reply.json()["error"]) == (400, error)


async def test_the_old_list_gives_everything_or_is_gone() -> None:
    async with desk() as d:
        made = await d.create()
        rows = (await d.http.get("/api/v0/instances/", params={"owner": "me"})).json()["instances"]
        assert [row["id"] for row in rows] == [made]
    async with desk(market(wire={"old_list": "gone"})) as d:
        reply = await d.http.get("/api/v0/instances/")
    assert (reply.status_code, reply.json()["error"]) == (410, "deprecated_endpoint")
