"""The desk's readings that need no jobs: thanks, typed answers, titles; who may what. The rest meets a real store in
tests/integration/test_intake.py."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from factory_chassis import settings as chassis_settings
from factory_chassis.projects import Projects
from factory_intake.allowlist import Refusal, allowed, may_decide
from factory_intake.app import build_app
from factory_intake.desk import _option, _thanks, title_of
from factory_intake.settings import Settings
from factory_jobs.job import Job, Waiting

AT = datetime(2026, 3, 1, tzinfo=UTC)
PROJECTS = Projects.model_validate(
    {
        "projects": {
            "pilot": {"chats": [-1, -2], "users": {1001: "owner", 1002: "member"}, "repo": "/r.git"},
            "other": {"chats": [-3], "users": {1003: "member"}, "repo": "/o.git"},
        }
    }
)


@pytest.mark.parametrize(
    ("chat", "user", "found"),
    [(-1, 1001, "pilot"), (-2, 1002, "pilot"), (-3, 1003, "other"), (-3, 1001, Refusal.USER), (-4, 1001, Refusal.CHAT)],
)
def test_a_chat_and_a_user_are_allowed_together(chat: int, user: int, found: str | Refusal):
    """An owner of one project is nobody in another."""
    answer = allowed(PROJECTS, chat, user)
    assert (answer if isinstance(answer, Refusal) else answer[0]) == found


@pytest.mark.parametrize(
    ("user", "author", "may"), [(1001, False, True), (1002, False, False), (1002, True, True), (1003, False, False)]
)
def test_authors_and_owners_decide(user: int, author: bool, may: bool):
    """A member on his own job, an owner on every one."""
    assert may_decide(PROJECTS.projects["pilot"], user, author) is may


@pytest.mark.parametrize(
    "text",
    ["thanks", "Thanks!", "thank you so much!!", "Thank you very much.", "great job 🎉", "👍", "❤️", "🎉🎉", "OK", "ok.",
     "Danke", "LGTM", "looks good to me!", "perfect", "…", "nice work!"],
)  # fmt: skip
def test_applause_is_no_request(text: str):
    """Few words and no wish in them."""
    assert _thanks(text)


@pytest.mark.parametrize(
    "text",
    ["thanks, now make it blue", "great, but the badge is missing", "ok go blue", "make it nice", "no thanks",
     "cool down the fan page", "perfect the layout", "grüße", "👍 but blue", "nicer"],
)  # fmt: skip
def test_a_wish_with_a_kind_word_is_a_wish(text: str):
    """What goes beyond applause is worked on; its button takes it back."""
    assert not _thanks(text)


@pytest.mark.parametrize(
    "text", ["ok" + "!" * 19_000 + "x", "!" * 20_000, "thanks " * 2_800, "ok" + " " * 19_000 + "."]
)
def test_long_texts_are_judged_in_no_time(text: str):
    """No pattern runs over them."""
    began = time.monotonic()
    _thanks(text)
    assert time.monotonic() - began < 1


def job(options: list[list[str]]) -> Job:
    times = {"next_attempt_at": AT, "created_at": AT, "entered_at": AT}
    facts = {"version": 1, "seq": 1, "project": "pilot", "snapshot": {}, "repo": "/r.git", "title": "Red"}
    asks = Waiting(kind="gate:plan", asks="Shall it?", since=AT, options=options)
    return Job(id="jabcdefghij", state="planned", waiting=asks, **facts, **times)


GATE = [["approve", "Go on"], ["reject", "Stop"]]
PUSH = [["mine", "Mine on top"], ["theirs", "Theirs"]]
BUDGET = [["more", "More"], ["stop", "Stop"], ["no-agent", "No more agent turns"]]


@pytest.mark.parametrize(
    ("options", "text", "answer"),
    [
        (GATE, "yes", "approve"),
        (GATE, "Go on!", "approve"),
        (GATE, " OK. ", "approve"),
        (GATE, "approve", "approve"),
        (GATE, "no", "reject"),
        (GATE, "Stop", "reject"),
        (GATE, "yes, but blue", None),
        (GATE, "", None),
        (PUSH, "mine on top", "mine"),
        (PUSH, "theirs", "theirs"),
        (PUSH, "yes", None),
        (BUDGET, "more", "more"),
        (BUDGET, "no", "stop"),
        (BUDGET, "no more agent turns", "no-agent"),
    ],
)
def test_a_typed_answer_is_one_of_the_options(options: list[list[str]], text: str, answer: str | None):
    """By its label, its name, or a plain yes or no where that can be meant; anything else is a message."""
    assert _option(job(options), text) == answer


def test_a_title_is_the_first_line():
    """Cut at a word, within 72 characters."""
    assert title_of("Make it red:\n- all of it") == "Make it red"
    long = title_of("word " * 40)
    assert len(long) <= 72 and long.endswith("word…")
    assert title_of("x" * 100) == "x" * 71 + "…"
    assert title_of("\n\n first \n second") == "first"


@pytest.fixture
def given(tmp_path: Path) -> dict[str, str]:
    projects = tmp_path / "factory-projects.yaml"
    projects.write_text("projects:\n  pilot: {chats: [-1], users: {1001: owner}, repo: /r.git}\n")
    return {
        "FACTORY_TELEGRAM_TOKEN": "42:x",
        "FACTORY_PROJECTS": str(projects),
        "FACTORY_NODE_DIR": str(tmp_path / "node"),
    }


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"FACTORY_TELEGRAM_TOKEN": None}, "FACTORY_TELEGRAM_TOKEN: intake needs the bot's token"),
        ({"FACTORY_PROJECTS": "/nowhere.yaml"}, "FACTORY_PROJECTS: /nowhere.yaml: cannot be read: No such file"),
        ({"FACTORY_POLL_TIMEOUT": "51"}, "FACTORY_POLL_TIMEOUT: "),
        ({"FACTORY_FORGE_EVERY": "0"}, "FACTORY_FORGE_EVERY: "),
        ({"FACTORY_API_TOKEN": "hunter2"}, "FACTORY_API_TOKEN: shorter than 16 characters"),
        ({"FACTORY_GITHUB_WEBHOOK_SECRET": "x" * 15}, "FACTORY_GITHUB_WEBHOOK_SECRET: shorter than 16"),
        ({"FACTORY_INTAKE_PORT": "65536"}, "FACTORY_INTAKE_PORT: "),
        ({"FACTORY_POL_TIMEOUT": "5"}, "FACTORY_POL_TIMEOUT: no such setting (did you mean FACTORY_POLL_TIMEOUT?)"),
    ],
)
def test_a_broken_configuration_names_the_variable(given: dict[str, str], change: dict[str, str | None], problem: str):
    """Before anything is connected."""
    environ = {k: v for k, v in (given | change).items() if v is not None}

    with pytest.raises(chassis_settings.BadSettings) as e:
        build_app(chassis_settings.read(Settings, environ))
    assert any(p.startswith(problem) for p in e.value.problems), e.value.problems


def test_a_broken_projects_file_names_each_place(given: dict[str, str]):
    """File, key and what is wrong with it."""
    path = Path(given["FACTORY_PROJECTS"])
    path.write_text("projects:\n  pilot: {chats: [], users: {1001: boss}, repo: 'ext::sh'}\n")

    with pytest.raises(chassis_settings.BadSettings) as e:
        build_app(chassis_settings.read(Settings, given))
    text = "\n".join(e.value.problems)
    assert all(f"FACTORY_PROJECTS: {path}: projects.pilot.{key}" in text for key in ("chats", "users.1001", "repo")), (
        text
    )
