"""What the pages make of records before they are laid out, and what is told of time."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from factory_chassis import settings as chassis_settings
from factory_console.app import CONTROLS, HERE, _duration
from factory_console.pages import SHOWN_LINES, _all, _file, _newest, _remarks, _stay
from factory_console.settings import Settings
from factory_forge.diff import Diff, FileChange, Hunk, Line
from factory_forge.forge import LineComment, Review
from factory_jobs.job import Job
from factory_jobs.records import Artifact

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PROVED, OLD = "c" * 40, "d" * 40


def job(proved: str | None = PROVED) -> Job:
    facts = {"version": 1, "seq": 1, "project": "p", "snapshot": {}, "repo": "/r.git", "title": "Red"}
    times = {"next_attempt_at": AT, "created_at": AT, "entered_at": AT}
    return Job(id="jabcdefghij", state="planned", proved_sha=proved, **facts, **times)


def artifact(number: int, kind: str, commit: str, epoch: int = 1) -> Artifact:
    where = {"job_id": "jabcdefghij", "state": "tests_running", "key": str(number), "content_type": "x", "size": 1}
    name = f"{kind}-{number}"
    return Artifact(id=number, kind=kind, commit=commit, epoch=epoch, name=name, sha256=f"{number:064}", at=AT, **where)


def line(kind: str, number: int) -> Line:
    return Line(kind, f"text {number}", None if kind == "+" else number, None if kind == "-" else number)


def change(**more: object) -> FileChange:
    facts = {"path": "a.py", "old_path": "a.py", "status": "M", "old_mode": "100644", "new_mode": "100644"}
    return FileChange(**{**facts, **more})


@pytest.mark.parametrize(
    ("seconds", "says"), [(None, ""), (0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 0 s"), (3725.9, "62 min 5 s")]
)
def test_durations(seconds: float | None, says: str):
    """In seconds up to a minute."""
    assert _duration(seconds) == says


def test_the_film_is_that_of_the_proved_commit():
    """The newest of them; where none is proved, the newest at all."""
    found = [artifact(1, "video", PROVED), artifact(2, "video", PROVED), artifact(3, "video", OLD)]

    assert _newest(found, "video", job()) == found[1]
    assert _newest(found, "video", job(None)) == found[2]
    assert _newest([], "video", job()) is None


def test_screenshots_are_those_of_one_recording():
    """Not those of a recording before it."""
    found = [
        artifact(1, "screenshot", PROVED, 1),
        artifact(2, "screenshot", PROVED, 2),
        artifact(3, "screenshot", PROVED, 2),
    ]

    assert _all(found, "screenshot", job()) == found[1:]


def test_a_stay_has_its_length_as_long_as_it_lasts():
    """One that is over, one that goes on, one at rest."""
    log = artifact(1, "log", PROVED)
    ended = {
        "state": "planned",
        "entered": AT,
        "left": AT + timedelta(seconds=3),
        "artifacts": [{"sha256": log.sha256}],
    }

    assert _stay(ended, [log]) == ended | {"says": "Preparing a place for it", "seconds": 3.0, "artifacts": [log]}
    assert _stay(ended | {"left": None}, [])["seconds"] > 1000
    assert _stay(ended | {"state": "failed", "left": None}, [])["seconds"] is None


def test_a_remark_stands_at_its_line_of_the_commit_that_is_shown():
    """One on an older commit does not."""
    said = [LineComment(path="a.py", line=3, body="**why?**")]
    reviews = [
        Review(id=n, sha=sha, verdict="comment", body="", comments=said, author="bot")
        for n, sha in ((1, PROVED), (2, OLD))
    ]

    remarks = _remarks(reviews, Diff(base=OLD, head=PROVED, files=[], patch=""))

    assert list(remarks) == [("a.py", 3)]
    assert [(author, str(text)) for author, text in remarks["a.py", 3]] == [("bot", "<p><strong>why?</strong></p>\n")]


def test_a_long_file_shows_its_first_lines_and_says_how_many_are_missing():
    """A page that a browser can hold."""
    hunks = [Hunk(n, n, [line("+", m) for m in range(1000)]) for n in (1, 2000, 4000)]

    shown = _file(change(hunks=hunks))

    assert [len(h["lines"]) for h in shown["hunks"]] == [1000, SHOWN_LINES - 1000]
    assert shown["hidden"] == 3000 - SHOWN_LINES
    assert _file(change(hunks=hunks[:1]))["hidden"] == 0


def test_a_mode_is_told_where_it_changes():
    """A file that can be run from now on is worth a look; a new file's mode is nothing new."""
    assert _file(change(new_mode="100755"))["mode"] == "100644 → 100755"
    assert _file(change())["mode"] == ""
    assert _file(change(status="A", old_mode="000000"))["mode"] == ""
    assert [_file(change(status=s))["says"] for s in "AMDRT"] == [
        "added",
        "changed",
        "deleted",
        "renamed",
        "of another type",
    ]


def test_a_terminals_orders_are_left_out():
    """Of a log's tail."""
    assert CONTROLS.sub("", "\x1b[31mred\x1b[0m \x1b]0;title\x07x\x00\n\ty") == "red x\n\ty"


def test_pages_are_plain():
    """No script, no address of another host, no style in line: what the policy forbids is not there."""
    for template in (HERE / "templates").iterdir():
        text = template.read_text()
        assert "<script" not in text and "style=" not in text and " on" + "click" not in text, template
        assert "//" not in text.replace("// 60", ""), template
        assert "|safe" not in text, template


def test_a_port_is_a_port(tmp_path: Path):
    """Named with its variable."""
    environ = {"FACTORY_CONSOLE_PORT": "70000", "FACTORY_NODE_DIR": str(tmp_path)}
    with pytest.raises(chassis_settings.BadSettings, match="FACTORY_CONSOLE_PORT"):
        chassis_settings.read(Settings, environ)
