"""Where the key comes from, and what is said if there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from providers.errors import AuthFailed
from providers.vast.credentials import load


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_environment_wins_then_the_clis_file_then_the_older_one(tmp_path: Path) -> None:
    settings = {"HOME": str(tmp_path)}
    write(tmp_path / ".vast_api_key", "legacy\n")
    assert load(settings).key == "legacy"
    write(tmp_path / ".config/vastai/vast_api_key", " modern \n")
    assert load(settings).key == "modern"
    elsewhere = settings | {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert load(elsewhere).key == "legacy"
    write(tmp_path / "xdg/vastai/vast_api_key", "xdg")
    assert load(elsewhere).key == "xdg"
    assert load(elsewhere | {"VAST_API_KEY": " env "}).key == "env"


def test_the_expiring_session_key_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path / ".config/vastai/vast_tfa_key", "session")
    with pytest.raises(AuthFailed) as caught:
        load({"HOME": str(tmp_path)})
    assert caught.value.code == "no-key"


def test_an_empty_file_is_no_key(tmp_path: Path) -> None:
    write(tmp_path / ".config/vastai/vast_api_key", "\n")
    write(tmp_path / ".vast_api_key", "legacy")
    assert load({"HOME": str(tmp_path)}).key == "legacy"


def test_a_file_that_cannot_be_read_is_named_and_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / ".config/vastai/vast_api_key"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\xff\xfesecret")
    with pytest.raises(AuthFailed) as caught:
        load({"HOME": str(tmp_path)})
    assert caught.value.code == "bad-file"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["two words", "naïve", "a\nb"])
def test_what_cannot_be_a_key_is_never_sent_or_shown(tmp_path: Path, key: str) -> None:
    with pytest.raises(AuthFailed) as caught:
        load({"HOME": str(tmp_path), "VAST_API_KEY": key})
    assert caught.value.code == "bad-key"
    assert key not in str(caught.value)


def test_credentials_do_not_show_themselves(tmp_path: Path) -> None:
    assert "env-key" not in repr(load({"HOME": str(tmp_path), "VAST_API_KEY": "env-key"}))
