"""`scripts/forbidden` finds each parameter behind a trap of FastStream's, and the chassis itself has none of them."""

import importlib.util
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts/forbidden"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the member stands alone, without the workspace's scripts")

BROKER = "NatsBroker(url, ack_policy=p, graceful_timeout=5, max_reconnect_attempts=-1)"
BAD = {
    "T1 by word": ("policy = AckPolicy.REJECT_ON_ERROR", "T1"),
    "T1 by default": (BROKER.replace("ack_policy=p, ", ""), "NatsBroker without ack_policy"),
    "T2 by word": ("policy = AckPolicy.NACK_ON_ERROR", "T2"),
    "T2 by default": ("sub = PullSub(timeout=5)", "T2"),
    "T2": ("sub = PullSub(batch_size=10)", "T2"),
    "T2 by a name": ("sub = PullSub(batch_size=SIZE)", "T2"),
    "T3": ("broker.subscriber('s', max_workers=4)", "T3"),
    "T4": (BROKER.replace("graceful_timeout=5, ", ""), "NatsBroker without graceful_timeout"),
    "T8": (BROKER.replace(", max_reconnect_attempts=-1", ""), "NatsBroker without max_reconnect_attempts"),
    "T9": ("sub = PullSub(batch_size=1, batch=True)", "T9"),
    "T10": ("broker.subscriber('s', retry=True)", "T10"),
    "T11": ("s = JStream('JOBS')", "T11"),
    "T11 by value": ("s = JStream('JOBS', declare=True)", "T11"),
    "T14": ("await message.raw_message.in_progress()", "T14"),
    "T15": ("router.subscriber('s', queue='workers')", "T15"),
    "module's own name": ("faststream.nats.PullSub(batch_size=2)", "T2"),
}
GOOD = f"""
broker = {BROKER}
broker.subscriber("s", stream=JStream("JOBS", declare=False), pull_sub=PullSub(batch_size=1, timeout=5))
retry(queue=1, batch=2)  # not FastStream's
"""


@pytest.fixture(scope="module")
def forbidden() -> ModuleType:
    spec = importlib.util.spec_from_loader("forbidden", SourceFileLoader("forbidden", str(SCRIPT)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def found(forbidden: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str) -> list[str]:
    monkeypatch.setattr(forbidden, "ROOT", tmp_path)
    (tmp_path / "bad.py").write_text(f"import x\n{source}\n")
    return forbidden.faults(tmp_path / "bad.py")


@pytest.mark.parametrize("trap", BAD)
def test_each_trap_is_found(forbidden: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trap: str) -> None:
    """One fault, with its line and the reason."""
    source, says = BAD[trap]
    (fault,) = found(forbidden, monkeypatch, tmp_path, source)
    assert fault.startswith("bad.py:2: ") and says in fault


def test_what_is_right_is_left_alone(forbidden: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same words elsewhere are nobody's business."""
    assert found(forbidden, monkeypatch, tmp_path, GOOD) == []


def test_the_source_holds_none() -> None:
    """As `make check` calls it."""
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
