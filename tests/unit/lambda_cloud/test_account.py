"""Who we are: keys and where they come from, the account behind them, and what `check` shows."""

from __future__ import annotations

from pathlib import Path

import pytest
import respx

from providers.base import Context, Offer, Query, key_account
from providers.env import ManualEnv
from providers.errors import AuthFailed
from providers.http import BadUrl
from providers.lambda_cloud import credentials
from providers.lambda_cloud.adapter import Lambda
from tests.contract import lambda_golden as golden
from tests.unit.lambda_cloud.conftest import ACCOUNT, KEY, listed, machine, refused


def test_the_variable_wins_over_the_file(tmp_path: Path) -> None:
    write(tmp_path, "api_key = from-the-file\n")
    settings = {"HOME": str(tmp_path), "LAMBDA_CLOUD_API_TOKEN": "second", "LAMBDA_API_KEY": " first "}
    assert credentials.load(settings) == ("first", "LAMBDA_API_KEY")
    settings["LAMBDA_API_KEY"] = ""
    assert credentials.load(settings) == ("second", "LAMBDA_CLOUD_API_TOKEN")
    del settings["LAMBDA_CLOUD_API_TOKEN"]
    assert credentials.load(settings) == ("from-the-file", "~/.lambda_cloud/lambda_keys")


@pytest.mark.parametrize(
    "text", ["api_key = k3y\n", "# mine\napi_key=k3y", "other = x\n  api_key =   k3y  \n", "api_key = k3y\r\n"]
)
def test_skypilots_file_is_read(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    assert credentials.load({"HOME": str(tmp_path)}).key == "k3y"


@pytest.mark.parametrize("text", ["", "api_key = \n", "apikey = x\n", "api_key x\n"])
def test_a_file_without_a_key_is_no_key(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    with pytest.raises(AuthFailed) as caught:
        credentials.load({"HOME": str(tmp_path)})
    assert caught.value.code == "no-key"


def test_a_file_that_cannot_be_read_says_so_without_its_content(tmp_path: Path) -> None:
    write(tmp_path, "api_key = s3cret\n").write_bytes(b"api_key = s3cret \xff\xfe")
    with pytest.raises(AuthFailed) as caught:
        credentials.load({"HOME": str(tmp_path)})
    assert caught.value.code == "bad-file"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("key", ["two words", "schlüssel", "new\nline"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(key: str) -> None:
    with pytest.raises(AuthFailed) as caught:
        credentials.load({"LAMBDA_API_KEY": key})
    assert key not in str(caught.value)


def test_a_key_is_never_shown() -> None:
    assert KEY not in repr(credentials.load({"LAMBDA_API_KEY": KEY}))


async def test_without_a_key_every_verb_says_so(tmp_path: Path, offer: Offer) -> None:
    adapter = Lambda(Context(env=ManualEnv(), settings={"HOME": str(tmp_path)}))
    for call in (adapter.account(), adapter.offers(Query()), adapter.price(offer), adapter.owned(), adapter.check()):
        with pytest.raises(AuthFailed):
            await call
    await adapter.aclose()


async def test_the_account_is_a_hash_of_the_key(cloud: Lambda) -> None:
    assert await cloud.account() == ACCOUNT == key_account("lambda", KEY)
    assert KEY not in ACCOUNT


def test_a_url_that_would_send_the_key_in_the_clear_is_refused() -> None:
    with pytest.raises(BadUrl, match="ORCH_LAMBDA_URL"):
        Lambda(Context(settings={"ORCH_LAMBDA_URL": "http://example.com"}))


async def test_another_base_url_takes_the_vendors_place(context: Context) -> None:
    context.settings = {**context.settings, "ORCH_LAMBDA_URL": "http://127.0.0.1:9/lambda/"}
    adapter = Lambda(context)
    with respx.mock(base_url="http://127.0.0.1:9/lambda") as router:
        router.get(golden.INSTANCES_PATH).respond(json=golden.INSTANCES)
        assert [one.id for one in await adapter.owned()] == [golden.INSTANCE_ID]
    await adapter.aclose()


async def test_check_counts_machines_and_shows_no_secret(cloud: Lambda, wire: respx.MockRouter) -> None:
    strange = machine(id="f" * 32, name="my-box", tags=[], jupyter_token="T0PS3CRET")
    wire.get(golden.INSTANCES_PATH).respond(json=listed(machine(), strange))
    shown = await cloud.check()
    assert shown == {
        "account": ACCOUNT,
        "key": "accepted (LAMBDA_API_KEY)",
        "instances": "2 in the account, 1 of this installation",
        "rights": "keys have no scopes; whether the account may rent shows at the first launch",
        "quota": "quota and balance are not shown by Lambda's API",
        "clock_skew": "unknown",
    }


async def test_check_with_a_bad_key_fails(cloud: Lambda, wire: respx.MockRouter) -> None:
    wire.get(golden.INSTANCES_PATH).respond(**refused("invalid-api-key"))
    with pytest.raises(AuthFailed):
        await cloud.check()


def test_nothing_at_lambda_ends_a_machine_by_itself() -> None:
    assert Lambda.facts.dead_man is None
    assert not Lambda.facts.replayable_create
    assert Lambda.facts.token_in == "tags"


def write(home: Path, text: str) -> Path:
    file = home / ".lambda_cloud" / "lambda_keys"
    file.parent.mkdir()
    file.write_text(text)
    return file
