"""The generated page and the check lists: that they say what the machine does, and that a difference is named."""

from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pytest
from factory_jobs import events as ev
from factory_jobs import generate, machine
from factory_jobs.errors import Failure
from factory_jobs.machine import Illegal, State, decide

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 1, 2, tzinfo=UTC)
SCHEMA = files("factory_jobs").joinpath("sql/schema.sql").read_text()
REPO = Failure(blame="repo", code="setup_failed", message="exit 1")
EVENTS: list[ev.Event] = [
    ev.Done(), ev.FellBack(feedback=""), ev.Faulted(failure=REPO), ev.GaveUp(failure=REPO), ev.Asked(ask="budget", asks="?"),
    ev.HandedBack(), ev.SandboxLost(reason=""), ev.Noted(), ev.FollowUp(by="", text=""), ev.Cancel(by=""), ev.Merged(),
    ev.Closed(), ev.Reopened(head="first"), ev.Reopened(head="theirs"), ev.PersonPushed(head="theirs"), ev.Retry(by=""),
    ev.LeaseExpired(), ev.DeadlinePassed(), ev.Reminded(), ev.Unanswered(), ev.PreviewOver(),
]  # fmt: skip


def test_the_page_is_the_one_in_the_repository() -> None:
    """`docs/job-states.md` is what the table says now."""
    assert (ROOT / generate.TARGET).read_text() == generate.page(), "run python -m factory_jobs.generate"


def test_every_state_has_its_row_and_every_errand_its() -> None:
    """Nothing of the table is missing from the page."""
    rows = [line for line in generate.page().splitlines() if line.startswith("| `")]
    for name in (*State, *machine.ERRAND_OWNER):
        assert any(row.startswith(f"| `{name}` |") for row in rows), name


def test_no_arrow_of_the_machine_is_missing_from_the_page() -> None:
    """Whatever an event does to a job, in its first request or in a follow-up, stands among the ways."""
    drawn = {(s, p.to) for s, p in machine.PHASES.items()} | {(s, p.back) for s, p in machine.PHASES.items()}
    for cases in generate.CASES.values():
        for case in cases:
            found = set(generate.arrows(case))
            assert found, f"nothing comes of it: {case.says}"
            drawn |= found
    for state in State:
        for later in (False, True):
            for event in EVENTS:
                try:
                    move = decide(generate.example(state, later=later), event, NOW)
                except Illegal:
                    continue
                if move and move.to is not state:
                    assert (state, move.to) in drawn, event.kind


def test_labels_are_such_that_mermaid_draws_them() -> None:
    """A colon or a semicolon would end a label."""
    assert not [c.says for cases in generate.CASES.values() for c in cases if set(c.says) & set(":;")]


def test_spans() -> None:
    """Three states in a row and more are written as a span, fewer by name."""
    line = list(State)
    assert generate._span(line[:3]) == "received … worktree_created"
    assert generate._span([line[0], line[1], line[4]]) == "received, planned, dev_environment_starting"
    assert generate._span([*line[:4], line[15]]) == "received … sandbox_created, cancelled"


def test_the_check_lists_are_those_of_the_code() -> None:
    """States, kinds of events and errands of `schema.sql`."""
    assert generate.wrong_lists(SCHEMA) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("'planned', 'worktree", "'worktree", ["schema.sql: jobs.state lacks 'planned'"]),
        (
            "'failed', 'cancelled')),",
            "'failed', 'cancelled', 'lost')),",
            ["schema.sql: jobs.state knows 'lost', the code does not"],
        ),
        ("'noted', ", "", ["schema.sql: job_events.kind lacks 'noted'"]),
        (
            "'close_pr', 'reset",
            "'close', 'reset",
            ["schema.sql: errands.kind lacks 'close_pr'", "schema.sql: errands.kind knows 'close', the code does not"],
        ),
    ],
)
def test_a_list_that_differs_is_named(old: str, new: str, says: list[str]) -> None:
    """On both sides: what is missing and what is too much."""
    assert SCHEMA.count(old) == 1
    assert generate.wrong_lists(SCHEMA.replace(old, new)) == says


def test_a_list_that_is_not_found_is_no_agreement() -> None:
    """A check that was renamed or removed is named state by state."""
    assert len(generate.wrong_lists(SCHEMA.replace("CREATE TABLE jobs", "CREATE TABLE jobz"))) == len(State)


def test_check_names_what_differs_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1 until the page is written; then exit 0 and no word."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    assert generate.main(["--check"]) == 1
    assert "docs/job-states.md is not what the code says" in capsys.readouterr().err
    assert not generate.TARGET.exists()
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    assert capsys.readouterr() == ("", "")
    generate.TARGET.write_text(generate.TARGET.read_text().replace("| builder |", "| somebody |", 1))
    assert generate.main(["--check"]) == 1
    said = capsys.readouterr().err
    assert "-| `dev_environment_ready` | somebody |" in said
    assert "+| `dev_environment_ready` | builder |" in said
    assert "somebody" in generate.TARGET.read_text()


def test_the_wrong_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside of the repository it says where to run it, and makes nothing."""
    monkeypatch.chdir(tmp_path)
    assert generate.main([]) == 2
    assert "root of the repository" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
