"""No provider's SDK is imported before its adapter is used, and nobody pays for a provider that is not asked."""

from __future__ import annotations

import subprocess
import sys

import pytest

from providers import registry

#: What vendors' packages, and other heavy ones of adapters, are called when they are imported.
HEAVY = ("boto3", "botocore", "azure", "msal", "google.auth", "requests", "yaml", "asyncssh", "cryptography")
_REPORT = f"import sys; print([name for name in {HEAVY!r} if name in sys.modules])"


def loaded_by(program: str) -> str:
    """Which of the heavy packages a fresh interpreter holds after *program*."""
    done = subprocess.run([sys.executable, "-c", f"{program}\n{_REPORT}"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("name", sorted(registry.entries()))
def test_importing_an_adapter_imports_no_sdk(name: str) -> None:
    module = registry.entries()[name].adapter.partition(":")[0]
    assert loaded_by(f"import {module}") == "[]"


def test_an_engine_with_every_provider_configured_imports_no_adapter_until_one_is_asked() -> None:
    keys = {key: "x" for entry in registry.entries().values() for key in entry.keys}
    program = f"""
import asyncio, sys, tempfile
from orchestrator import Orchestrator

async def main():
    with tempfile.TemporaryDirectory() as folder:
        async with Orchestrator(settings={keys!r}, state_dir=folder) as orch:
            await orch.leases()
asyncio.run(main())
adapters = [name for name in sys.modules if name.startswith("providers.") and name.endswith(".adapter")]
assert adapters == [], adapters
"""
    assert loaded_by(program) == "[]"
