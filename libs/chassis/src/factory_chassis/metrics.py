"""What a process counts and measures of itself, for `GET /metrics` in Prometheus' text format.

No label holds a job's id or any other text of people: the number of series stays what the tables of `factory_jobs` say.
docs/metrics.md explains each of them; a test compares.
https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
REGISTRY = CollectorRegistry()
ProcessCollector(
    registry=REGISTRY
)  # process_*: CPU seconds, memory, files, start, as every Prometheus client names them

STAYS = (0.01, 0.1, 1, 5, 15, 60, 300, 900, 1800, 3600)  # seconds; an agent's round may take an hour

LOOP_LAG = Gauge("factory_loop_lag_seconds", "Seconds since the event loop last beat.", registry=REGISTRY)
CHECK = Gauge("factory_check_ok", "1 where what the service depends on answers.", ["check"], registry=REGISTRY)

WORKING = Gauge("factory_jobs_working", "Jobs that this process works on now.", ["state"], registry=REGISTRY)
CLAIMS = Counter("factory_claims", "Hints that were heard, by what the claim gave.", ["result"], registry=REGISTRY)
OUTCOMES = Counter("factory_outcomes", "How work on a state ended.", ["state", "event"], registry=REGISTRY)
STATE_SECONDS = Histogram(
    "factory_state_seconds",
    "From the begin of a state's work to its written end.",
    ["state"],
    buckets=STAYS,
    registry=REGISTRY,
)
AGENT_ROUNDS = Counter("factory_agent_rounds", "Turns of agents, by what was wrong.", ["problem"], registry=REGISTRY)
ERRANDS = Counter("factory_errands", "Errands that were begun, by their end.", ["kind", "result"], registry=REGISTRY)

HINTS = Counter("factory_hints", "Hints to publish, of jobs and errands.", ["kind", "result"], registry=REGISTRY)
BAD_MESSAGES = Counter("factory_bad_messages", "Messages that were none of ours.", registry=REGISTRY)
RENEWALS = Counter("factory_renewals", "Leases of this process, renewed or not.", ["result"], registry=REGISTRY)
SWEEPS = Counter("factory_sweeps", "Looks for what is due.", ["what", "result"], registry=REGISTRY)
SWEPT = Counter("factory_swept", "Moves that this process wrote for the time.", ["event"], registry=REGISTRY)

QUEUE_JOBS = Gauge("factory_queue_jobs", "Jobs that are due and that nobody holds.", ["state"], registry=REGISTRY)
QUEUE_OLDEST = Gauge("factory_queue_oldest_seconds", "For how long the oldest is due.", ["state"], registry=REGISTRY)


def text(lag: float, checks: Mapping[str, bool]) -> bytes:
    """All of it, with what health knows now."""
    LOOP_LAG.set(lag)
    for check, ok in checks.items():
        CHECK.labels(check).set(ok)
    return generate_latest(REGISTRY)
