"""The AWS adapter against moto, an imitation of EC2 that nobody here wrote.

Faithful there, and so used: STS, security groups, subnets, images, RunInstances with tags, DescribeInstances with
filters, TerminateInstances. What moto is known to do unlike EC2 is asserted below, so that this list stays true.
Its price list cannot be asked at one address with the other services, and it does not know the deep learning images.
"""

from __future__ import annotations

import urllib.request
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal

import msgspec
import pytest

from providers import naming
from providers.aws.adapter import Aws
from providers.base import AttemptRef, Context, LaunchSpec, Offer, Phase
from providers.env import ManualEnv
from providers.errors import Unavailable

server = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[ec2,server]'")
pytestmark = pytest.mark.filterwarnings("ignore")

OWNER = "0123456789abcdef0123456789abcdef"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeKeyForTests0000000000000000000000 orch"
ZONE = "us-east-1a"


@pytest.fixture
def url() -> Iterator[str]:
    moto = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    host, port = moto.get_host_and_port()
    # Its state is the process's, not the server's.
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()
    try:
        yield f"http://{host}:{port}"
    finally:
        moto.stop()


@pytest.fixture
async def aws(url: str) -> AsyncIterator[Aws]:
    keys = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "x"}
    settings = {"ORCH_AWS_URL": url, "ORCH_AWS_REGIONS": "us-east-1", **keys}
    made = Aws(Context(env=ManualEnv(), settings=settings, owner=OWNER))
    yield made
    await made.aclose()


def offer() -> Offer:
    return Offer(
        offer_id=f"aws:{ZONE}:g6e.xlarge:on-demand",
        provider="aws",
        gpu="l40s",
        account="123456789012",
        region="us-east-1",
        zone=ZONE,
        instance_type="g6e.xlarge",
        usd_per_hour=Decimal("1.861"),
        native={"arch": "x86_64"},
    )


async def attempt(aws: Aws, number: int = 1) -> AttemptRef:
    token = naming.make(OWNER, "leaseaaaa", number)
    bare = LaunchSpec(name=token, owner=OWNER, lease="leaseaaaa", ssh_public_key=KEY)
    [image, *_] = (await aws._client.call("ec2", "us-east-1", "describe_images", verb="account", Owners=["amazon"]))[
        "Images"
    ]
    # moto knows nothing of the deep learning images; the rest of the spec is looked up as always.
    spec = await aws.resolve(offer(), msgspec.structs.replace(bare, image=image["ImageId"]))
    return AttemptRef(token=token, account=await aws.account(), offer=offer(), spec=spec)


async def test_a_machine_lives_and_ends_and_nothing_is_left(aws: Aws) -> None:
    ref = await attempt(aws)
    made = await aws.launch(ref.offer, ref.spec, ref.token)
    found = await aws.find(msgspec.structs.replace(ref, instance_id=made.id, handle=made.handle))
    assert found is not None
    assert (found.id, found.token, found.phase) == (made.id, ref.token, Phase.RUNNING)
    assert found.address is not None
    [mine] = await aws.owned()
    assert (mine.id, mine.owner) == (made.id, OWNER)
    for _ in range(3):
        if await aws.terminate(made):
            break
    else:
        pytest.fail("never gone")
    assert await aws.owned() == []
    groups = await aws._client.call("ec2", "us-east-1", "describe_security_groups", verb="account")
    assert [group["GroupName"] for group in groups["SecurityGroups"]] == ["default"]


async def test_another_installations_machine_is_not_ours(aws: Aws, url: str) -> None:
    ref = await attempt(aws)
    theirs = msgspec.structs.replace(ref.spec, owner="f" * 32)
    await aws.launch(ref.offer, theirs, ref.token)
    assert await aws.owned() == []


# -- where moto is known to be unlike EC2 --------------------------------------------------------------------


async def test_known_difference_a_machine_runs_at_once(aws: Aws) -> None:
    """EC2 shows `pending` for a while, and an address later still; moto's runs at the first look."""
    ref = await attempt(aws)
    await aws.launch(ref.offer, ref.spec, ref.token)
    [mine] = await aws.owned()
    assert mine.phase is Phase.RUNNING


async def test_known_difference_the_filter_by_client_token_is_not_there(aws: Aws) -> None:
    """EC2 finds an instance by its client token, which is how an attempt without an id is looked for."""
    ref = await attempt(aws)
    await aws.launch(ref.offer, ref.spec, ref.token)
    with pytest.raises(Unavailable):
        await aws.find(ref)


async def test_known_difference_a_client_token_is_not_honoured(aws: Aws) -> None:
    """EC2 answers a repeated token with the same machine (`replayable_create`); moto makes another one."""
    ref = await attempt(aws)
    first = await aws.launch(ref.offer, ref.spec, ref.token)
    again = await aws.launch(ref.offer, ref.spec, ref.token)
    assert first.id != again.id


async def test_known_difference_nothing_is_ever_sold_out_or_over_quota(aws: Aws) -> None:
    """EC2 has a limit per family and answers InsufficientInstanceCapacity; moto rents without end."""
    made = [await aws.launch(ref.offer, ref.spec, ref.token) for ref in [await attempt(aws, n) for n in range(1, 9)]]
    assert len({one.id for one in made}) == 8
