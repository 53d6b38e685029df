"""What is counted, for Prometheus, and the app that serves it.

Rules of this file: no value that an agent controls becomes a label. Labels come from our own closed sets (outcome,
code, transport) or from names that operators or the code define, and those are capped: what is over the cap is
counted under "other", so that nobody can grow our memory or the operator's database.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from typing import Any, Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from kalguard_core.codes import ErrorCode, Outcome

from .http_server import ASGIApp, Receive, Send

# A decision takes about 0.2 ms, Envoy waits 200 ms, a body may take 10 s.
BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 10)
MAX_ROUTES: Final = 64
MAX_CATEGORIES: Final = 64
_TRANSPORTS: Final = frozenset({"grpc", "http"})
_OUTCOMES: Final = frozenset(outcome.value for outcome in Outcome)
_CODES: Final = frozenset({"", *(code.value for code in ErrorCode)})
_OTHER: Final = "other"


class Metrics:
    """All metrics of one process. Hand in a registry to join others; by default it has one of its own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._decisions = Counter(
            "kalguard_decisions",
            "Answers given.",
            ("transport", "route", "outcome", "code"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "kalguard_decision_seconds",
            "Time from a request to its answer, audit included.",
            ("transport",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.audit_events = Counter("kalguard_audit_events", "Audit events recorded.", registry=self.registry)
        self.audit_unrecorded = Counter(
            "kalguard_audit_unrecorded",
            "Audit events that the sink did not take; their requests were denied.",
            registry=self.registry,
        )
        self._audit_up = Gauge("kalguard_audit_up", "1 while the audit sink takes events.", registry=self.registry)
        self._in_flight_calls = Gauge("kalguard_in_flight_calls", "Requests being decided.", registry=self.registry)
        self._in_flight_bytes = Gauge(
            "kalguard_in_flight_bytes", "Body bytes held for requests being decided.", registry=self.registry
        )
        self._findings = Counter(
            "kalguard_firewall_findings",
            "Actions in whose text the firewall found something, by category; an action counts once in each.",
            ("category", "outcome"),
            registry=self.registry,
        )
        self._reloads = Counter(
            "kalguard_reloads",
            "Reloads of operator documents.",
            ("document", "result"),
            registry=self.registry,
        )
        self._document_info = Gauge(
            "kalguard_document_info",
            "1 for the version in use of each operator document.",
            ("document", "version"),
            registry=self.registry,
        )
        self._document_degraded = Gauge(
            "kalguard_document_degraded",
            "1 while the last read of a document failed and an older version is in use.",
            ("document",),
            registry=self.registry,
        )
        self._build_info = Gauge(
            "kalguard_build_info", "1 for the running version.", ("version",), registry=self.registry
        )
        self._versions: dict[str, str] = {}
        self._routes: set[str] = {""}
        self._categories: set[str] = set()
        # children of the hot path: `labels()` takes a lock and hashes strings, a dict get does not
        self._decision_children: dict[tuple[str, str, str, str], Counter] = {}
        self._seconds_children = {
            transport: self._seconds.labels(transport) for transport in sorted({*_TRANSPORTS, _OTHER})
        }

    def observe(self, transport: str, route: str, outcome: str, code: str, seconds: float) -> None:
        """Count one answer. `code` is "" for an allow; `route` is `Decision.route`."""
        key = (transport, route, outcome, code)
        child = self._decision_children.get(key)
        if child is None:
            child = self._decision_child(key)
        child.inc()
        self._seconds_children.get(transport, self._seconds_children[_OTHER]).observe(seconds)

    def found(self, categories: Sequence[str], outcome: str) -> None:
        """Count what the firewall found in the text of one action."""
        for category in categories:
            if category not in self._categories:
                if len(self._categories) >= MAX_CATEGORIES:
                    category = _OTHER  # operators name categories; there need not be few of them
                else:
                    self._categories.add(category)
            self._findings.labels(category, outcome if outcome in _OUTCOMES else _OTHER).inc()

    def audit_up(self, up: bool) -> None:
        """Say whether the audit sink takes events."""
        self._audit_up.set(1 if up else 0)

    def in_flight(self, calls: Callable[[], float], held_bytes: Callable[[], float]) -> None:
        """Where to read the load from when somebody scrapes."""
        self._in_flight_calls.set_function(calls)
        self._in_flight_bytes.set_function(held_bytes)

    def reloaded(self, document: str, result: Literal["ok", "unchanged", "failed"]) -> None:
        """Count a reload of `document` (policy, tools, …)."""
        self._reloads.labels(document, result).inc()

    def document(self, document: str, version: str, *, degraded: bool) -> None:
        """Say which version of `document` is in use, and whether a newer one could not be read."""
        before = self._versions.get(document)
        if before is not None and before != version:
            self._document_info.remove(document, before)
        self._versions[document] = version
        self._document_info.labels(document, version).set(1)
        self._document_degraded.labels(document).set(1 if degraded else 0)

    def build(self, version: str) -> None:
        """Say which version is running."""
        self._build_info.labels(version).set(1)

    def expose(self) -> bytes:
        """All metrics in Prometheus' text format 0.0.4."""
        return generate_latest(self.registry)

    def _decision_child(self, key: tuple[str, str, str, str]) -> Counter:
        transport, route, outcome, code = key
        if route not in self._routes:
            if len(self._routes) > MAX_ROUTES:
                route = _OTHER
            else:
                self._routes.add(route)
        labels = (
            transport if transport in _TRANSPORTS else _OTHER,
            route or "none",
            outcome if outcome in _OUTCOMES else _OTHER,
            code if code in _CODES else _OTHER,
        )
        child = self._decisions.labels(*labels)
        # only keys that are their own labels are kept, so that this cache is capped like the labels are
        if (transport, route, outcome, code) == key and _OTHER not in labels:
            self._decision_children[key] = child
        return child


def create_metrics_app(metrics: Metrics) -> ASGIApp:
    """An ASGI app that answers `GET /metrics`, and nothing else."""

    async def app(scope: MutableMapping[str, Any], _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, body = 200, b""
        if scope["path"] != "/metrics":
            status, body = 404, b"not found; try /metrics\n"
        elif scope["method"] not in ("GET", "HEAD"):
            status, body = 405, b"use GET\n"
        else:
            body = metrics.expose()
        headers = [
            (b"content-type", CONTENT_TYPE_PLAIN_0_0_4.encode() if status == 200 else b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app
