"""Logs: one JSON line an event, a text for people in the stage's log, nothing secret in either, and no end of memory."""

import json
import logging
import sys

import pytest
import structlog
from factory_artifacts.redact import Redactor
from factory_chassis import logs
from factory_chassis.logs import StageLog, configure, stage_log

SECRET = "correct-horse-battery"


@pytest.fixture
def stage() -> StageLog:
    return StageLog()


@pytest.fixture(autouse=True)
def put_back() -> object:
    before = logging.getLogger().handlers[:], sys.excepthook
    yield
    logging.getLogger().handlers[:], sys.excepthook = before
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def test_one_json_line_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is an object with the event, its facts, the service and the job that is bound."""
    log = configure("planner")
    with structlog.contextvars.bound_contextvars(job_id="jaaaaaaaaaa"):
        log.info("planned", criteria=3, said="two\nlines")
    log.warning("idle")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["event"], first["job_id"], first["service"]) == ("planned", "jaaaaaaaaaa", "planner")
    assert (first["level"], first["criteria"], first["said"]) == ("info", 3, "two\nlines")
    assert first["timestamp"].endswith("Z")
    assert "job_id" not in second and second["level"] == "warning"


def test_no_line_holds_a_secret(capsys: pytest.CaptureFixture[str], stage: StageLog) -> None:
    """Neither the process's log nor the stage's, be it in an event, a fact or a trace."""
    log = configure("planner", clean=Redactor([SECRET, 'quo"ted\\secret']).text)
    token = stage_log.set(stage)
    try:
        log.info(f"cloning https://ann:{SECRET}@example.org", key=SECRET, odd='quo"ted\\secret')
        try:
            raise RuntimeError(f"refused {SECRET}")
        except RuntimeError:
            log.exception("broke")
    finally:
        stage_log.reset(token)
    err = capsys.readouterr().err
    for text in (err, stage.text()):
        assert SECRET not in text and "ted" not in text.replace("started", "").replace("quoted", "")
        assert "•••" in text and "RuntimeError" in text
    assert [json.loads(line)["event"] for line in err.splitlines()][1] == "broke", "still JSON"


def test_libraries_and_last_words_lose_their_secrets_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the standard logging hands on and what nobody has caught are lines like all others, with their traces."""
    configure("intake", clean=Redactor([SECRET]).text)
    try:
        raise OSError(f"cannot connect to http://telegram/bot{SECRET}/getUpdates")
    except OSError as e:
        logging.getLogger("aiogram").warning("failed: %s", e, exc_info=True)
        sys.excepthook(type(e), e, e.__traceback__)
    monkeypatch.setattr(logging.getLogger("talkative"), "level", logging.INFO)
    logging.getLogger("talkative").info("not for us")
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["level"], line.get("logger")) for line in said] == [
        ("failed: cannot connect to http://telegram/bot•••/getUpdates", "warning", "aiogram"),
        ("it broke", "critical", None),
    ]
    assert all(SECRET not in line["exception"] and "OSError" in line["exception"] for line in said)


def test_a_stage_hears_only_itself(stage: StageLog, capsys: pytest.CaptureFixture[str]) -> None:
    """Its log gets what is said while it is set, with facts and without what every line of a process carries."""
    log = configure("planner")
    log.info("before")
    token = stage_log.set(stage)
    log.info("began", state="received", job_id="jaaaaaaaaaa")
    stage_log.reset(token)
    log.info("after")
    (line,) = stage.text().splitlines()
    assert line.endswith(" began state=received")


def test_a_trace_stands_in_the_stage_whole(stage: StageLog, capsys: pytest.CaptureFixture[str]) -> None:
    """A bug's trace is in its text, and in one line of the process's log, for people's console too."""
    for as_json in (True, False):
        log = configure("planner", json=as_json)
        token = stage_log.set(stage)
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError as e:
            log.exception("stage broke", why=repr(e))
        stage_log.reset(token)
        err = capsys.readouterr().err
        assert "ZeroDivisionError" in err and (len(err.splitlines()) == 1) is as_json
    assert stage.text().count("Traceback (most recent call last)") == 2
    assert "exc_info" not in stage.text()


@pytest.mark.parametrize("size", [1, 7, 999, 5000])
def test_a_long_stage_keeps_how_it_began_and_how_it_ended(
    stage: StageLog, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Whatever the size of the pieces, the log has its bound, says how much is missing, and the tail is the end."""
    monkeypatch.setattr(logs, "MAX_STAGE_LOG", 1000)
    pieces = [f"{n:0{size}d}"[:size] for n in range(1, 1 + 10_000 // size)]
    for piece in pieces:
        stage.write(piece)
    text = stage.text()
    assert len(text) < 1100
    assert text.startswith(pieces[0][:100]) and text.rstrip().endswith(pieces[-1][-100:])
    assert "characters were left out here" in text
    assert stage.tail(5) == text[-5:]
    assert sum(map(len, [*stage._head, *stage._tail])) <= 1000


def test_what_is_left_out_is_counted(stage: StageLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the character; a text that just fits is kept whole."""
    monkeypatch.setattr(logs, "MAX_STAGE_LOG", 20)
    stage.write("123456789")
    stage.write("abcdefghi")
    assert stage.text() == "123456789\nabcdefghi\n"
    stage.write("XYZ")
    assert stage.text() == "123456789\n\n… 4 characters were left out here …\nefghi\nXYZ\n"
