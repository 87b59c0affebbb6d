"""`/metrics`: Prometheus can read it, and docs/metrics.md says what is in it."""

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from factory_chassis import metrics
from factory_chassis.health import Health
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

PAGE = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(factory_\w+)` \| (\w+) \|([^|]*)\| (.+) \|$", re.M)


@pytest.fixture
def health() -> Iterator[Health]:
    health = Health("planner", 0)
    yield health
    health.close()


def scraped(port: int) -> dict[str, Metric]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return {family.name: family for family in text_string_to_metric_families(answer.read().decode())}


def test_it_says_what_health_knows(health: Health) -> None:
    """The loop's lag and each check, and what the process costs; also where the service is not well (503 in /health)."""
    health.set("postgres", True)
    health.set("nats", False)
    found = scraped(health.port)
    checks = {s.labels["check"]: s.value for s in found["factory_check_ok"].samples}
    assert (checks["postgres"], checks["nats"]) == (1, 0)
    assert 0 <= found["factory_loop_lag_seconds"].samples[0].value < 5
    assert found["process_resident_memory_bytes"].samples[0].value > 1 << 20
    assert found["process_cpu_seconds"].samples[0].value > 0


def test_the_page_names_every_metric_and_no_other() -> None:
    """Name, type and labels; a counter by the name under which it is asked for."""
    there = set()
    for metric in metrics.REGISTRY._collector_to_names:
        labels = ", ".join(f"`{name}`" for name in getattr(metric, "_labelnames", ()))
        for family in metric.collect():
            if family.name.startswith("factory_"):
                name = family.name + "_total" * (family.type == "counter")
                there.add((name, family.type, labels))
    assert there == {(name, kind, of.strip()) for name, kind, of, _ in ROW.findall(PAGE.read_text())}


def test_no_label_can_hold_a_job() -> None:
    """Series for each job would grow for ever."""
    names = {name for metric in metrics.REGISTRY._collector_to_names for name in getattr(metric, "_labelnames", ())}
    assert names == {"check", "state", "event", "result", "kind", "problem", "what"}
