"""Settings: one frozen object, checked at start. `.env.example` lists every one; a test holds the two together.

The vendors' own names work as they are. `./.env` is read, and the real environment wins over it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pydantic
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from orchestrator.errors import ConfigError


class Settings(BaseSettings):
    """Everything that the environment can say. Field names in capitals are the variables' names."""

    model_config = SettingsConfigDict(extra="ignore", case_sensitive=False, frozen=True)

    orch_state_dir: str | None = pydantic.Field(None, description="where the store, keys and sandbox live")
    orch_database_url: str | None = pydantic.Field(None, description="sqlite:///FILE or postgresql://...")
    orch_providers: str | None = pydantic.Field(None, description="comma list of the providers to use")
    orch_sandbox: bool = pydantic.Field(False, description="1: rent from the emulated market on loopback")
    orch_ssh_key_file: str | None = pydantic.Field(None, description="private SSH key; made at first use")
    orch_log_format: Literal["console", "json"] | None = pydantic.Field(
        None, description="logs on stderr; console on a terminal, else json"
    )

    fluence_api_key: str | None = pydantic.Field(None, description="Fluence: full-access API key")
    orch_fluence_url: str | None = pydantic.Field(None, description="Fluence: base URL instead of the vendor's")
    runpod_api_key: str | None = pydantic.Field(None, description="RunPod: API key")
    orch_runpod_url: str | None = pydantic.Field(None, description="RunPod: base URL instead of the vendor's")

    vast_api_key: str | None = pydantic.Field(None, description="Vast.ai: API key")
    vast_url: str | None = pydantic.Field(None, description="Vast.ai: the vendor's own name for its base URL")
    orch_vast_url: str | None = pydantic.Field(None, description="Vast.ai: base URL instead of the vendor's")
    lambda_api_key: str | None = pydantic.Field(None, description="Lambda: API key")
    lambda_cloud_api_token: str | None = pydantic.Field(None, description="Lambda: other tools' name for the key")
    orch_lambda_url: str | None = pydantic.Field(None, description="Lambda: base URL instead of the vendor's")

    aws_access_key_id: str | None = pydantic.Field(None, description="AWS: access key id")
    aws_secret_access_key: str | None = pydantic.Field(None, description="AWS: secret access key")
    aws_session_token: str | None = pydantic.Field(None, description="AWS: token of a temporary key")
    aws_profile: str | None = pydantic.Field(None, description="AWS: profile of the shared files")
    aws_config_file: str | None = pydantic.Field(None, description="AWS: shared config file")
    aws_shared_credentials_file: str | None = pydantic.Field(None, description="AWS: shared credentials file")
    aws_ec2_metadata_disabled: str | None = pydantic.Field(None, description="AWS: never ask instance metadata")
    aws_region: str | None = pydantic.Field(None, description="AWS: home region")
    aws_default_region: str | None = pydantic.Field(None, description="AWS: home region, older name")
    orch_aws_url: str | None = pydantic.Field(None, description="AWS: one base URL for all services")
    orch_aws_regions: str | None = pydantic.Field(None, description="AWS: comma list of regions to search")
    orch_aws_subnets: str | None = pydantic.Field(None, description="AWS: subnets, without a default VPC")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # Only what is passed in counts: `load` merges file and environment itself, so tests and the Python API
        # can give a mapping of their own.
        return (init_settings,)

    @property
    def state_dir(self) -> Path:
        """The state folder; it need not exist yet."""
        if self.orch_state_dir:
            return Path(self.orch_state_dir).expanduser()
        base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        return Path(base).expanduser() / "orch"

    @property
    def provider_names(self) -> tuple[str, ...] | None:
        """The providers named in `ORCH_PROVIDERS`, or None for all that are configured."""
        if not self.orch_providers:
            return None
        return tuple(name.strip() for name in self.orch_providers.split(",") if name.strip())


def environment(cwd: Path | None = None, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """`./.env` under the real environment, as one mapping of variables.

    Raises:
        ConfigError: `.env` cannot be read.
    """
    file = (cwd or Path.cwd()) / ".env"
    values: dict[str, str] = {}
    if file.is_file():
        from dotenv import dotenv_values

        try:
            values = {key: value for key, value in dotenv_values(file).items() if value is not None}
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} cannot be read: {error}") from None
    return values | dict(os.environ if env is None else env)


def load(values: Mapping[str, str]) -> Settings:
    """Check *values* (from `environment`).

    Raises:
        ConfigError: names the variable and what is wrong with it; never shows a value.
    """
    lowered = {key.lower(): value for key, value in values.items() if value != ""}
    try:
        return Settings(**{name: lowered[name] for name in Settings.model_fields if name in lowered})  # type: ignore[arg-type]
    except pydantic.ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0]).upper()
        raise ConfigError(f"{name}: {first['msg']}", hint="see .env.example") from None
