"""The judge of exchanges: what it must find, held to a small description of a made-up API."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from providers.env import ManualEnv
from providers.sandbox.world import Exchange, World
from tests.contract import official_watch
from tests.contract.official import Description, description
from tests.contract.official_report import Tally, table
from tests.contract.official_schema import Document
from tests.contract.official_watch import Watch, differences

BOX: dict[str, Any] = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": {"type": "integer"},
        "name": {"type": "string", "nullable": True},
        "made": {"type": "string", "format": "date-time"},
        "size": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        "tags": {"type": "object", "additionalProperties": {"type": "string"}},
        "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Part"}},
    },
}
JSON_BOX = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Box"}}}}
OLD: dict[str, Any] = {
    "openapi": "3.0.3",
    "security": [{"bearer": []}],
    "paths": {
        "/boxes/": {
            "get": {
                "parameters": [
                    {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 25}},
                    {
                        "name": "kinds",
                        "in": "query",
                        "explode": False,
                        "schema": {"$ref": "#/components/schemas/Kinds"},
                    },
                    {"name": "zone", "in": "query", "required": True, "schema": {"type": "string"}},
                ],
                "responses": {"200": {"description": "no content is described"}},
            },
            "post": {
                "requestBody": {"required": True, **JSON_BOX},
                "responses": {"201": JSON_BOX, "default": JSON_BOX},
            },
        },
        "/boxes/{id}/": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}],
            "get": {
                "responses": {
                    "200": {**JSON_BOX, "headers": {"Left": {"required": True, "schema": {"type": "integer"}}}},
                    "4XX": JSON_BOX,
                }
            },
            "delete": {"responses": {"204": {"description": "gone"}}},
        },
        "/boxes/all/": {"get": {"security": [], "responses": {"200": JSON_BOX}}},
    },
    "components": {
        "schemas": {
            "Box": BOX,
            "Part": {
                "allOf": [
                    {"type": "object", "properties": {"kind": {"$ref": "#/components/schemas/Kind", "nullable": True}}},
                    {"type": "object", "properties": {"code": {"type": "string", "pattern": "^[0-9]{2}$"}}},
                ]
            },
            "Kind": {"type": "string", "enum": ["big", "small"], "nullable": True},
            "Kinds": {"type": "array", "items": {"$ref": "#/components/schemas/Kind"}},
        }
    },
}
GOOD = {"id": 1, "name": None, "made": "2026-11-22T12:00:00Z", "size": 1.5, "tags": {"any": "x"}}
ASK = Exchange(
    "vast", "find", "GET", "/boxes/7/", "", {"Authorization": "Bearer k"}, b"", 200,
    {"content-type": "application/json", "left": "3"}, json.dumps(GOOD).encode(), False,
)  # fmt: skip
MAKE = replace(
    ASK, method="POST", path="/boxes/", status=201, request_body=json.dumps(GOOD).encode(),
    request_headers={"authorization": "Bearer k", "content-type": "application/json"},
)  # fmt: skip
LIST = replace(ASK, path="/boxes/", query="zone=a", body=b"")


@pytest.fixture(scope="module")
def boxes() -> Description:
    return Description("vast", [Document(OLD, "boxes.json")])


def wrong(boxes: Description, exchange: Exchange) -> list[str]:
    """What the judge finds, as ``where at``."""
    return [f"{one.where} {one.at}" for one in boxes.judge(exchange)[1]]


def answer(**changes: Any) -> Exchange:
    return replace(ASK, body=json.dumps({**GOOD, **changes}).encode())


@pytest.mark.parametrize("exchange", [ASK, MAKE, LIST, replace(ASK, path="/boxes/all/", request_headers={})])
def test_an_exchange_that_agrees_has_no_findings(boxes: Description, exchange: Exchange) -> None:
    assert boxes.judge(exchange)[1] == []


ANSWERS = [
    ({"id": "1"}, "$.id"),
    ({"made": "yesterday"}, "$.made"),
    ({"made": "2026-11-22T12:00:00"}, "$.made"),
    ({"size": 0}, "$.size"),
    ({"nmae": "misspelt"}, "$.nmae"),
    ({"tags": {"any": 1}}, "$.tags.any"),
    ({"parts": [{"kind": "huge"}]}, "$.parts[].kind"),
    ({"parts": [{"code": "12\n"}]}, "$.parts[].code"),
    ({"parts": [{"code": "٣٣"}]}, "$.parts[].code"),
    ({"parts": [{}, {"colour": "red"}]}, "$.parts[].colour"),
]


@pytest.mark.parametrize(("change", "at"), ANSWERS)
def test_an_answer_that_breaks_its_schema_is_found(boxes: Description, change: dict[str, Any], at: str) -> None:
    assert wrong(boxes, answer(**change)) == [f"response {at}"]


def test_null_is_fine_where_an_old_description_says_nullable_and_nowhere_else(boxes: Description) -> None:
    assert wrong(boxes, answer(parts=[{"kind": None, "code": "12"}])) == []
    assert wrong(boxes, answer(made=None)) == ["response $.made"]


OTHERS: list[tuple[Exchange, str]] = [
    (replace(ASK, path="/boxes/7"), "operation path"),
    (replace(ASK, method="PATCH"), "operation path"),
    (replace(ASK, path="/boxes/seven/"), "request id"),
    (replace(ASK, request_headers={}), "request Authorization"),
    (replace(ASK, request_body=b"{}"), "request $"),
    (replace(ASK, status=302), "status 302"),
    (replace(ASK, status=500), "status 500"),
    (replace(ASK, headers={"content-type": "text/html", "left": "3"}), "response Content-Type"),
    (replace(ASK, body=b"{"), "response $"),
    (replace(ASK, headers={"content-type": "application/json"}), "header Left"),
    (replace(ASK, headers={"content-type": "application/json", "left": "few"}), "header Left"),
    (replace(LIST, query=""), "query zone"),
    (replace(LIST, query="zone=a&limit=26"), "query limit"),
    (replace(LIST, query="zone=a&limit=few"), "query limit"),
    (replace(LIST, query="zone=a&kinds=big,huge"), "query kinds"),
    (replace(LIST, query="zone=a&page=2"), "query page"),
    (replace(LIST, body=b"{}"), "response $"),
    (replace(MAKE, request_body=b""), "request $"),
    (replace(MAKE, request_body=b'{"name": "a"}'), "request $"),
    (replace(MAKE, request_body=b'{"id": 1, "color": 1}'), "request $.color"),
    (replace(MAKE, request_headers={"authorization": "Bearer k"}), "request Content-Type"),
    (replace(MAKE, status=200), "status 200"),
]


@pytest.mark.parametrize(("exchange", "found"), OTHERS)
def test_everything_else_that_is_not_described_is_found(boxes: Description, exchange: Exchange, found: str) -> None:
    assert wrong(boxes, exchange) == [found]


def test_the_default_answer_is_for_errors_only(boxes: Description) -> None:
    assert wrong(boxes, replace(MAKE, status=503)) == []
    assert wrong(boxes, replace(MAKE, status=204, body=b"")) == ["status 204"]


def test_of_several_descriptions_of_one_operation_the_best_counts() -> None:
    strict = json.loads(json.dumps(OLD))
    strict["components"]["schemas"]["Box"]["properties"].pop("name")
    both = Description("vast", [Document(strict, "strict.json"), Document(OLD, "boxes.json")])
    assert wrong(both, ASK) == []
    assert wrong(Description("vast", [Document(strict, "strict.json")]), ASK) == ["response $.name"]


def test_new_descriptions_are_read_in_their_own_dialect() -> None:
    part = {"anyOf": [{"$ref": "#/components/schemas/A"}, {"$ref": "#/components/schemas/B"}]}
    kinds = {
        name: {"type": "object", "properties": {"code": {"const": name}, "more": {"type": ["string", "null"]}}}
        for name in "AB"
    }
    content = {"content": {"application/json": {"schema": {"type": "object", "properties": {"error": part}}}}}
    paths = {"/boxes/7/": {"get": {"responses": {"200": content}}}}
    new = Description("vast", [Document({"openapi": "3.1.0", "paths": paths, "components": {"schemas": kinds}}, "n")])

    def found(error: dict[str, Any]) -> list[str]:
        return [str(one) for one in new.judge(replace(ASK, body=json.dumps({"error": error}).encode()))[1]]

    assert found({"code": "B", "more": None}) == []
    [odd] = found({"code": "C"})
    assert "$.error: $.error.code 'C' is none of ['A', 'B']" in odd


# -- the list of differences ------------------------------------------------------------------------------

ENTRY = """
[[difference]]
provider = "vast"
operation = "GET /boxes/*"
where = "response"
at = ["$.nmae", "$.parts[].colour"]
says = "not described"
reason = "seen on the wire"
source = "vast.md 0"
"""


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    file = tmp_path / "differences.toml"
    file.write_text(ENTRY)
    return file


def test_a_listed_difference_covers_its_own_findings_only(boxes: Description, listed: Path) -> None:
    name, colour = differences(listed)
    [finding] = boxes.judge(answer(nmae="x"))[1]
    assert name.covers(finding)
    assert not colour.covers(finding)
    [finding] = boxes.judge(answer(parts=[{"colour": "red"}]))[1]
    assert colour.covers(finding)
    [other] = boxes.judge(answer(eman="x"))[1]
    assert not name.covers(other)
    assert not name.covers(replace(finding, at="$.nmae", where="request"))
    assert not name.covers(replace(finding, at="$.nmae", provider="lambda"))
    assert not name.covers(replace(finding, at="$.nmae", operation="PUT /boxes/{id}/"))
    assert not name.covers(replace(finding, at="$.nmae", message="1 is not of type 'string'"))


@pytest.mark.parametrize(
    ("old", "new"),
    [('reason = "seen on the wire"', ""), ("seen on the wire", ""), ('"response"', '"anywhere"'), ("says", "said")],
)
def test_a_difference_without_a_reason_or_with_odd_words_is_refused(listed: Path, old: str, new: str) -> None:
    listed.write_text(ENTRY.replace(old, new))
    with pytest.raises(ValueError, match="entry 1: needs"):
        differences(listed)


# -- watching and counting --------------------------------------------------------------------------------


@pytest.fixture
def watch(boxes: Description, monkeypatch: pytest.MonkeyPatch) -> Watch:
    monkeypatch.setattr(official_watch, "description", {"vast": boxes}.get)
    monkeypatch.setattr(official_watch, "SEEN", {})
    return Watch("vast", World(ManualEnv()))


def test_a_watch_counts_what_agrees_and_fails_on_what_does_not(watch: Watch) -> None:
    watch(ASK)
    watch(LIST)
    watch.check()
    assert (watch.tally.validated, watch.tally.operations) == (2, {"GET /boxes/{id}/", "GET /boxes/"})
    watch(answer(nmae="x"))
    with pytest.raises(AssertionError, match=r"response \$\.nmae: not described"):
        watch.check()


def test_what_a_fault_garbled_is_judged_by_its_request_alone(watch: Watch) -> None:
    page = replace(ASK, body=b"<html>down</html>", headers={"content-type": "text/html"}, faulty=True)
    watch._world.faults.happened.append(("vast", "html", ""))
    watch(page)
    watch.check()
    assert (watch.tally.validated, watch.tally.requests) == (0, 1)
    watch(replace(page, request_body=b"{}"))
    with pytest.raises(AssertionError, match="none is described"):
        watch.check()


def test_an_answer_that_only_looks_garbled_is_judged_in_full(watch: Watch) -> None:
    watch(replace(ASK, body=b"<html>down</html>", headers={"content-type": "text/html", "left": "1"}, faulty=True))
    with pytest.raises(AssertionError, match="text/html is not described"):
        watch.check()


def test_counts_survive_the_way_from_a_worker_and_add_up() -> None:
    one = Tally("a.json", 3, 1, {"GET /a"}, {"x"})
    two = Tally.load(json.loads(json.dumps(Tally("a.json", 4, 0, {"GET /b"}, {"x"}).dump())))
    one.add(two)
    assert one == Tally("a.json", 7, 1, {"GET /a", "GET /b"}, {"x"})
    assert table({"vast": one})[1].split() == ["vast", "a.json", "7", "1", "2", "1"]


def test_a_provider_without_files_has_no_description(tmp_path: Path) -> None:
    assert description("runpod", tmp_path) is None
    assert description("fluence", tmp_path) is None
