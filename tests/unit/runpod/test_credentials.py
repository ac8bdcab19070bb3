"""Where the key comes from, and what is said if there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from providers.base import Context
from providers.errors import AuthFailed
from providers.http import BadUrl
from providers.runpod.adapter import RunPod
from providers.runpod.credentials import load


def write(home: Path, text: str) -> dict[str, str]:
    """Settings whose HOME has RunPod's file with that text."""
    (home / ".runpod").mkdir()
    (home / ".runpod" / "config.toml").write_text(text)
    return {"HOME": str(home)}


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    settings = write(tmp_path, 'apikey = "from-file"')
    assert load(settings | {"RUNPOD_API_KEY": " from-env "}).key == "from-env"


@pytest.mark.parametrize(
    "text",
    [
        '[default]\napi_key = "the-key"\n',
        'apikey = "the-key"\napiurl = "https://rest.runpod.io/v1"\n',
        'apiKey = "the-key"\n',
        'apikey = "another"\n[default]\napi_key = "the-key"\n',
        'apikey = "the-key"\n[default]\napi_key = ""\n',
    ],
)
def test_both_documented_forms_of_the_file_are_read(tmp_path: Path, text: str) -> None:
    found = load(write(tmp_path, text))
    assert found.key == "the-key"
    assert found.origin == "~/.runpod/config.toml"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "no-key"),
        ("[default]\n", "no-key"),
        ("default = 3\n", "no-key"),
        ("apikey = 3\n", "no-key"),
        ('apikey = "secret-in-a-broken-file\n', "bad-file"),
        ('apikey = "line\\nbreak"\n', "bad-key"),
        ('apikey = "kéy"\n', "bad-key"),
    ],
)
def test_a_file_without_a_usable_key_fails_and_quotes_nothing_of_it(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(AuthFailed) as failure:
        load(write(tmp_path, text))
    assert failure.value.code == code
    assert "secret" not in str(failure.value)


def test_a_key_is_not_shown_by_repr(tmp_path: Path) -> None:
    assert "the-key" not in repr(load({"RUNPOD_API_KEY": "the-key"}))


async def test_without_a_key_the_adapter_is_made_and_its_methods_say_what_to_do(tmp_path: Path) -> None:
    adapter = RunPod(Context(settings={"HOME": str(tmp_path)}))
    with pytest.raises(AuthFailed, match="RUNPOD_API_KEY"):
        await adapter.owned()
    with pytest.raises(AuthFailed):
        await adapter.account()
    await adapter.aclose()


def test_a_base_url_that_would_send_the_key_in_the_clear_is_refused() -> None:
    with pytest.raises(BadUrl, match="ORCH_RUNPOD_URL"):
        RunPod(Context(settings={"ORCH_RUNPOD_URL": "http://example.com", "RUNPOD_API_KEY": "k"}))
