"""Settings: the class, `.env.example` and precedence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator import settings
from orchestrator.errors import ConfigError
from providers import registry

ROOT = Path(__file__).parents[2]


def test_env_example_lists_exactly_the_settings() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    listed = re.findall(r"^#?([A-Z][A-Z0-9_]+)=", text, re.MULTILINE)
    assert len(set(listed)) == len(listed)
    assert set(listed) == {name.upper() for name in settings.Settings.model_fields}


def test_every_provider_setting_is_in_the_class() -> None:
    known = {name.upper() for name in settings.Settings.model_fields}
    for entry in registry.entries().values():
        assert set(entry.keys) <= known, entry.name
        assert entry.url_setting is None or entry.url_setting in known, entry.name


def test_the_real_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("RUNPOD_API_KEY=from-file\nORCH_PROVIDERS=runpod\n", encoding="utf-8")
    values = settings.environment(tmp_path, {"RUNPOD_API_KEY": "from-env"})
    assert values["RUNPOD_API_KEY"] == "from-env"
    assert settings.load(values).provider_names == ("runpod",)


def test_a_bad_value_names_the_variable_and_never_shows_a_value() -> None:
    with pytest.raises(ConfigError) as caught:
        settings.load({"ORCH_LOG_FORMAT": "hunter2"})
    assert "ORCH_LOG_FORMAT" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_an_empty_variable_counts_as_absent() -> None:
    assert settings.load({"ORCH_SANDBOX": "", "ORCH_STATE_DIR": ""}).orch_sandbox is False


def test_the_state_folder_follows_the_setting_and_then_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert settings.load({}).state_dir == tmp_path / "orch"
    assert settings.load({"ORCH_STATE_DIR": "/elsewhere"}).state_dir == Path("/elsewhere")
