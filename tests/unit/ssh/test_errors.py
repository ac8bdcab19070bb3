"""The two tables: what the OpenSSH client says, and what our script ends with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from providers import errors
from providers.ssh import errors as ours
from providers.ssh import script, state

# As the client words them; test_refusals.py meets four of them for real.
SAID = [
    ("ssh: connect to host 127.0.0.1 port 1: Connection refused", "not-listening", errors.Unavailable, True),
    ("ssh: connect to host 10.255.0.1 port 22: Connection timed out", "no-route", errors.Unavailable, False),
    ("ssh: connect to host 10.0.0.1 port 22: No route to host", "no-route", errors.Unavailable, False),
    ("ssh: Could not resolve hostname nowhere.invalid: Name or service not known", "no-such-host", None, False),
    ("gpu@127.0.0.1: Permission denied (publickey).", "key-refused", errors.AuthFailed, False),
    ("Host key verification failed.", "host-key", errors.AuthFailed, False),
    ('Load key "/tmp/k": invalid format\nx@y: Permission denied (publickey).', "key-refused", errors.AuthFailed, False),
    ("kex_exchange_identification: Connection closed by remote host", "dropped", errors.Unavailable, True),
    ("Unable to negotiate with 1.2.3.4 port 22: no matching host key type found.", "protocol", None, False),
]


@pytest.mark.parametrize(("text", "code", "kind", "again"), SAID)
def test_what_the_client_says_is_typed_and_concerns_one_machine(
    text: str, code: str, kind: object, again: bool
) -> None:
    found = ours.refused("desk", text)
    assert found is not None
    error, more = found
    assert (error.code, error.scope, more) == (code, "host", again)
    assert isinstance(error, kind or errors.Unavailable)  # type: ignore[arg-type]
    assert str(error).startswith("desk: ")


@pytest.mark.parametrize("text", ["", "Connection to desk closed by remote host.", "client_loop: send disconnect"])
def test_a_connection_that_breaks_later_proves_nothing(text: str) -> None:
    assert ours.refused("desk", text) is None


def test_every_status_of_the_script_is_in_the_table_and_no_other() -> None:
    used = {int(number) for number in re.findall(r"\bfinish (\d+)", script.library())}
    assert used - {0} == ours.TABLE.keys()


def test_a_status_that_no_table_knows_is_counted() -> None:
    told: list[tuple[str, str, str]] = []
    error = ours.from_status("desk", 99, "the sky fell", lambda *what: told.append(what))
    assert isinstance(error, errors.Unclassified)
    assert told == [("ssh", "status-99", "the sky fell")]
    assert "the sky fell" in str(error)


def test_lines_that_nobody_knows_do_not_disturb() -> None:
    lines = ["id -", "weather fine", "gpu", "gpu GPU-1 46068 NVIDIA L40", "app MIG-1 7", "alloc too few", "", "clock x"]
    found = state.read(lines)
    assert (found.id, found.clock, [one.model for one in found.gpus]) == (None, None, ["l40"])
    assert found.used == {"MIG-1"}
    assert found.allocations == []


def test_the_script_is_plain_sh_that_does_nothing_before_its_last_line() -> None:
    text = Path(script.__file__).with_name("own.sh").read_text()
    outside = re.sub(r"^\w+\(\) \{.*?^\}$", "", text, flags=re.MULTILINE | re.DOTALL)
    left = [line for line in outside.splitlines() if line.strip() and not line.startswith("#")]
    left = [line for line in left if not re.match(r"\w+\(\) \{.*\}\s*(#.*)?$", line)]
    assert left == ['[ "${1-}" != timer ] || { shift; timer "$@"; }']
    for word in ("[[ ", "local ", "function ", "<(", "&>", "echo -e", "source "):
        assert word not in text, word
