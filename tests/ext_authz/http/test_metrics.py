"""What is counted, and that agents can't make it grow."""

from __future__ import annotations

import timeit

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from http_support import serving
from kalguard_ext_authz.metrics import MAX_ROUTES, Metrics, create_metrics_app


def samples(metrics: Metrics, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """The value of each series called `name`, by its labels."""
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.expose().decode())
        for sample in family.samples
        if sample.name == name
    }


def test_a_decision_is_counted_by_what_it_was() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.observe("grpc", "openai.chat", "allow", "", 0.0003)
    metrics.observe("http", "api.tool", "deny", "TOOL_DENIED", 0.2)
    counted = samples(metrics, "kalguard_decisions_total")
    assert counted == {
        (("code", ""), ("outcome", "allow"), ("route", "openai.chat"), ("transport", "grpc")): 3,
        (("code", "TOOL_DENIED"), ("outcome", "deny"), ("route", "api.tool"), ("transport", "http")): 1,
    }
    assert samples(metrics, "kalguard_decision_seconds_count")[(("transport", "grpc"),)] == 3
    assert samples(metrics, "kalguard_decision_seconds_sum")[(("transport", "http"),)] == pytest.approx(0.2)


def test_no_flood_of_names_makes_more_than_a_bounded_number_of_series() -> None:
    metrics = Metrics()
    for number in range(5000):
        metrics.observe("grpc", f"route-{number}", "allow", "", 0.001)
        metrics.observe(f"transport-{number}", "http", f"outcome-{number}", f"CODE-{number}", 0.001)
    counted = samples(metrics, "kalguard_decisions_total")
    assert len(counted) <= MAX_ROUTES + 3
    assert sum(counted.values()) == 10_000
    assert len(metrics._decision_children) <= MAX_ROUTES + 3
    assert len(samples(metrics, "kalguard_decision_seconds_count")) == 3


def test_a_request_without_a_route_is_counted_as_such() -> None:
    metrics = Metrics()
    metrics.observe("http", "", "deny", "AUTH_FAILED", 0.001)
    metrics.observe("http", "", "deny", "AUTH_FAILED", 0.001)
    ((labels, value),) = samples(metrics, "kalguard_decisions_total").items()
    assert dict(labels)["route"] == "none"
    assert value == 2


def test_a_new_version_of_a_document_replaces_the_old_one() -> None:
    metrics = Metrics()
    metrics.document("policy", "v1", degraded=False)
    metrics.document("policy", "v2", degraded=True)
    metrics.document("tools", "t1", degraded=False)
    assert samples(metrics, "kalguard_document_info") == {
        (("document", "policy"), ("version", "v2")): 1,
        (("document", "tools"), ("version", "t1")): 1,
    }
    assert samples(metrics, "kalguard_document_degraded")[(("document", "policy"),)] == 1
    metrics.reloaded("policy", "failed")
    assert samples(metrics, "kalguard_reloads_total") == {(("document", "policy"), ("result", "failed")): 1}


def test_audit_load_and_build_are_shown() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.audit_events.inc(2)
    metrics.audit_unrecorded.inc()
    metrics.audit_up(True)
    metrics.in_flight(lambda: 7, lambda: 4096)
    metrics.build("1.2.3")
    text = metrics.expose().decode()
    for line in (
        "kalguard_audit_events_total 2.0",
        "kalguard_audit_unrecorded_total 1.0",
        "kalguard_audit_up 1.0",
        "kalguard_in_flight_calls 7.0",
        "kalguard_in_flight_bytes 4096.0",
        'kalguard_build_info{version="1.2.3"} 1.0',
    ):
        assert line in text


def test_counting_a_decision_costs_microseconds() -> None:
    metrics = Metrics()
    metrics.observe("grpc", "openai.chat", "allow", "", 0.0003)
    best = min(
        timeit.repeat(lambda: metrics.observe("grpc", "openai.chat", "allow", "", 0.0003), number=2000, repeat=5)
    )
    assert best / 2000 < 20e-6  # about 2 µs; the margin is for busy machines


async def test_metrics_are_served_at_one_path_only() -> None:
    metrics = Metrics()
    metrics.build("1")
    async with serving(create_metrics_app(metrics)) as server, httpx.AsyncClient(verify=False) as http:
        address = f"http://127.0.0.1:{server.port}"
        response = await http.get(f"{address}/metrics")
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "kalguard_build_info" in response.text
        assert (await http.head(f"{address}/metrics")).status_code == 200
        assert (await http.post(f"{address}/metrics")).status_code == 405
        for path in ("/", "/config", "/metrics/", "/reload"):
            assert (await http.get(f"{address}{path}")).status_code == 404


def test_what_the_firewall_finds_is_counted_by_category_and_the_categories_are_capped() -> None:
    metrics = Metrics()
    metrics.found(("leak", "content"), "deny")
    metrics.found(("leak",), "deny")
    for number in range(200):
        metrics.found((f"own-{number}",), "allow")
    counted = samples(metrics, "kalguard_firewall_findings_total")
    assert counted[(("category", "leak"), ("outcome", "deny"))] == 2
    assert counted[(("category", "content"), ("outcome", "deny"))] == 1
    assert counted[(("category", "other"), ("outcome", "allow"))] == 200 - 62
