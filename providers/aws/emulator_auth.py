"""Signature version 4 as the emulated AWS checks it, and each service's words for what is wrong with one.

Source: the general reference's page on signing requests, and the fact that only S3 signs an undoubled path.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

from starlette.requests import Request

from providers.aws.emulator_options import Options
from providers.aws.emulator_wire import Call, Refusal

_HEADER = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=(?P<key>[^/,\s]+)/(?P<date>\d{8})/(?P<region>[^/,\s]+)/(?P<service>[^/,\s]+)"
    r"/aws4_request\s*,\s*SignedHeaders=(?P<headers>[^,\s]+)\s*,\s*Signature=(?P<signature>[0-9a-f]{64})"
)


def scope(authorization: str | None) -> re.Match[str] | None:
    """The parts of an ``Authorization`` header: key, date, region, service, headers, signature."""
    return _HEADER.fullmatch(authorization or "")


def check(request: Request, body: bytes, call: Call, options: Options, now: datetime) -> None:
    """Accept the request's signature.

    Raises:
        Refusal: there is none, its key is unknown, it is wrong, or it is too old.
    """
    found = scope(request.headers.get("authorization"))
    if found is None:
        text = "Request is missing Authentication Token"
        raise Refusal("AuthFailure" if call.service == "ec2" else "MissingAuthenticationToken", text, 403)
    if found["key"] != options.access_key:
        raise unknown_key(call)
    if options.verify_signature and not hmac.compare_digest(
        _signature(request, body, found, options), found["signature"]
    ):
        raise _mismatch(call)
    if options.max_skew_s is not None:
        _check_age(request, call, options.max_skew_s, now)


def unknown_key(call: Call) -> Refusal:
    """The access key id is not known (any more)."""
    if call.service == "ec2":
        # 401 is what was measured of an imitation, and plausible; 403 is not ruled out.
        return Refusal("AuthFailure", "AWS was not able to validate the provided access credentials", 401)
    code = "InvalidClientTokenId" if call.service == "sts" else "UnrecognizedClientException"
    return Refusal(
        code, "The security token included in the request is invalid.", 403 if call.service == "sts" else 400
    )


def _mismatch(call: Call) -> Refusal:
    if call.service == "ec2":
        return unknown_key(call)
    text = "The request signature we calculated does not match the signature you provided."
    if call.service == "sts":
        return Refusal("SignatureDoesNotMatch", text, 403)
    return Refusal("InvalidSignatureException", text, 400)


def _check_age(request: Request, call: Call, most_s: float, now: datetime) -> None:
    try:
        signed = datetime.strptime(request.headers.get("x-amz-date", ""), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise _mismatch(call) from None
    if abs((now - signed).total_seconds()) > most_s:
        if call.service == "ec2":
            raise Refusal("RequestExpired", "Request has expired.", 400)
        raise Refusal("SignatureDoesNotMatch", "Signature expired", 403)


def _signature(request: Request, body: bytes, found: re.Match[str], options: Options) -> str:
    names = found["headers"].split(";")
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    path = quote(raw.partition(b"?")[0].decode("ascii", "replace"), safe="/-_.~") or "/"
    pairs = parse_qsl(request.url.query, keep_blank_values=True)
    query = "&".join(sorted(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in pairs))
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in names)
    digest = hashlib.sha256(body).hexdigest()
    canonical = "\n".join([request.method, path, query, headers, found["headers"], digest])
    place = f"{found['date']}/{found['region']}/{found['service']}/aws4_request"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", request.headers.get("x-amz-date", ""), place, hashed])
    key = f"AWS4{options.secret_key}".encode()
    for part in place.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
