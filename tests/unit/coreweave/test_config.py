"""What the settings may say, and what is refused with the setting's name."""

from __future__ import annotations

from decimal import Decimal

import pytest

from providers.coreweave import catalog, config, quantities
from providers.errors import InvalidRequest
from providers.gpus import GPUS


def test_without_settings_nothing_is_managed_and_the_namespace_is_ours() -> None:
    found = config.load({})
    assert (found.namespace, found.managed, found.contexts, found.service) == ("orch", False, (), "LoadBalancer")


def test_every_setting_is_read() -> None:
    found = config.load(
        {
            "ORCH_COREWEAVE_NAMESPACE": "team",
            "ORCH_COREWEAVE_CONTEXT": "a, b,a",
            "ORCH_COREWEAVE_MANAGED": "yes",
            "ORCH_COREWEAVE_MAX_NODES": "2",
            "ORCH_COREWEAVE_TYPES": "gd-8xl40-i128",
            "ORCH_COREWEAVE_PRICES": "gd-8xl40-i128=9.50, gd-8xl40-i128:spot=4",
            "ORCH_COREWEAVE_SOURCE_RANGES": "192.0.2.0/24,2001:db8::/32",
            "ORCH_COREWEAVE_SERVICE": "NodePort",
            "ORCH_COREWEAVE_LB_WAIT_S": "30",
            "ORCH_COREWEAVE_EGRESS_USD_PER_GB": "0.01",
            "ORCH_COREWEAVE_TOLERATIONS": "team/gpu",
            "ORCH_COREWEAVE_PULL_SECRET": "regcred",
            "ORCH_COREWEAVE_RUNTIME_CLASS": "nvidia",
        }
    )
    assert found.contexts == ("a", "b")
    assert (found.managed, found.max_nodes, found.types) == (True, 2, ("gd-8xl40-i128",))
    assert found.prices == {"gd-8xl40-i128": Decimal("9.50"), "gd-8xl40-i128:spot": Decimal(4)}
    assert found.source_ranges == ("192.0.2.0/24", "2001:db8::/32")
    assert (found.service, found.lb_wait_s, found.egress_usd_per_gb) == ("NodePort", 30.0, Decimal("0.01"))
    assert (found.tolerations, found.pull_secret, found.runtime_class) == (("team/gpu",), "regcred", "nvidia")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ORCH_COREWEAVE_MANAGED", "perhaps"),
        ("ORCH_COREWEAVE_MAX_NODES", "-1"),
        ("ORCH_COREWEAVE_PRICES", "gd-8xl40-i128"),
        ("ORCH_COREWEAVE_PRICES", "gd-8xl40-i128=free"),
        ("ORCH_COREWEAVE_PRICES", "gd-8xl40-i128=0"),
        ("ORCH_COREWEAVE_SOURCE_RANGES", "home"),
        ("ORCH_COREWEAVE_SERVICE", "Ingress"),
        ("ORCH_COREWEAVE_LB_WAIT_S", "soon"),
        ("ORCH_COREWEAVE_EGRESS_USD_PER_GB", "-1"),
        ("ORCH_COREWEAVE_EGRESS_USD_PER_GB", "NaN"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match=name):
        config.load({name: value})


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("8", Decimal(8)),
        (8, Decimal(8)),
        ("15500m", Decimal("15.5")),
        ("1050000000Ki", Decimal(1050000000 * 1024)),
        ("110Gi", Decimal(110 * 2**30)),
        ("1e3", Decimal(1000)),
        ("7.68T", Decimal("7.68e12")),
        ("2E", Decimal("2e18")),
        ("lots", None),
        ("", None),
        (None, None),
        (True, None),
    ],
)
def test_quantities_are_read_exactly(text: object, number: Decimal | None) -> None:
    assert quantities.parse(text) == number


def test_the_snapshot_of_types_names_gpus_that_the_table_knows() -> None:
    assert {kind.gpu for kind in catalog.TYPES.values()} <= set(GPUS)
    l40 = catalog.TYPES["gd-8xl40-i128"]
    assert (l40.count, l40.usd_per_hour) == (8, Decimal("10.00"))


@pytest.mark.parametrize(
    ("place", "country"),
    [
        ("US-EAST-04A", "US"),
        ("US-EAST-04", "US"),
        ("RNO2A", "US"),
        ("CA-EAST-01A", "CA"),
        ("EU-SOUTH-03A", None),
        (None, None),
    ],
)
def test_a_country_is_named_only_where_the_zone_says_it(place: str | None, country: str | None) -> None:
    assert catalog.country(place) == country


def test_a_type_is_sold_where_its_zones_are_known() -> None:
    l40s = catalog.TYPES["gd-8xl40s-i128"]
    assert catalog.sold_in(l40s, "us-east-04a") is True
    assert catalog.sold_in(l40s, "US-EAST-04") is True
    assert catalog.sold_in(l40s, "RNO2A") is False
    assert catalog.sold_in(l40s, None) is None
    assert catalog.sold_in(catalog.TYPES["gd-8xh100ib-i128"], "RNO2A") is None
