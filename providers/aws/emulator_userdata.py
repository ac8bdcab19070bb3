"""What a machine's first boot would do with its user data, as far as the sandbox plays it.

Two things are read: which public keys get in (`ssh_authorized_keys` of cloud-config; scripts that write an
`authorized_keys` file, plainly, in a here-document or in base64), and whether the machine switches itself off after
some time (`shutdown -h +N`, `systemd-run --on-active=...`, cloud-config's `power_state`). Multipart MIME and gzip
are opened first, as cloud-init does.
"""

from __future__ import annotations

import base64
import binascii
import email
import gzip
import re
import zlib
from datetime import UTC, datetime

_KEY = re.compile(
    r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-ssh-ed25519@openssh\.com)"
    r"[ \t]+AAAA[0-9A-Za-z+/=]+(?:[ \t]+[^\s\"'\\,\]]+)?"
)
_LIST = re.compile(r"[\"']?ssh_authorized_keys[\"']?[ \t]*:[ \t]*(.*)")
_WORD = re.compile(r"[0-9A-Za-z+/]{60,}={0,2}")
_SHUTDOWN = re.compile(r"\bshutdown\b[^\n;&|]*?\+(\d+)")
_TIMER = re.compile(r"--on-active[= ][\"']?(\d+)[ ]?([a-z]*)")
#: A systemd timer's absolute moment (systemd.time(7)), as it stands in a unit file or, escaped, in JSON.
_MOMENT = re.compile(r"OnCalendar=(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC")
_POWER = re.compile(r"power_state[\"']?\s*:.*?delay[\"']?\s*:\s*[\"']?\+?(\d+)", re.DOTALL)
_UNITS = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hr": 3600, "d": 86400}


def parts(raw: bytes) -> list[str]:
    """The texts that user data consists of."""
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error):
            return []
    if not re.match(rb"\s*(content-type|mime-version):", raw, re.IGNORECASE):
        return [raw.decode("utf-8", "replace")]
    found = []
    for part in email.message_from_bytes(raw).walk():
        if not part.is_multipart():
            payload = part.get_payload(decode=True)
            found.append(payload.decode("utf-8", "replace") if isinstance(payload, bytes) else "")
    return found


def authorized_keys(raw: bytes) -> list[str]:
    """The public keys that the machine's user lets in, each once."""
    found: list[str] = []
    for text in parts(raw):
        found += _from_config(text) if text.lstrip().startswith("#cloud-config") else []
        if "authorized_keys" in text.replace("ssh_authorized_keys", ""):
            found += [match[0] for match in _KEY.finditer(text)]
            found += [match[0] for word in _WORD.findall(text) for match in _KEY.finditer(_decoded(word))]
    return list(dict.fromkeys(found))


def switches_off_after(raw: bytes, boot: datetime) -> float | None:
    """Seconds from *boot* until the machine switches itself off, or None. Of calendars only one UTC moment is read."""
    texts = [more for text in parts(raw) for more in (text, *(_decoded(word) for word in _WORD.findall(text)))]
    due: list[float] = []
    for text in texts:
        due += [60.0 * int(minutes) for minutes in _SHUTDOWN.findall(text)]
        if re.search(r"shutdown|poweroff|halt", text):
            due += [float(count) * _UNITS.get(unit, 1) for count, unit in _TIMER.findall(text)]
            moments = (datetime.fromisoformat(found).replace(tzinfo=UTC) for found in _MOMENT.findall(text))
            due += [max(0.0, (moment - boot).total_seconds()) for moment in moments]
        due += [60.0 * int(minutes) for minutes in _POWER.findall(text)]
    return min(due) if due else None


def _from_config(text: str) -> list[str]:
    found: list[str] = []
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if (match := _LIST.search(line)) is None:
            continue
        rest = match[1].partition("]")[0] if match[1].startswith("[") else match[1]
        found += [key[0] for key in _KEY.finditer(rest)]
        if match[1].startswith("[") and "]" in match[1]:
            continue
        for item in lines[index + 1 :]:
            if item.strip() and not re.match(r"\s*(-|[\"']|\]|#)", item):
                break
            found += [key[0] for key in _KEY.finditer(item)]
            if item.strip().startswith("]"):
                break
    return found


def _decoded(word: str) -> str:
    try:
        return base64.b64decode(word + "=" * (-len(word) % 4), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""
