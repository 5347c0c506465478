"""What a server counts, in the form that Prometheus reads."""

from __future__ import annotations

import time
from collections.abc import Collection

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

GONE = 499  # the status, for the counters alone, where the client hung up before an answer
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """All counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        PlatformCollector(self.registry)
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "diptych_requests", "Answers of the API, by path and status.", ["path", "status"],
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "diptych_request_seconds", "From a request's first byte to its answer's last.",
            ["path"], buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.pictures = Counter(
            "diptych_pictures", "Pictures translated.", ["model", "to"], registry=self.registry
        )
        self.waiting = Gauge(
            "diptych_waiting", "Pictures that are decoded, wait for the network, or are in it.",
            registry=self.registry,
        )  # fmt: skip
        self.batch = Histogram(
            "diptych_batch_pictures", "Pictures that went through the network together.",
            buckets=(1, 2, 4, 8, 16, 32, 64), registry=self.registry,
        )  # fmt: skip
        self.network = Histogram(
            "diptych_network_seconds", "Time of a batch in the network.", buckets=SECONDS,
            registry=self.registry,
        )  # fmt: skip

    def text(self) -> bytes:
        """All of it, as ``/metrics`` shows it."""
        return generate_latest(self.registry)


class Measured:
    """Counts and times what passes; paths of the page count as one."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Collection[str]) -> None:
        self.app = app
        self.metrics = metrics
        self.paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self.paths else "page"
        started, status = time.perf_counter(), GONE

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        finally:
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - started)
