"""Who there is: one row per provider, imported only when it is used.

Outside packages add rows through the entry point group ``orch.providers``: each entry point names a function
without arguments that returns an `Entry`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from providers.base import Context, Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One provider.

    Attributes:
        name: as in `--provider NAME`.
        title: for people.
        adapter: ``module:Class`` of the `Provider`.
        emulator: ``module:Class`` of its loopback twin, or None for one that needs none (the fake).
        error_table: ``module:NAME`` of the code table, which the conformance suite wants to see.
        keys: setting names, any one of which makes the provider configured.
        files: files under the home folder, any one of which makes it configured, too.
        url_setting: the `ORCH_..._URL` that overrides the vendor's hosts.
        docs: the docs page, from the repository's root.
        extra: the pip extra that it needs, or None.
    """

    name: str
    title: str
    adapter: str
    emulator: str | None
    error_table: str | None
    keys: tuple[str, ...]
    url_setting: str | None
    docs: str
    files: tuple[str, ...] = ()
    extra: str | None = None

    def configured(self, settings: Mapping[str, str]) -> str | None:
        """Where the credentials come from (a setting's name or a file), or None if there are none."""
        for key in self.keys:
            if settings.get(key):
                return key
        home = Path(settings.get("HOME") or Path.home())
        for file in self.files:
            path = home / file
            if path.is_file():
                return f"~/{file}"
        return None

    def create(self, context: Context) -> Provider:
        """Import the adapter and make one."""
        provider: Provider = load(self.adapter)(context)
        return provider


def load(target: str) -> Any:
    """The object that ``module:attribute`` names."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


_BUILTIN = (
    Entry(
        name="aws",
        title="AWS",
        adapter="providers.aws.adapter:Aws",
        emulator="providers.aws.emulator:AwsEmulator",
        error_table="providers.aws.errors:TABLE",
        keys=("AWS_ACCESS_KEY_ID", "AWS_PROFILE"),
        files=(".aws/credentials", ".aws/config"),
        url_setting="ORCH_AWS_URL",
        docs="docs/providers/aws.md",
        extra="aws",
    ),
    Entry(
        name="azure",
        title="Azure",
        adapter="providers.azure.adapter:Azure",
        emulator="providers.azure.emulator:AzureEmulator",
        error_table="providers.azure.errors:TABLE",
        keys=("AZURE_CLIENT_ID", "AZURE_SUBSCRIPTION_ID", "ORCH_AZURE_TOKEN"),
        files=(".azure/azureProfile.json",),
        url_setting="ORCH_AZURE_URL",
        docs="docs/providers/azure.md",
        extra="azure",
    ),
    Entry(
        name="lambda",
        title="Lambda",
        adapter="providers.lambda_cloud.adapter:Lambda",
        emulator="providers.lambda_cloud.emulator:LambdaEmulator",
        error_table="providers.lambda_cloud.errors:TABLE",
        keys=("LAMBDA_API_KEY", "LAMBDA_CLOUD_API_TOKEN"),
        files=(".lambda_cloud/lambda_keys",),
        url_setting="ORCH_LAMBDA_URL",
        docs="docs/providers/lambda.md",
    ),
    Entry(
        name="coreweave",
        title="CoreWeave",
        adapter="providers.coreweave.adapter:CoreWeave",
        emulator="providers.coreweave.emulator:CoreWeaveEmulator",
        error_table="providers.coreweave.errors:TABLE",
        # Not ~/.kube/config: idle GPUs of any company's cluster would win every plan at 0 USD.
        keys=(
            "COREWEAVE_API_TOKEN",
            "KUBECONFIG",
            "CW_API_TOKEN",
            "CW_API_ACCESS_TOKEN",
            "ORCH_COREWEAVE_CONTEXT",
        ),
        url_setting="ORCH_COREWEAVE_URL",
        docs="docs/providers/coreweave.md",
        extra="coreweave",
    ),
    Entry(
        name="runpod",
        title="RunPod",
        adapter="providers.runpod.adapter:RunPod",
        emulator="providers.runpod.emulator:RunPodEmulator",
        error_table="providers.runpod.errors:TABLE",
        keys=("RUNPOD_API_KEY",),
        files=(".runpod/config.toml",),
        url_setting="ORCH_RUNPOD_URL",
        docs="docs/providers/runpod.md",
    ),
    Entry(
        name="vast",
        title="Vast.ai",
        adapter="providers.vast.adapter:Vast",
        emulator="providers.vast.emulator:VastEmulator",
        error_table="providers.vast.errors:TABLE",
        keys=("VAST_API_KEY",),
        files=(".config/vastai/vast_api_key", ".vast_api_key"),
        url_setting="ORCH_VAST_URL",
        docs="docs/providers/vast.md",
    ),
    Entry(
        name="fluence",
        title="Fluence",
        adapter="providers.fluence.adapter:Fluence",
        emulator="providers.fluence.emulator:FluenceEmulator",
        error_table="providers.fluence.errors:TABLE",
        keys=("FLUENCE_API_KEY",),
        url_setting="ORCH_FLUENCE_URL",
        docs="docs/providers/fluence.md",
    ),
    Entry(
        name="gcp",
        title="Google Cloud",
        adapter="providers.gcp.adapter:Gcp",
        emulator="providers.gcp.emulator:GcpEmulator",
        error_table="providers.gcp.errors:TABLE",
        keys=("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT", "ORCH_GCP_TOKEN"),
        files=(".config/gcloud/application_default_credentials.json",),
        url_setting="ORCH_GCP_URL",
        docs="docs/providers/gcp.md",
        extra="gcp",
    ),
    Entry(
        name="paperspace",
        title="Paperspace",
        adapter="providers.paperspace.adapter:Paperspace",
        emulator="providers.paperspace.emulator:PaperspaceEmulator",
        error_table="providers.paperspace.errors:TABLE",
        keys=("PAPERSPACE_API_KEY",),
        files=(".paperspace/credentials.toml", ".paperspace/config.json"),
        url_setting="ORCH_PAPERSPACE_URL",
        docs="docs/providers/paperspace.md",
    ),
    Entry(
        name="ssh",
        title="Own machines",
        adapter="providers.ssh.adapter:Ssh",
        emulator="providers.ssh.emulator:SshEmulator",
        error_table="providers.ssh.errors:TABLE",
        keys=("ORCH_SSH_INVENTORY",),
        files=(".config/orch/machines.toml",),
        url_setting=None,
        docs="docs/providers/ssh.md",
    ),
)


def entries() -> dict[str, Entry]:
    """Every registered provider by name, built-in ones first."""
    found = {entry.name: entry for entry in _BUILTIN}
    from importlib.metadata import entry_points

    for point in entry_points(group="orch.providers"):
        entry = point.load()()
        found.setdefault(entry.name, entry)
    return found
