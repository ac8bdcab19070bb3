"""Requests: what can be meant, and how options become one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from policies.errors import BadRequest
from policies.options import build, read_request
from policies.request import BOUNDS, Request, wanted_gpus

L40 = Request(gpu=("l40",))


def test_the_defaults_are_those_of_the_command_line() -> None:
    request = L40.validate()
    assert (request.policy, request.hours, request.egress_gb, request.disk_gib) == ("cheapest", 24, 0, 50)
    assert (request.count, request.replicas, request.checkpoint_s, request.ready) == (1, 1, 1800, "gpu")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gpu": ()}, "gpu: no model is asked for"),
        ({"gpu": ("l400",)}, "gpu: no model is called 'l400'"),
        ({"gpu": "l40"}, "gpu: expected `array`, got `str`"),
        ({"count": 0}, "count: 0 is too little"),
        ({"count": 1.5}, "count: expected `int`"),
        ({"count": -1}, "count: -1 must not be negative"),
        ({"count": 1000}, "count: 1000 is too much"),
        ({"replicas": 0}, "replicas: 0 is too little"),
        ({"hours": 0.0}, "hours: 0 is too little"),
        ({"hours": -3.0}, "hours: -3.0 must not be negative"),
        ({"hours": 1e9}, "hours: .* is too much"),
        ({"hours": float("nan")}, "hours: nan is not a number"),
        ({"egress_gb": -1.0}, "egress: -1.0 must not be negative"),
        ({"egress_gb": 1e12}, "egress: .* GB is too much"),
        ({"ingress_gb": -1.0}, "ingress: "),
        ({"checkpoint_s": -1.0}, "checkpoint: "),
        ({"disk_gib": 0}, "disk: 0 is too little"),
        ({"cpus": 0.0}, "cpus: "),
        ({"memory_gib": -1.0}, "memory: "),
        ({"max_price": Decimal(0)}, "max-price: 0 is too little"),
        ({"max_price": Decimal("NaN")}, "max-price: NaN is not a number"),
        ({"budget": Decimal(-1)}, "budget: "),
        ({"ttl_s": 5.0}, "ttl: 5.0 s is too little"),
        ({"idle_s": 1.0}, "idle: "),
        ({"wait_s": -1.0}, "wait: "),
        ({"deadline_s": 0.0}, "deadline: "),
        ({"country": ("EU",)}, "country: EU is not a country"),
        ({"country": ("Germany",)}, "country: 'Germany' is not a two-letter code"),
        ({"provider": ("aws",), "exclude_provider": ("aws",)}, "provider: aws is both"),
        ({"port": ("80",)}, "port: '80' is not a port"),
        ({"port": ("70000/tcp",)}, "port: "),
        ({"env": {"1A": "x"}}, "env: '1A'"),
        ({"name": "My Box"}, "name: 'My Box'"),
        ({"image": "a/b", "workload": "vm"}, "image: a vm takes no container image"),
        ({"image": " "}, "image: nothing is given"),
        ({"workload": "toaster"}, "workload: "),
        ({"ready": "soon"}, "ready: "),
    ],
)
def test_what_cannot_be_meant_is_refused_with_one_clear_error(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=f"^{message}"):
        msgspec.structs.replace(L40, **fields).validate()


@pytest.mark.parametrize("field", sorted(BOUNDS))
def test_every_bound_lets_its_own_ends_in(field: str) -> None:
    kind = int if field in ("count", "replicas", "disk_gib") else Decimal if field in ("max_price", "budget") else float
    for end in BOUNDS[field]:
        msgspec.structs.replace(L40, **{field: kind(str(end)) if kind is Decimal else kind(end)}).validate()


def test_an_unknown_model_gets_the_nearest_as_a_hint() -> None:
    with pytest.raises(BadRequest) as error:
        Request(gpu=("h10",)).validate()
    assert "did you mean" in (error.value.hint or "")


def test_or_better_adds_models_and_l40_alone_does_not() -> None:
    assert wanted_gpus(L40) == {"l40"}
    better = wanted_gpus(msgspec.structs.replace(L40, or_better=True))
    assert {"l40", "l40s"} <= better


def test_options_are_read_as_people_write_them() -> None:
    request = build(
        {
            "gpu": ["l40,l40s", "h200"],
            "hours": "90m",
            "egress": "1.5TB",
            "ingress": "200GiB",
            "disk": "500GB",
            "memory": "64GiB",
            "checkpoint": "10m",
            "ttl": "2h",
            "budget": "$12.50",
            "country": "uk,de",
            "exclude-provider": "AWS",
            "port": ["8080/http", "9000"],
            "env": ["A=1", "B=x=y"],
            "require": ["regions=eu-*,us-*"],
            "or_better": True,
            "idle": None,
        }
    )
    assert request.gpu == ("l40", "l40s", "h200")
    assert (request.hours, request.egress_gb, request.ingress_gb) == (1.5, 1500, 214.7483648)
    assert (request.disk_gib, request.memory_gib) == (466, 64)
    assert (request.checkpoint_s, request.ttl_s, request.idle_s) == (600, 7200, None)
    assert (request.budget, request.country) == (Decimal("12.50"), ("GB", "DE"))
    assert (request.exclude_provider, request.port) == (("aws",), ("8080/http", "9000/tcp"))
    assert (request.env, request.require, request.or_better) == ({"A": "1", "B": "x=y"}, ("regions=eu-*,us-*",), True)


def test_a_bare_number_is_hours_gb_or_gib_and_refused_for_other_durations() -> None:
    request = build({"gpu": "l40", "hours": 2, "egress": "500", "disk": 60, "memory": 32})
    assert (request.hours, request.egress_gb, request.disk_gib, request.memory_gib) == (2, 500, 60, 32)
    for option in ("ttl", "idle", "checkpoint", "wait", "deadline"):
        with pytest.raises(BadRequest, match=f"^{option}: 2 has no unit"):
            build({"gpu": "l40", option: 2})


def test_field_names_work_as_option_names_with_the_unit_that_they_say() -> None:
    request = build({"gpu": "l40", "ttl_s": 3600, "egress_gb": 10, "disk_gib": 20})
    assert (request.ttl_s, request.egress_gb, request.disk_gib) == (3600, 10, 20)
    with pytest.raises(BadRequest, match="given twice"):
        build({"gpu": "l40", "ttl_s": 3600, "ttl": "1h"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus": "l40"}, "gpus: there is no such option"),
        ({"gpu": 3}, "gpu: 3 is not a list"),
        ({"gpu": "l40", "count": "two"}, "count: 'two' is not a number"),
        ({"gpu": "l40", "keep": "yes"}, "keep: 'yes' is neither true nor false"),
        ({"gpu": "l40", "env": ["A"]}, "env: 'A' has no value"),
        ({"gpu": "l40", "image": 5}, "image: 5 is not text"),
        ({"gpu": "l40", "egress": "lots"}, "egress: 'lots' is not an amount of data"),
        ({"gpu": "l40", "hours": "0"}, "hours: 0 is too little"),
    ],
)
def test_options_that_cannot_be_read_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=f"^({message})"):
        build(options)


def test_a_misspelt_option_gets_the_nearest_as_a_hint() -> None:
    with pytest.raises(BadRequest) as error:
        build({"egres": 5})
    assert "egress" in (error.value.hint or "")


def test_a_request_file_is_read_and_its_errors_name_the_line() -> None:
    text = '# my job\ngpu = "l40"\nhours = 2\negress = "500GB"\nexclude-provider = ["aws"]\n[env]\nA = "1"\n'
    request = read_request(text, "job.toml")
    assert (request.gpu, request.egress_gb, request.env) == (("l40",), 500, {"A": "1"})
    with pytest.raises(BadRequest, match=r"^job\.toml:4: egress: '500XB'|^job\.toml:4: egress: 'XB'"):
        read_request(text.replace("500GB", "500XB"), "job.toml")
    with pytest.raises(BadRequest, match=r"^job\.toml:5: exclude-providr: there is no such option"):
        read_request(text.replace("exclude-provider", "exclude-providr"), "job.toml")
    with pytest.raises(BadRequest, match=r"^job\.toml:2: not TOML"):
        read_request("gpu = 'l40'\nhours = = 2\n", "job.toml")


def test_a_request_survives_json() -> None:
    request = Request.of(gpu="l40,l40s", egress="1TB", budget="10.10", env={"A": "1"}, port=["80/http"])
    assert msgspec.json.decode(msgspec.json.encode(request), type=Request) == request
