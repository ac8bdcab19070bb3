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

    orch_ssh_inventory: str | None = pydantic.Field(None, description="own machines: the inventory, a TOML file")

    azure_subscription_id: str | None = pydantic.Field(None, description="Azure: subscription")
    azure_tenant_id: str | None = pydantic.Field(None, description="Azure: tenant of the service principal")
    azure_client_id: str | None = pydantic.Field(None, description="Azure: service principal")
    azure_client_secret: str | None = pydantic.Field(None, description="Azure: its secret")
    azure_client_certificate_path: str | None = pydantic.Field(None, description="Azure: its certificate instead")
    azure_client_certificate_password: str | None = pydantic.Field(None, description="Azure: the certificate's")
    azure_federated_token_file: str | None = pydantic.Field(None, description="Azure: workload identity instead")
    azure_authority_host: str | None = pydantic.Field(None, description="Azure: where tokens come from")
    azure_config_dir: str | None = pydantic.Field(None, description="Azure: folder of the az CLI")
    azure_token_credentials: str | None = pydantic.Field(None, description="Azure: ManagedIdentityCredential")
    orch_azure_url: str | None = pydantic.Field(None, description="Azure: one base URL for all hosts")
    orch_azure_token: str | None = pydantic.Field(None, description="Azure: fixed bearer token, loopback only")
    orch_azure_regions: str | None = pydantic.Field(None, description="Azure: comma list of regions to search")
    orch_azure_ssh_from: str | None = pydantic.Field(None, description="Azure: networks that may reach open ports")

    coreweave_api_token: str | None = pydantic.Field(None, description="CoreWeave: API access token")
    cw_api_token: str | None = pydantic.Field(None, description="CoreWeave: another name for the token")
    cw_api_access_token: str | None = pydantic.Field(None, description="CoreWeave: another name for the token")
    coreweave_api_endpoint: str | None = pydantic.Field(None, description="CoreWeave: API that lists the clusters")
    kubeconfig: str | None = pydantic.Field(None, description="Kubernetes: colon list of kubeconfig files")
    orch_coreweave_url: str | None = pydantic.Field(None, description="CoreWeave: base URL of the API server")
    orch_coreweave_context: str | None = pydantic.Field(None, description="Kubernetes: contexts or clusters to use")
    orch_coreweave_namespace: str | None = pydantic.Field(None, description="Kubernetes: namespace, default orch")
    orch_coreweave_managed: str | None = pydantic.Field(None, description="CoreWeave: 1: may add whole nodes")
    orch_coreweave_max_nodes: str | None = pydantic.Field(None, description="CoreWeave: most nodes of managed mode")
    orch_coreweave_types: str | None = pydantic.Field(None, description="CoreWeave: instance types it may add")
    orch_coreweave_prices: str | None = pydantic.Field(None, description="CoreWeave: TYPE=USD per node-hour, ...")
    orch_coreweave_source_ranges: str | None = pydantic.Field(None, description="Kubernetes: who may reach SSH")
    orch_coreweave_service: str | None = pydantic.Field(None, description="Kubernetes: LoadBalancer or NodePort")
    orch_coreweave_lb_wait_s: str | None = pydantic.Field(None, description="Kubernetes: wait for an address, s")
    orch_coreweave_egress_usd_per_gb: str | None = pydantic.Field(None, description="Kubernetes: your egress price")
    orch_coreweave_tolerations: str | None = pydantic.Field(None, description="Kubernetes: further taint keys")
    orch_coreweave_pull_secret: str | None = pydantic.Field(None, description="Kubernetes: Secret for images")
    orch_coreweave_runtime_class: str | None = pydantic.Field(None, description="Kubernetes: RuntimeClass")

    google_application_credentials: str | None = pydantic.Field(None, description="GCP: credentials file")
    google_cloud_project: str | None = pydantic.Field(None, description="GCP: project")
    cloudsdk_core_project: str | None = pydantic.Field(None, description="GCP: project, gcloud's name for it")
    cloudsdk_config: str | None = pydantic.Field(None, description="GCP: gcloud's folder")
    orch_gcp_url: str | None = pydantic.Field(None, description="GCP: one base URL for both hosts")
    orch_gcp_token: str | None = pydantic.Field(None, description="GCP: fixed bearer token, loopback only")
    orch_gcp_regions: str | None = pydantic.Field(None, description="GCP: comma list of regions to search")
    orch_gcp_network: str | None = pydantic.Field(None, description="GCP: network with automatic subnets")

    paperspace_api_key: str | None = pydantic.Field(None, description="Paperspace: team API key")
    paperspace_api_url: str | None = pydantic.Field(None, description="Paperspace: vendor's name for the base URL")
    orch_paperspace_url: str | None = pydantic.Field(None, description="Paperspace: scheme and host instead")

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
