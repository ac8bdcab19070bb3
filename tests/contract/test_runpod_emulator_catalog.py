"""RunPod's emulator: rate-limit windows, and the catalogue with its prices, stock and query rules."""

from __future__ import annotations

from tests.contract import runpod_golden as golden
from tests.contract.runpod_desk import L40, L40S, body, desk, market

CATALOG = {"include": "AVAILABILITY", "product": "POD"}


# Rate limits.


async def test_every_authenticated_answer_carries_the_windows() -> None:
    async with desk(market(limits={"minute": 60, "hour": 3000, "day": 50000})) as d:
        d.env.advance(48)
        replies = [await d.http.get("/v2/pods"), await d.http.get("/v2/nosuch")]
    assert replies[0].headers["ratelimit-policy"] == golden.TOO_FAST_HEADERS["RateLimit-Policy"]
    assert replies[0].headers["ratelimit"] == '"minute";r=59;t=12, "hour";r=2999;t=3552, "day";r=49999;t=43152'
    assert replies[1].headers["ratelimit"].startswith('"minute";r=58;t=12, "hour";r=2998;')


async def test_the_61st_request_of_a_minute_waits_for_the_next_minute() -> None:
    async with desk(market(limits={"minute": 60, "hour": 3000, "day": 50000})) as d:
        d.env.advance(48)
        assert [(await d.http.get("/v2/pods")).status_code for _ in range(60)] == [200] * 60
        over = await d.http.get("/v2/pods")
        assert (over.status_code, over.json()) == (429, golden.TOO_FAST)
        assert over.headers["retry-after"] == "12"
        assert over.headers["ratelimit"].startswith('"minute";r=0;t=12, "hour";r=2940;')
        assert (await d.http.post("/v2/pods", json=body())).status_code == 429
        assert d.runpod.records() == []
        d.env.advance(12)
        assert (await d.http.get("/v2/pods")).status_code == 200


async def test_of_several_full_windows_the_longest_counts() -> None:
    async with desk(market(limits={"minute": 2, "hour": 2, "day": 0})) as d:
        for _ in range(2):
            await d.http.get("/v2/pods")
        over = await d.http.get("/v2/pods")
    assert over.headers["retry-after"] == "3600"
    assert over.json()["detail"] == "rate limit exceeded for the hour window"
    assert over.headers["ratelimit-policy"] == '"minute";q=2;w=60, "hour";q=2;w=3600'


async def test_an_exempt_account_gets_no_rate_limit_headers() -> None:
    async with desk(market(limits={"minute": 0, "hour": 0, "day": 0})) as d:
        reply = await d.http.get("/v2/pods")
        d.exchanges.clear()  # the description wants the headers here and says elsewhere that they may be missing
    assert reply.status_code == 200
    assert "ratelimit" not in reply.headers


# Catalogue.


async def test_the_catalogue_has_the_sheet_prices_and_the_sentinel() -> None:
    async with desk() as d:
        plain = {gpu["id"]: gpu for gpu in (await d.http.get("/v2/catalog/gpus")).json()["gpus"]}
    prices = {gpu_id: (gpu["price"]["secure"], gpu["price"]["community"]) for gpu_id, gpu in plain.items()}
    assert prices == {
        L40: (0.82, 0.69),
        L40S: (0.99, 0.79),
        "NVIDIA A100 80GB PCIe": (1.39, 1.19),
        "NVIDIA RTX PRO 4500 Blackwell": (0.72, 0),
        "NVIDIA GeForce RTX 4090": (0.44, 0.31),
        "unknown": (0, 0),
    }
    assert plain["NVIDIA RTX PRO 4500 Blackwell"]["community"] is False
    assert all("availability" not in gpu for gpu in plain.values())


async def test_a_gpu_with_its_stock_has_the_recorded_shape() -> None:
    async with desk() as d:
        gpu = (await d.gpus())[L40S]
    sample = golden.GPUS["gpus"][0]
    assert set(gpu) == set(sample)
    assert gpu["dataCenters"][0] == sample["dataCenters"][0]
    for key in ("id", "name", "pool", "memory", "price", "maxCount", "cudaVersions"):
        assert gpu[key] == sample[key]


async def test_stock_that_is_nowhere_has_no_data_centres() -> None:
    async with desk() as d:
        none = (await d.gpus(count="9"))[L40]
        product = (await d.gpus(product="SERVERLESS"))[L40]
        community = (await d.gpus(cloud="COMMUNITY"))[L40]
    for gpu in (none, product):
        assert gpu["availability"] == "NONE"
        assert "dataCenters" not in gpu
    assert community["availability"] == "HIGH"
    assert "dataCenters" not in community


async def test_countries_narrow_the_list_but_not_a_single_gpu() -> None:
    async with desk() as d:
        nordic = await d.gpus(countryCodes="NO,IS")
        path = f"/v2/catalog/gpus/{L40}"
        single = (await d.http.get(path, params=CATALOG | {"countryCodes": "NO"})).json()
        sweden = await d.gpus(cloud="COMMUNITY", countryCodes="SE")
    assert set(nordic) == {L40S, "NVIDIA GeForce RTX 4090"}
    assert [center["id"] for center in nordic[L40S]["dataCenters"]] == ["EUR-IS-2"]
    assert single["availability"] == "NONE"
    assert "dataCenters" not in single
    assert set(sweden) == {L40}


async def test_cuda_versions_are_compared_by_their_numbers() -> None:
    async with desk() as d:
        high = (await d.gpus(minCudaVersion="12.11"))[L40S]
        low = (await d.gpus(minCudaVersion="12"))[L40S]
        exact = (await d.gpus(cudaVersions="12.8"))[L40S]
    assert (high["availability"], high["cudaVersions"]) == ("NONE", [{"version": "13.0", "available": False}])
    assert [row["version"] for row in low["cudaVersions"]] == ["12.8", "13.0"]
    assert exact["cudaVersions"] == [{"version": "12.8", "available": True}]


GPU_QUERIES = [
    ("include=AVAILABILITY", 400),
    ("product=POD", 400),
    ("count=2", 400),
    ("cloud=SECURE", 400),
    ("countryCodes=FR", 400),
    ("minCudaVersion=12.8", 400),
    ("include=AVAILABILITY&product=POD&minCudaVersion=12.8&cudaVersions=12.8", 400),
    ("include=EVERYTHING&product=POD", 422),
    ("include=AVAILABILITY&product=TOASTER", 422),
    ("include=AVAILABILITY&product=POD&count=0", 422),
    ("include=AVAILABILITY&product=POD&count=two", 422),
    ("include=AVAILABILITY&product=POD&cloud=ALL", 422),
    ("include=AVAILABILITY&product=POD&countryCodes=fr", 422),
    ("include=AVAILABILITY&product=POD&cudaVersions=12", 422),
    ("include=AVAILABILITY&product=POD&minCudaVersion=x", 422),
    ("include=AVAILABILITY&product=POD,CLUSTER&minCudaVersion=12", 200),
    ("gpuTypeId=whatever&page=7", 200),
]


async def test_the_rules_of_catalogue_queries() -> None:
    async with desk() as d:
        for query, status in GPU_QUERIES:
            for path in ("/v2/catalog/gpus", f"/v2/catalog/gpus/{L40}"):
                assert (await d.http.get(f"{path}?{query}")).status_code == status, query


CENTER_QUERIES: list[tuple[str, set[str]]] = [
    ("regions=OCEANIA,ASIA", {"OC-AU-1", "AP-JP-1"}),
    ("compliance=SOC_2_TYPE_2", {"EU-RO-1", "US-KS-2"}),
    ("compliance=GDPR,SOC_2_TYPE_2", {"EU-RO-1"}),
    ("compliance=GDPR,HIPAA", set()),
    ("networkVolumeTypes=STANDARD,HIGH_PERFORMANCE", {"US-KS-2"}),
    ("regions=EUROPE&globalNetwork=false", {"EUR-IS-1", "EUR-NO-1"}),
]


async def test_filters_of_data_centres() -> None:
    async with desk() as d:
        for query, ids in CENTER_QUERIES:
            centers = (await d.http.get(f"/v2/catalog/datacenters?{query}")).json()["dataCenters"]
            assert {center["id"] for center in centers} == ids, query
        for query in ("regions=MARS", "include=ALL", "globalNetwork=maybe", "compliance=gdpr"):
            assert (await d.http.get(f"/v2/catalog/datacenters?{query}")).status_code == 422, query


async def test_data_centres_show_the_gpus_they_offer() -> None:
    async with desk() as d:
        url = "/v2/catalog/datacenters?include=GPU_AVAILABILITY,CPU_AVAILABILITY"
        centers = {row["id"]: row for row in (await d.http.get(url)).json()["dataCenters"]}
        bare = (await d.http.get("/v2/catalog/datacenters/EU-RO-1")).json()
    assert {key: bare[key] for key in bare} == golden.DATA_CENTERS["dataCenters"][0]
    offered = {row["id"]: row["availability"] for row in centers["EU-RO-1"]["gpuAvailability"]}
    assert (offered[L40S], offered[L40]) == ("LOW", "HIGH")
    assert "gpuAvailability" not in centers["OC-AU-1"]
