"""The code table: over answers of a real kube-apiserver, and over what only gateways say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from providers import errors
from providers.base import Query
from providers.coreweave.adapter import CoreWeave
from providers.coreweave.errors import TABLE, classify, ours, trouble
from providers.http import Reply
from tests.unit.coreweave.conftest import KEY, Api, status

#: Recorded exchange to the code and the error that it must become.
RECORDED = {
    "namespace-create-duplicate": ("AlreadyExists", errors.InvalidRequest),
    "pod-create-duplicate": ("AlreadyExists", errors.InvalidRequest),
    "pod-create-while-terminating": ("AlreadyExists", errors.InvalidRequest),
    "pod-create-bad-name": ("Invalid", errors.InvalidRequest),
    "pod-create-invalid": ("Invalid", errors.InvalidRequest),
    "pod-create-missing-namespace": ("NotFound", errors.OfferGone),
    "pod-get-missing": ("NotFound", errors.OfferGone),
    "pod-get-gone": ("NotFound", errors.OfferGone),
    "list-invalid-token": ("Unauthorized", errors.AuthFailed),
    "list-no-token": ("anonymous", errors.AuthFailed),
    "list-forbidden": ("rbac", errors.Forbidden),
    "nodepools-forbidden": ("rbac", errors.Forbidden),
    "pod-list-bad-selector": ("BadRequest", errors.InvalidRequest),
    "pod-malformed-json": ("BadRequest", errors.InvalidRequest),
    "pod-bad-content-type": ("UnsupportedMediaType", errors.InvalidRequest),
    "method-not-allowed": ("MethodNotAllowed", errors.InvalidRequest),
    "pod-delete-uid-mismatch": ("Conflict", errors.InvalidRequest),
    "pod-create-over-quota": ("quota", errors.QuotaExceeded),
    "nodepool-create-duplicate": ("AlreadyExists", errors.InvalidRequest),
    "nodepool-patch-strategic-unsupported": ("UnsupportedMediaType", errors.InvalidRequest),
    "nodepool-patch-stale-resourceVersion": ("Conflict", errors.InvalidRequest),
    "nodepool-jsonpatch-test-fails": ("Invalid", errors.InvalidRequest),
    "nodepool-get-gone": ("NotFound", errors.OfferGone),
    "list-future-resourceVersion": ("http-504", errors.Unavailable),
    "unknown-api-group": ("no-api", errors.Forbidden),
}


def traces(spec_dir: Path) -> dict[str, dict[str, Any]]:
    file = spec_dir / "coreweave" / "kube-apiserver-traces.jsonl"
    if not file.is_file():
        pytest.skip("no recorded traces: set ORCH_SPEC_DIR")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {row["name"]: row["response"] for row in rows}


def reply(code: int, body: Any = None, **headers: str) -> Reply:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Reply(code, httpx.Headers(headers), raw)


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_a_recorded_refusal_is_classed(name: str, spec_dir: Path) -> None:
    recorded = traces(spec_dir)[name]
    error = classify(reply(recorded["status"], recorded["body"]), "find")
    assert (error.code, type(error)) == RECORDED[name]
    if isinstance(recorded["body"], dict):
        assert error.message == recorded["body"]["message"]


def test_no_recorded_refusal_is_without_a_row(spec_dir: Path) -> None:
    for name, answer in traces(spec_dir).items():
        if answer["status"] >= 400 and name not in RECORDED:
            error = classify(reply(answer["status"], answer["body"]), "find")
            assert not isinstance(error, errors.Unclassified), name


@pytest.mark.parametrize(
    ("code", "body", "expected", "error"),
    [
        (403, "<html>nope</html>", "forbidden-unclear", errors.Forbidden),
        (403, {"code": "permission_denied", "message": "no"}, "forbidden-unclear", errors.Forbidden),
        (401, {"code": "unauthenticated", "message": "no"}, "Unauthorized", errors.AuthFailed),
        (
            403,
            {"reason": "Forbidden", "message": 'admission webhook "x" denied'},
            "admission-webhook",
            errors.Forbidden,
        ),
        (400, {"message": 'admission webhook "x" denied the request'}, "webhook-400", errors.Forbidden),
        (
            403,
            {
                "reason": "Forbidden",
                "message": 'pods "x" is forbidden: error looking up service account orch/default: '
                'serviceaccount "default" not found',
            },
            "no-account-yet",
            errors.Unavailable,
        ),
        (
            422,
            {"reason": "Invalid", "message": "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"},
            "admission-policy",
            errors.Forbidden,
        ),
        (
            422,
            {"reason": "Invalid", "message": 'Pod "x" is invalid: spec.containers'},
            "Invalid",
            errors.InvalidRequest,
        ),
        (410, {"reason": "Gone", "message": "too old"}, "Expired", errors.Unavailable),
        (418, {"reason": "Teapot", "message": "short"}, "Teapot", errors.Unclassified),
        (409, {"reason": "Other", "message": "no"}, "Other", errors.Unclassified),
        (404, "<html>", "not-json", errors.Unavailable),
        (500, {"message": "boom"}, "http-500", errors.Unavailable),
    ],
)
def test_other_answers_are_classed(code: int, body: Any, expected: str, error: type[Exception]) -> None:
    found = classify(reply(code, body), "find")
    assert (found.code, type(found)) == (expected, error)


@pytest.mark.parametrize(
    ("headers", "details", "wait_s"),
    [
        ({"retry-after": "7"}, {}, 7.0),
        ({}, {"retryAfterSeconds": 3}, 3.0),
        ({}, {}, 5.0),
        ({"retry-after": "?"}, {}, 5.0),
    ],
)
def test_a_limit_says_how_long_to_wait(headers: dict[str, str], details: dict[str, int], wait_s: float) -> None:
    error = classify(
        reply(429, {"reason": "TooManyRequests", "message": "slow", "details": details}, **headers), "find"
    )
    assert isinstance(error, errors.RateLimited)
    assert error.wait_s == wait_s


def test_reasons_are_matched_in_any_case_and_unknown_ones_not_at_all() -> None:
    assert isinstance(trouble("container", "errimagepull", "x"), errors.BadWorkload)
    assert trouble("container", "Surprise", "x") is None
    assert trouble("pod", "ErrImagePull", "x") is None


def test_every_row_makes_its_error_with_its_code() -> None:
    for code, row in TABLE.items():
        if row.where == "ours":
            error = ours(code, "why")
            assert (error.code, type(error)) == (code, row.error)
            assert "why" in str(error)


async def test_an_unclear_403_is_a_bad_token_if_the_token_opens_nothing(cloud: CoreWeave, api: Api) -> None:
    await cloud.account()
    api.refuse("GET", "/api/v1/nodes", httpx.Response(403, text="Forbidden"))
    reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    api.refuse("POST", reviews, httpx.Response(403, text="Forbidden"))
    with pytest.raises(errors.AuthFailed):
        await cloud.offers(Query())


async def test_an_unclear_403_is_about_rights_if_the_token_is_known(cloud: CoreWeave, api: Api) -> None:
    await cloud.account()
    api.refuse("GET", "/api/v1/nodes", httpx.Response(403, text="Forbidden"))
    with pytest.raises(errors.Forbidden):
        await cloud.offers(Query())


async def test_the_token_is_kept_out_of_messages(cloud: CoreWeave, api: Api) -> None:
    await cloud.account()
    api.refuse("GET", "/api/v1/nodes", status(400, "BadRequest", f"what is {KEY}?"))
    with pytest.raises(errors.InvalidRequest) as caught:
        await cloud.offers(Query())
    assert "CW-SECRET" not in f"{caught.value} {caught.value.args}"
    assert "[redacted]" in str(caught.value)
