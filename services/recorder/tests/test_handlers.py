"""What recorder makes of an agent's scenarios, and of an app that is down, before any browser starts."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from factory_artifacts.redact import Redactor
from factory_browser.scenarios import load
from factory_chassis.plan import Criterion, Plan
from factory_jobs.errors import FactoryError
from factory_recorder import feedback
from factory_recorder.handlers import SCENARIOS, Handlers, _names
from factory_recorder.settings import Settings
from factory_sandbox.client import ExecResult
from factory_sandbox.errors import Refused, SandboxLost

SECRET = "correct-horse-battery"
PLAN = Plan(
    title="x",
    problem="x",
    scope="x",
    criteria=[Criterion(id="c1", text="A box."), Criterion(id="c2", text="A badge.")],
)
GOOD = """\
scenarios:
  - name: Ada sees both
    criteria: [c1, c2]
    steps:
      - goto: /
      - expect: {text: Urgent}
"""


class Inside:
    """A sandbox whose files and whose `factory status` are given."""

    def __init__(self, files: dict[str, bytes | Exception], status: tuple[int, Any] = (0, {})) -> None:
        self.files, self.status = files, status

    async def read(self, path: str, *, max_bytes: int = 1 << 24) -> bytes:
        found = self.files.get(path, Refused(f"there is no file {path}", code="no-such-file"))
        if isinstance(found, Exception):
            raise found
        return found[:max_bytes]

    async def exec(self, argv: list[str], **_: Any) -> ExecResult:
        assert argv == ["factory", "status", "--json"]
        code, said = self.status
        return ExecResult(code, json.dumps(said).encode(), b"", False, 0.1, False)


class KeptWork:
    """What is used of `Work`: evidence, in memory."""

    def __init__(self, *kept: str) -> None:
        self.job = SimpleNamespace(id="jabcdefghij", work_sha="b" * 40)
        self.records = self
        self.evidence = [SimpleNamespace(kind="scenarios", data={"text": text}) for text in kept]
        self.added: list[tuple[str, bool, Any]] = []
        self.redactor = Redactor([SECRET])

    async def all_evidence(self, job_id: str) -> list[SimpleNamespace]:
        return self.evidence

    async def add_evidence(self, job: Any, commit: str, kind: str, ok: bool, data: Any) -> None:
        assert commit == self.job.work_sha
        self.added.append((kind, ok, data))


@pytest.fixture
def handlers() -> Handlers:
    return Handlers(Settings())


async def scenarios(handlers: Handlers, work: KeptWork, **files: Any) -> tuple[str, str | None]:
    given = {SCENARIOS: files["given"]} if "given" in files else {}
    return await handlers._scenarios(work, Inside(given), PLAN)  # type: ignore[arg-type]


async def test_good_scenarios(handlers: Handlers) -> None:
    """Are used, and kept by commit."""
    work = KeptWork()
    text, fault = await scenarios(handlers, work, given=GOOD.encode())
    assert (text, fault) == (GOOD, None)
    assert work.added == [("scenarios", True, {"text": GOOD})]


async def test_no_scenarios(handlers: Handlers) -> None:
    """The agent is told where they belong and for what."""
    work = KeptWork()
    _, fault = await scenarios(handlers, work)
    assert fault is not None
    for needed in (SCENARIOS, "c1: A box.", "c2: A badge.", "expect"):
        assert needed in fault
    assert work.added == []


async def test_those_of_the_last_proof(handlers: Handlers) -> None:
    """On a fresh place, or a person's push, the newest that were used before are used again."""
    work = KeptWork("scenarios: []", GOOD)
    assert await scenarios(handlers, work) == (GOOD, None)


async def test_those_of_the_last_proof_do_not_hold_for_new_criteria(handlers: Handlers) -> None:
    """What was kept is judged like what was written now."""
    _, fault = await scenarios(handlers, KeptWork(GOOD.replace("[c1, c2]", "[c1]")))
    assert fault is not None
    assert "c2: A badge." in fault
    assert "c1" not in fault


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"scenarios: [", "cannot be used"),
        (b"\xff\xfe", "cannot be read"),
        (b"scenarios:\n  - name: x\n    criteria: [c1]\n    steps: [{jump: high}]\n", "jump"),
        (GOOD.replace("[c1, c2]", "[c2]").encode(), "c1: A box."),
        (GOOD.replace("expect", "goto").replace("{text: Urgent}", "/x").encode(), "c1: A box."),
        (GOOD.encode() + b"# " + b"x" * 70_000, "cannot be used"),
        (Refused("the path is a link", code="link"), "the path is a link"),
    ],
)
async def test_bad_scenarios(handlers: Handlers, given: bytes | Exception, said: str) -> None:
    """Broken, in no encoding, of unknown steps, for other criteria, without an expect, too long, or no file at all."""
    work = KeptWork()
    _, fault = await scenarios(handlers, work, given=given)
    assert fault is not None
    assert said in fault
    assert work.added == []


async def test_a_lost_sandbox_is_no_missing_file(handlers: Handlers) -> None:
    """The job is placed anew; the agent is not blamed."""
    with pytest.raises(SandboxLost):
        await scenarios(handlers, KeptWork(GOOD), given=SandboxLost("gone"))


ERROR = {"message": "web has exited with 1", "log_tail": ["Traceback", "boom"]}


@pytest.mark.parametrize("code", ["service_exited", "not_ready", "unhealthy", "port_unused"])
async def test_an_app_that_the_change_has_brought_down(handlers: Handlers, code: str) -> None:
    """Goes back to the agent with the log."""
    said = await handlers._down(KeptWork(), Inside({}, (3, {"error": {"code": code, **ERROR}})))  # type: ignore[arg-type]
    assert said is not None
    assert "web has exited with 1" in said
    assert "Traceback\nboom" in said


async def test_no_half_of_a_secret_is_told(handlers: Handlers) -> None:
    """It is taken out before the log is cut."""
    error = {"code": "not_ready", "message": "x", "log_tail": SECRET + "y" * (feedback.TAIL - 5)}
    said = await handlers._down(KeptWork(), Inside({}, (3, {"error": error})))  # type: ignore[arg-type]
    assert said is not None
    assert "y" in said
    assert SECRET[-5:] not in said


@pytest.mark.parametrize("code", ["foreign_listener", "supervisor_gone", "rebooted"])
async def test_what_no_change_brings_about(handlers: Handlers, code: str) -> None:
    """Is ours: the state is tried again and no round is spent."""
    with pytest.raises(FactoryError, match="web has exited") as e:
        await handlers._down(KeptWork(), Inside({}, (3, {"error": {"code": code, **ERROR}})))  # type: ignore[arg-type]
    assert e.value.code == "app_not_ready"


async def test_an_app_that_runs(handlers: Handlers) -> None:
    """Is filmed."""
    assert await handlers._down(KeptWork(), Inside({})) is None  # type: ignore[arg-type]


UPLOAD = GOOD.replace(
    "- goto: /",
    "- goto: /\n      - upload: {label: File, path: data/a.txt}\n      - upload: {label: File, path: b.txt}",
)


async def test_files_that_scenarios_upload(handlers: Handlers, tmp_path: Any) -> None:
    """Come out of the sandbox under their own paths; one that is not there is left to fail its step."""
    inside = Inside({"data/a.txt": b"a"})
    found = await handlers._files(inside, load(UPLOAD, SCENARIOS), tmp_path / "files")  # type: ignore[arg-type]
    assert [(str(p.relative_to(found)), p.read_bytes()) for p in found.rglob("*") if p.is_file()] == [
        ("data/a.txt", b"a")
    ]


def test_host_names() -> None:
    """Each service under the job's own name; a job without a sandbox has none."""
    urls = [{"service": "web"}, {"service": "api"}]
    job: Any = SimpleNamespace(id="jabcdefghij", sandbox=SimpleNamespace(urls=urls), at=datetime.now(UTC))
    assert _names(job) == ["web.jabcdefghij.localhost", "api.jabcdefghij.localhost"]
    assert _names(SimpleNamespace(id="j", sandbox=None)) == []  # type: ignore[arg-type]
