"""An AWS adapter over boto3's real protocol code and a scripted server, on a clock that only moves when turned."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from providers.aws.adapter import Aws
from providers.base import AttemptRef, Context, LaunchSpec, Offer
from providers.env import ManualEnv
from providers.naming import make
from tests.unit.aws.wire import Wire, identity

OWNER = "0123456789abcdef0123456789abcdef"
OTHER_OWNER = "fedcba9876543210fedcba9876543210"
LEASE = "abcdefghi"
TOKEN = make(OWNER, LEASE, 1)
KEY_ID, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
ACCOUNT = "123456789012"


@pytest.fixture
def env() -> ManualEnv:
    return ManualEnv(datetime(2026, 11, 22, 12, 0, tzinfo=UTC))


@pytest.fixture
def wire() -> Iterator[Wire]:
    server = Wire()
    server.on("GetCallerIdentity", identity(ACCOUNT))
    yield server
    server.close()


@pytest.fixture
def unclassified() -> list[tuple[str, str, str]]:
    return []


@pytest.fixture
def context(env: ManualEnv, wire: Wire, tmp_path: Path, unclassified: list[tuple[str, str, str]]) -> Context:
    return Context(
        env=env,
        settings={
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "HOME": str(tmp_path),
            "ORCH_AWS_URL": wire.url,
            "ORCH_AWS_REGIONS": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
        owner=OWNER,
        on_unclassified=lambda *what: unclassified.append(what),
    )


@pytest.fixture
async def aws(context: Context) -> AsyncIterator[Aws]:
    adapter = Aws(context)
    yield adapter
    await adapter.aclose()


@pytest.fixture
def offer() -> Offer:
    """One L40S in us-east-1a, on demand."""
    return Offer(
        offer_id="aws/us-east-1a/g6e.xlarge/on-demand",
        provider="aws",
        account=ACCOUNT,
        region="us-east-1",
        zone="us-east-1a",
        instance_type="g6e.xlarge",
        gpu="l40s",
        workloads=("vm",),
        usd_per_hour=Decimal("1.861"),
        native={"region": "us-east-1", "zone": "us-east-1a", "instance_type": "g6e.xlarge", "arch": "x86_64"},
    )


@pytest.fixture
def spec() -> LaunchSpec:
    return LaunchSpec(
        name=TOKEN,
        owner=OWNER,
        lease=LEASE,
        ssh_public_key="ssh-ed25519 AAAA orch\n",
        max_usd_per_hour=Decimal("1.861"),
    )


@pytest.fixture
def resolved(spec: LaunchSpec) -> LaunchSpec:
    """The spec as the engine saves it."""
    native = {
        "image": "ami-0abc12345",
        "ssh_user": "ubuntu",
        "root": "/dev/sda1",
        "devices": "/dev/sda1",
        "disk_gib": 50,
        "subnet": "subnet-0a",
        "vpc": "vpc-0c",
        "user_data": "#cloud-config\n{}\n",
    }
    return LaunchSpec(
        name=spec.name,
        owner=spec.owner,
        lease=spec.lease,
        ssh_public_key=spec.ssh_public_key,
        max_usd_per_hour=spec.max_usd_per_hour,
        native=native,
    )


@pytest.fixture
def attempt(offer: Offer, resolved: LaunchSpec) -> AttemptRef:
    return AttemptRef(token=TOKEN, account=ACCOUNT, offer=offer, spec=resolved)
