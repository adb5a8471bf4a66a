"""What Prometheus may read at /metrics: counts and times, no text and no path."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from mtplx_tui.server.exchange import Exchange

__all__ = ["Metrics"]

_TIMES = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_SPEEDS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


class Metrics:
    """The server's own figures.

    Args:
        live: tells how many requests run or wait.
        waiting: tells how many wait.
    """

    def __init__(self, live: Callable[[], int], waiting: Callable[[], int]) -> None:
        disable_created_metrics()
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "mtplx_requests",
            "Requests that ended, by API and how.",
            ["api", "phase"],
            registry=self._registry,
        )
        self._tokens = Counter(
            "mtplx_tokens",
            "Tokens, by kind: prompt, cached (of the prompt), completion, reasoning (of that).",
            ["kind"],
            registry=self._registry,
        )
        self._cycles = Counter("mtplx_cycles", "Cycles that ran.", registry=self._registry)
        self._reached = Counter(
            "mtplx_drafts_judged", "Drafts judged, by depth.", ["depth"], registry=self._registry
        )
        self._accepted = Counter(
            "mtplx_drafts_accepted",
            "Drafts accepted, by depth.",
            ["depth"],
            registry=self._registry,
        )
        self._first = Histogram(
            "mtplx_first_token_seconds",
            "From the request's start in the engine to its first token.",
            buckets=_TIMES,
            registry=self._registry,
        )
        self._speed = Histogram(
            "mtplx_tokens_per_second",
            "Tokens a second of a request's cycles.",
            buckets=_SPEEDS,
            registry=self._registry,
        )
        self._deaths = Counter(
            "mtplx_engine_deaths", "Times the engine process ended.", registry=self._registry
        )
        running = Gauge("mtplx_live", "Requests that run or wait.", registry=self._registry)
        running.set_function(live)
        queued = Gauge("mtplx_waiting", "Requests that wait.", registry=self._registry)
        queued.set_function(waiting)

    def ended(self, exchange: Exchange) -> None:
        """Count a request that ended."""
        told, usage = exchange.served(), exchange.usage()
        self._requests.labels(told.api, told.phase.value).inc()
        for kind in ("prompt", "cached", "completion", "reasoning"):
            self._tokens.labels(kind).inc(getattr(usage, kind))
        for choice in exchange.choices:
            view = choice.view
            self._cycles.inc(len(view.cycles))
            for depth, count in enumerate(view.reached_at, 1):
                if count:
                    self._reached.labels(depth).inc(count)
                    self._accepted.labels(depth).inc(view.accepted_at[depth - 1])
        if told.first_token_s is not None:
            self._first.observe(told.first_token_s)
        if told.tokens_per_s is not None:
            self._speed.observe(told.tokens_per_s)

    def engine_died(self) -> None:
        """Count the end of an engine process."""
        self._deaths.inc()

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self._registry)
