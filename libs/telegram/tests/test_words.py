"""What the chat is told in each state, from records alone; every text is HTML that Telegram takes, and fits."""

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
from factory_jobs.errors import Failure
from factory_jobs.job import Job, Pull, Sandbox, Waiting
from factory_jobs.machine import PHASES, TERMINAL, WORKING, State
from factory_jobs.records import Artifact, Evidence, ForgeNews, Request, Round
from factory_telegram import words
from factory_telegram.words import Facts, Wanted

AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
ID, HEAD = "jabcdefghij", "c" * 40
HOSTILE = "<b>&lt;\"'</a></pre>\n\n<script>alert(1)</script> 𝔘🎉"
PLAN = {"by": "rules", "criteria": [{"id": "c1", "text": "Ada sees <red>"}, {"id": "c2", "text": "so does Bob"}]}
SUITES = [
    {"suite": "unit", "passed": 11, "failed": 0, "seconds": 0.61, "counts": False, "known": []},
    {"suite": "api", "passed": 3, "failed": 2, "seconds": None, "counts": True, "known": ["old one"]},
]


def job(state: State | str = State.RECEIVED, **more: Any) -> Job:
    facts: dict[str, Any] = {
        "version": 3,
        "seq": 5,
        "project": "pilot",
        "snapshot": {},
        "repo": "/r.git",
        "title": "Red",
    }
    times = {"next_attempt_at": AT, "created_at": AT, "entered_at": AT}
    return Job(**{"id": ID, "state": str(state), **facts, **times, **more})


def facts(state: State | str = State.RECEIVED, *, job_: Job | None = None, **more: Any) -> Facts:
    names = ("plan", "requests", "rounds", "evidence", "artifacts", "queue", "before", "since", "news")
    known = {k: more.pop(k) for k in names if k in more}
    base: dict[str, Any] = {"plan": {}, "requests": [], "rounds": [], "evidence": {}, "artifacts": []}
    return Facts(**{"job": job_ or job(state, **more), "public_url": "https://f.example", **base, **known})


def evidence(kind: str, data: Any) -> dict[str, Evidence]:
    return {kind: Evidence(id=1, commit=HEAD, kind=kind, ok=True, data=data, epoch=1, request_no=1, round=1, at=AT)}


def video(size: int = 1000) -> Artifact:
    where = {"state": "browser_validation_running", "name": "film.mp4", "key": "k", "content_type": "video/mp4"}
    return Artifact(id=1, job_id=ID, commit=HEAD, kind="video", sha256="5" * 64, size=size, epoch=2, at=AT, **where)


def ready(**more: Any) -> Facts:
    """A job that is ready with everything that there can be."""
    proof = {
        **evidence("suites", {"suites": SUITES}),
        **evidence("browser", {"results": [{"name": "Ada sees it", "ok": True}, {"name": "Bob <too>", "ok": False}]}),
        **evidence("review", {"verdict": "request_changes", "summary": "One test < two."}),
    }
    row = job(
        State.READY_FOR_HUMAN_REVIEW,
        proved_sha=HEAD,
        pr=Pull(number=7, url="https://f.example/pulls/pilot/7", head=HEAD),
        sandbox=Sandbox(provider="local", handle={}, preview_url="http://127.0.0.1:4000/", preview="up"),
    )
    return facts(job_=msgspec.structs.replace(row, **more), plan=PLAN, evidence=proof, artifacts=[video()])


FAILURE = Failure(
    blame="repo",
    code="setup",
    message="`factory setup` ended with 1.",
    stage="sandbox_created",
    log_tail="\x1b[31mline one\x1b[0m\nError: no <such> module\n",
    log_url="https://f.example/a/j/s/setup.log",
    hint="Mend the setup, then retry.",
)


class Shown(HTMLParser):
    """Reads a message as Telegram does: only its tags, each closed in order (core.telegram.org/bots/api#html-style)."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.links, self._open = "", [], []
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {self._open} in {text}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"b", "i", "code", "pre", "a"}, tag
        self._open.append(tag)
        self.links += [value for _, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(wanted: Wanted) -> str:
    """The text as a person sees it, after it was checked for what Telegram would refuse."""
    text = Shown(wanted.text).text
    assert 0 < words.units(text) <= (1024 if wanted.video else 4096)
    assert all(len(b.data.encode()) <= 64 and b.label for b in wanted.buttons)
    return text


def only(found: list[Wanted], kind: str) -> Wanted:
    [one] = [w for w in found if w.kind.startswith(kind)]
    return one


# ── the status message ────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", sorted(State), ids=str)
def test_every_state_has_its_status_and_what_goes_with_it(state: State):
    """The phase's own words; a Cancel button as long as there is something to cancel; one more message at the ends."""
    more: dict[str, Any] = {"failure": FAILURE} if state is State.FAILED else {}
    found = words.wanted(facts(state, lease_owner="w", **more))

    status = found[0]
    assert status.kind == "status" and not status.notify
    assert PHASES[state].say in shown(status) and ID in shown(status)
    assert [b.label for b in status.buttons] == (["Cancel"] if state in WORKING else [])
    ends = TERMINAL | {State.READY_FOR_HUMAN_REVIEW}
    assert len(found) == (2 if state in ends else 1)
    assert all(shown(one) for one in found)


def test_steps_tell_how_far_it_is():
    """Done, under way, to come; and what is known of each."""
    proof = evidence("suites", {"suites": SUITES})
    fell = Round(
        request_no=1, round=1, commit=HEAD, parent=None, outcome=None, summary=None, feedback="red", bundle=None,
        proved=False, spent={}, at=AT,
    )  # fmt: skip
    text = shown(
        words.status(facts(State.TESTS_RUNNING, plan=PLAN, rounds=[fell], evidence=proof, round=2, lease_owner="w"))
    )

    assert text.splitlines() == [
        "Red",
        f"{ID} · round 2 of 5",
        "",
        "✅ Plan: 2 criteria, by rules",
        "✅ Environment",
        "✅ Change: 1 round sent back",
        "▶️ Tests: 14 passed, 2 failed",
        "▫️ Browser",
        "▫️ Pull request",
        "▫️ Review",
        "",
        "Running the tests…",
        "Timeline and logs",
    ]


def test_a_job_that_nobody_works_on_says_its_place_in_line():
    """Third: two are before it; first: it waits for its turn; in work: neither."""
    assert "Planning: 3rd in line" in shown(words.status(facts(queue=2)))
    assert "Planning: waits for its turn" in shown(words.status(facts()))
    assert "line" not in shown(words.status(facts(queue=2, lease_owner="w"))).replace("Timeline", "")


@pytest.mark.parametrize(
    ("n", "says"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (21, "21st"), (112, "112th")],
)
def test_ordinals(n: int, says: str):
    """English ones, the teens too."""
    assert words._nth(n) == says


def test_a_further_change_and_a_further_try_are_told():
    """The second request counts its own rounds; the third try of a state says so."""
    text = shown(words.status(facts(State.TESTS_RUNNING, request_no=2, round=1, attempt=3, lease_owner="w")))

    assert "change 2, round 1 of 5" in text
    assert "Running the tests… (try 3)" in text


@pytest.mark.parametrize(
    ("state", "more", "marks"),
    [
        (State.FAILED, {"failure": FAILURE}, "✅❌▫️▫️▫️▫️▫️"),
        (State.CANCELLED, {"before": "browser_validation_running"}, "✅✅✅✅🛑▫️▫️"),
        (State.CANCELLED, {"before": "ready_for_human_review"}, "✅✅✅✅✅✅✅"),
        (State.CANCELLED, {"before": "received"}, "🛑▫️▫️▫️▫️▫️▫️"),
        (State.READY_FOR_HUMAN_REVIEW, {}, "✅✅✅✅✅✅✅"),
        (State.MERGED, {}, "✅✅✅✅✅✅✅"),
    ],
)
def test_an_ended_job_shows_where_it_ended(state: State, more: dict[str, Any], marks: str):
    """What was done is done, a failure is marked where it happened, a cancel where it hit."""
    lines = shown(words.status(facts(state, **more))).splitlines()[3:10]

    assert "".join(line.split(" ")[0] for line in lines) == marks


def test_the_pull_request_is_linked_as_soon_as_it_is_there():
    """Under its number."""
    pull = Pull(number=7, url="https://f.example/pulls/pilot/7?a=1&b=2", head=HEAD)
    status = words.status(facts(State.REVIEW_RUNNING, pr=pull, lease_owner="w"))

    assert "✅ Pull request: #7" in shown(status)
    assert "https://f.example/pulls/pilot/7?a=1&b=2" in Shown(status.text).links


# ── questions ─────────────────────────────────────────────────────────────────


def waiting(kind: str = "gate:risk", sha: str = HEAD, **more: Any) -> Waiting:
    given: dict[str, Any] = {"asks": "Shall it?", "since": AT, "options": [["approve", "Go on"], ["reject", "Stop"]]}
    return Waiting(**{"kind": kind, "sha": sha, **given, **more})


def test_a_question_stands_with_a_button_for_each_answer():
    """And the status message points to it."""
    row = job(State.VIDEO_RECORDED, waiting=waiting())
    status, question = words.wanted(facts(job_=row))

    assert "Waits for your answer below." in shown(status)
    assert shown(question).splitlines() == ["❓ Red", "Shall it?"]
    assert [b.label for b in question.buttons] == ["Go on", "Stop"]
    answers = [words.answer_of(row, b.data.split(":")[-1]) for b in question.buttons]
    assert answers == ["approve", "reject"]


def test_the_plans_gate_shows_the_plan():
    """Nobody can judge what he does not see."""
    text = shown(words.question(facts(State.PLANNED, waiting=waiting("gate:plan"), plan=PLAN)))

    assert text.splitlines()[2:] == ["", "c1 Ada sees <red>", "c2 so does Bob"]


def test_a_reminder_is_a_message_of_its_own_with_buttons_that_answer_the_same_question():
    """An edit makes no sound; the first message's buttons stay good."""
    asked, again = (job(State.PLANNED, waiting=waiting(reminded=r)) for r in (False, True))
    first, second = (words.question(facts(job_=j)) for j in (asked, again))

    assert first.kind != second.kind
    assert "This is a reminder." in shown(second)
    assert first.buttons == second.buttons


def test_no_answer_is_cut_however_long_its_names_are():
    """A kind or an answer of any length gives a button of its own that is read back whole."""
    long = ["no-more-agent-turns-" + "x" * 90 + end for end in "ab"]
    row = job(State.PLANNED, waiting=waiting("question:" + "push" * 30, options=[[a, a] for a in long]))
    buttons = words.question(facts(job_=row)).buttons

    assert len({b.data for b in buttons}) == 2 and all(len(b.data.encode()) <= 64 for b in buttons)
    assert [words.answer_of(row, b.data.split(":")[3]) for b in buttons] == long


def test_a_button_that_would_be_cut_is_refused():
    """Half of an argument means something else."""
    assert words.button(ID, "undo", "2") == f"v1:{ID}:undo:2"
    with pytest.raises(ValueError, match="64 bytes"):
        words.button(ID, "undo", "2" * 60)


@pytest.mark.parametrize(
    "later",
    [
        {"sha": "d" * 40},
        {"kind": "gate:plan"},
        {"since": AT + timedelta(seconds=1)},
        {"options": [["more", "More"]]},
    ],
    ids=str,
)
def test_an_old_button_answers_no_later_question(later: dict[str, Any]):
    """Not about another commit, not of another kind, not the same one asked again."""
    asked = job(State.PLANNED, waiting=waiting())
    data = words.question(facts(job_=asked)).buttons[0].data
    now = job(State.PLANNED, waiting=msgspec.structs.replace(asked.waiting, **later))

    assert words.answer_of(asked, data.split(":")[3]) == "approve"
    assert words.answer_of(now, data.split(":")[3]) is None
    assert words.answer_of(job(State.PLANNED), data.split(":")[3]) is None


def test_the_same_question_asked_again_is_asked_again():
    """A second budget question about the same commit is a new message."""
    kinds = [
        words.question(facts(State.PLANNED, waiting=waiting("budget", since=AT + timedelta(minutes=m)))).kind
        for m in (0, 9)
    ]

    assert len(set(kinds)) == 2


def test_a_question_that_is_answered_says_so_and_loses_its_buttons():
    """By whom and what; one that became pointless says that; one that is open stays, reminder or not."""
    row = job(State.PLANNED, waiting=waiting("gate:plan"))
    asked = words.question(facts(job_=row))
    answer = {"kind": "gate:plan", "answer": "approve", "by": "Ada <A>", "at": AT + timedelta(seconds=9)}
    earlier = answer | {"by": "Bob", "at": AT - timedelta(days=1)}
    moved_on = job(State.TESTS_RUNNING)

    answered = words.closed(moved_on, asked.kind, asked.text, [earlier, answer])
    assert answered is not None and Shown(answered).text.endswith("\n☑ Ada <A>: approve")
    assert words.closed(moved_on, asked.kind, answered, [answer]) is None  # said already
    assert "No answer is needed any more." in (words.closed(moved_on, asked.kind, asked.text, []) or "")
    reminded = job(State.PLANNED, waiting=waiting("gate:plan", reminded=True))
    assert words.closed(reminded, asked.kind, asked.text, [earlier]) is None
    assert words.closed(moved_on, "final:1:cccc", "text", [answer]) is None


# ── ends ──────────────────────────────────────────────────────────────────────


def test_the_final_message_has_everything():
    """Pull request, preview, tests, browser, verdict; then the film."""
    final, film = words.wanted(ready())[1:]

    assert shown(final).splitlines() == [
        "✅ Ready for your review: Red",
        "",
        "Pull request: #7",
        "Preview: http://127.0.0.1:4000/, on the factory's machine only",
        "",
        "Tests",
        "✅ unit: 11 passed in 0.6 s",
        "❌ api: 3 passed, 2 failed, 1 red on the base too in 0.0 s",
        "",
        "In the browser",
        "✅ Ada sees it",
        "❌ Bob <too>",
        "",
        "Review: request changes. One test < two.",
        "",
        "Reply to this message to change something.",
    ]
    assert [(b.label, b.url) for b in final.buttons] == [("Open the pull request", "https://f.example/pulls/pilot/7")]
    assert final.notify
    assert film.video == video() and shown(film) == "🎬 Red"


@pytest.mark.parametrize(
    ("preview", "says"),
    [
        ("up", "4000/, on"),
        ("down", "4000/ (down), on"),
        ("lost", "4000/ (lost), on"),
        ("stopped", "Preview: stopped; it is"),
    ],
)
def test_the_final_message_says_how_the_preview_is(preview: str, says: str):
    """It is edited when the preview goes away; the message stays the same one."""
    up = ready()
    assert up.job.sandbox is not None
    now = ready(sandbox=msgspec.structs.replace(up.job.sandbox, preview=preview))

    assert says in shown(words.final(now))
    assert words.final(now).kind == words.final(up).kind
    assert "Preview: stopped" in shown(words.final(ready(sandbox=None)))


def test_work_that_fell_back_to_the_proved_commit_says_why():
    """Ready, but not with what was asked last."""
    failure = Failure(
        blame="work", code="out_of_rounds", message="It does not hold after 5 rounds.", stage="tests_running"
    )
    text = shown(words.final(ready(failure=failure, request_no=2)))

    assert text.startswith("⚠️ Red: back at the last commit that holds.\nIt does not hold after 5 rounds.")


def test_each_proved_commit_is_told_once():
    """Further work that was dropped says nothing again; work that failed says why; a new commit is told with its film."""

    def kinds(**more: Any) -> list[str]:
        return [w.kind for w in words.wanted(ready(**more))[1:]]

    dropped = kinds(request_no=2)
    failure = Failure(blame="work", code="out_of_rounds", message="no", stage="tests_running")
    assert kinds() == dropped == ["final:cccccccccccc", "video:cccccccccccc"]
    assert kinds(request_no=3, failure=failure) == ["final:cccccccccccc:3", "video:cccccccccccc"]
    assert kinds(request_no=4, proved_sha="d" * 40)[0] == "final:dddddddddddd"


def test_only_a_film_of_the_proved_commit_is_shown():
    """An older one is no proof; that there is none is said."""
    found = msgspec.structs.replace(ready(), artifacts=[msgspec.structs.replace(video(), commit="d" * 40)])

    assert [w.kind[:5] for w in words.wanted(found)] == ["statu", "final"]
    assert "No video was recorded." in shown(words.final(found))


def test_a_film_that_no_bot_may_send_comes_as_a_link():
    """50 MB are Telegram's limit; the chat still gets to it."""
    [film] = words.video(msgspec.structs.replace(ready(), artifacts=[video(words.UPLOAD + 1)]))

    assert film.video is None and "Too large for a chat (52 MB): film.mp4" in shown(film)
    assert Shown(film.text).links == [f"https://f.example/a/{ID}/{'5' * 64}/film.mp4"]
    assert words.video(msgspec.structs.replace(ready(), artifacts=[video(words.UPLOAD)]))[0].video is not None


@pytest.mark.parametrize(
    ("cleanup", "says"),
    [
        ("pending", "under way"),
        ("done", "nothing is left running"),
        ("problem", "not everything"),
        ("unreachable", "does not answer"),
        (None, "nothing was started"),
    ],
)
def test_a_failure_names_stage_log_and_cleanup(cleanup: str | None, says: str):
    """In words and by name; the log's tail without a terminal's colours; retry at hand; cleanup is an edit of the same."""
    failed = only(words.wanted(facts(State.FAILED, failure=FAILURE, cleanup=cleanup, lease_epoch=4)), "failed")

    lines = shown(failed).splitlines()
    assert lines[:6] == [
        "❌ Failed: Red",
        "Stage: Setting the repo up (sandbox_created)",
        "`factory setup` ended with 1.",
        "line one",
        "Error: no <such> module",
        "The whole log",
    ]
    assert lines[6] == "Mend the setup, then retry."
    assert lines[-1].startswith("Cleanup: ") and says in lines[-1]
    assert failed.kind == "failed:1:4"
    assert [(b.label, b.data) for b in failed.buttons] == [("Retry", f"v1:{ID}:retry")]
    assert "<pre>line one\nError: no &lt;such&gt; module</pre>" in failed.text


def test_a_logs_tail_is_its_last_whole_lines():
    """However long lines are and whatever they are made of, the newest ones fit."""
    log = "".join(f"{n} {'é' * 100}\n" for n in range(100)) + "\n\n"
    failed = words.failed(facts(State.FAILED, failure=msgspec.structs.replace(FAILURE, log_tail=log)))
    tail = failed.text.partition("<pre>")[2].partition("</pre>")[0].splitlines()

    assert [line.split()[0] for line in tail] == [str(n) for n in range(100 - len(tail), 100)]
    assert 5 < len(tail) < 10

    one_line = msgspec.structs.replace(FAILURE, log_tail="&" * 9000)
    assert "&" * 400 in shown(words.failed(facts(State.FAILED, failure=one_line)))
    bars = msgspec.structs.replace(FAILURE, log_tail="10%\r20%\x1b[K\r\x1b]0;title\x07done\x00")
    assert "<pre>10%\n20%\ndone</pre>" in words.failed(facts(State.FAILED, failure=bars)).text
    silent = msgspec.structs.replace(FAILURE, log_tail=" \n\x1b[0m")
    assert "<pre>" not in words.failed(facts(State.FAILED, failure=silent)).text


def test_ends_say_what_became_of_it():
    """Cancelled and merged, with the pull request and the cleanup."""
    pull = Pull(number=7, url="https://f.example/pulls/pilot/7", head=HEAD)
    cancelled = words.wanted(facts(State.CANCELLED, pr=pull, cleanup="pending"))[1]
    merged = words.wanted(facts(State.MERGED, pr=pull, cleanup="done"))[1]

    assert shown(cancelled).splitlines() == ["🛑 Cancelled: Red", "Pull request: #7", "Cleanup: under way"]
    assert shown(merged).splitlines() == [
        "🎉 Merged: Red",
        "Pull request: #7",
        "Cleanup: done, nothing is left running",
    ]


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("tests_running", True),
        ("received", True),
        ("review_running", False),
        ("ready_for_human_review", False),
        ("cancelled", False),
    ],
)
def test_a_merge_in_mid_work_says_what_is_not_in_it(before: str, said: bool):
    """A follow-up that had been finished is in it."""
    asked = [
        Request(
            id=n, job_id=ID, source=str(n), chat="-1", message_id=n, author="Ada (1)", text="x", link=None,
            read_by=f"plan:{n}", at=AT,
        )
        for n in (1, 2)
    ]  # fmt: skip
    found = msgspec.structs.replace(facts(State.MERGED, request_no=2, before=before), requests=asked)

    assert ("not in it" in shown(words.wanted(found)[1])) is said


# ── limits and hostile text ───────────────────────────────────────────────────

LONG = [HOSTILE * 500, "&" * 30_000, "🎉" * 9_000, "<" * 5_000 + "\n" * 5_000, "a" * 4_095 + "&<>"]


@pytest.mark.parametrize("text", LONG, ids=["tags", "ampersands", "astral", "lines", "at the edge"])
@pytest.mark.parametrize("state", sorted(State), ids=str)
def test_no_text_of_others_breaks_a_message(state: State, text: str):
    """Title, reason, log, hint, suites, scenarios, summary, question, names of any length and content."""
    suite = {"suite": text, "passed": None, "failed": None, "seconds": None, "counts": True, "known": [text]}
    proof = {
        **evidence("suites", {"suites": [suite] * 60}),
        **evidence("browser", {"results": [{"name": text, "ok": False}] * 60}),
        **evidence("review", {"verdict": "comment", "summary": text}),
    }
    failure = Failure(blame="repo", code="x", message=text, stage=text[:3000], log_tail=text, hint=text)
    row = job(
        state,
        title=text,
        failure=failure,
        waiting=None if state in TERMINAL else waiting("gate:plan", asks=text, options=[[text, text], ["b", text]]),
        sandbox=Sandbox(
            provider="local", handle={}, preview_url="http://localhost:1/" + text[:5000], preview=text[:500]
        ),
        pr=Pull(number=1, url="https://f.example/" + text[:1500], head=HEAD),
        proved_sha=HEAD,
    )
    plan = {"by": text, "criteria": [{"id": text, "text": text}] * 60}
    found = words.wanted(facts(job_=row, plan=plan, evidence=proof, artifacts=[video()], before="tests_running"))

    assert all(shown(one) for one in found)
    assert "<script>" not in "".join(one.text for one in found)


def test_answers_to_commands_keep_to_the_limits_too():
    """A list of jobs, one job, and a question which is meant, with any title."""
    row = job(State.PLANNED, title=HOSTILE * 500, waiting=waiting(asks=HOSTILE * 500), failure=FAILURE)

    for text in (words.listed([row] * 100), words.one(row), words.which([row] * 100)):
        assert 0 < words.units(Shown(text).text) <= 4096
    assert words.listed([]) == words.which([]) == "Nothing is under way."


def test_what_a_cut_leaves_is_whole():
    """Counted as Telegram counts, in UTF-16 units; no half of a pair is left."""
    assert words.units("🎉") == 2 and words.units("é") == 1
    assert words.cut("🎉🎉🎉", 6) == "🎉🎉🎉"
    assert words.cut("🎉🎉🎉", 5) == "🎉🎉…"
    assert words.cut("🎉🎉🎉", 4) == "🎉…"
    assert words.cut("", 1) == ""
    assert words.units(words.cut("\ud800" * 10, 5)) <= 5


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ('https://f.example/a?b=1&c="x', '<a href="https://f.example/a?b=1&amp;c=&quot;x">it</a>'),
        ("http://127.0.0.1:80/", '<a href="http://127.0.0.1:80/">it</a>'),
        ("http://x.localhost:80/", '<a href="http://x.localhost:80/">it</a>'),
        ("http://localhost:80/", "<code>http://localhost:80/</code>"),
        ("http://localhost", "<code>http://localhost</code>"),
        ("javascript:alert(1)", "<code>javascript:alert(1)</code>"),
    ],
)
def test_links_are_links_where_telegram_takes_them(url: str, text: str):
    """It drops localhost without a word; what is no web address is shown and not opened."""
    assert words.link(url, "it") == text


def test_fixed_words_are_valid():
    """Every constant that is sent reads as HTML and fits."""
    constants = {n: v for n, v in vars(words).items() if n.isupper() and isinstance(v, str) and n != "CLOSED"}

    assert len(constants) > 12
    for text in [*constants.values(), words.not_connected(-100123), words.not_allowed(1001)]:
        assert 0 < words.units(Shown(text).text) <= 4096
    for command in ("new", "status", "jobs", "cancel", "retry", "help", "fix"):
        assert f"/{command}" in words.HELP


# ── people at the forge ───────────────────────────────────────────────────────

PULL = Pull(number=7, url="https://f.example/pulls/pilot/7", head=HEAD)
THEIRS = "d" * 40


def told(kind: str, seq: int = 9, **more: Any) -> ForgeNews:
    return ForgeNews(seq=seq, kind=kind, **more)


def test_a_push_is_told_while_it_is_proved():
    """Which commit, by whom where that is known; once for each push; then the next result speaks."""
    pushed = told("person_pushed", head=THEIRS, by="<ann>")
    row = {"pr": PULL, "news": pushed, "proved_sha": HEAD}
    [_, one] = words.wanted(facts(State.PLANNED, verify=True, **row))

    assert one.kind == "pushed:9"
    assert shown(one).startswith("👤 The pull request #7 is at dddddddddddd now by <ann>. I prove that commit")
    assert words.followed(facts(State.READY_FOR_HUMAN_REVIEW, **row)) == []
    assert words.followed(facts(State.CANCELLED, verify=True, **row)) == []


def test_a_reopened_pull_request_is_told_each_time():
    """Also where its commit has to be proved first."""
    row = {"pr": PULL, "proved_sha": HEAD, "news": told("reopened", head=HEAD)}
    [one] = words.followed(facts(State.READY_FOR_HUMAN_REVIEW, **row))
    assert (one.kind, shown(one)) == ("reopened:9", "🔓 The pull request #7 is open again.")

    row["news"] = told("reopened", 12, head=THEIRS)
    [one] = words.followed(facts(State.PLANNED, verify=True, **row))
    assert one.kind == "reopened:12"
    assert "It is at dddddddddddd, which was not proved: I prove that commit" in shown(one)


def test_an_end_that_was_made_at_the_forge_says_so():
    """Closed by a person, or by us after a cancel; merged by somebody; each end is told anew after a reopening."""
    closed = msgspec.structs.replace(PULL, state="closed")
    theirs = words.ended(facts(State.CANCELLED, pr=closed, since=9, news=told("closed")), "Cancelled")
    ours = words.ended(facts(State.CANCELLED, pr=closed, since=14, news=told("reopened")), "Cancelled")
    merged = words.ended(facts(State.MERGED, pr=PULL, since=9, news=told("merged", by="ann")), "Merged")

    assert shown(theirs).splitlines()[1:3] == [
        "Pull request: #7 (closed)",
        "Its pull request was closed. Open it again, and the job goes on from there.",
    ]
    assert shown(ours).splitlines()[1:] == ["Pull request: #7 (closed)", "Cleanup: nothing was started"]
    assert shown(merged).startswith("🎉 Merged by ann: Red\n")
    assert [w.kind for w in (theirs, ours, merged)] == ["ended:cancelled:9", "ended:cancelled:14", "ended:merged:9"]


@pytest.mark.parametrize(
    ("before", "verify", "says"),
    [
        ("review_running", False, "Its review had not ended."),
        ("tests_running", True, "Its last commit was still being"),
    ],
)
def test_a_merge_before_the_proof_had_ended_says_so(before: str, verify: bool, says: str):
    """The commit is in it all the same."""
    text = shown(words.ended(facts(State.MERGED, pr=PULL, before=before, verify=verify), "Merged"))
    assert says in text and "not in it" not in text


def test_a_pull_request_that_holds_another_commit_than_was_proved_says_so():
    """After a push that did not hold."""
    text = shown(words.final(ready(pr=msgspec.structs.replace(PULL, head=THEIRS))))
    assert "⚠️ It is at dddddddddddd, which was not proved; this is about cccccccccccc." in text
    assert "⚠️" not in shown(words.final(ready()))


def test_a_job_that_a_script_asked_for_says_who():
    """No message of the chat does."""
    first = Request(
        id=1,
        job_id=ID,
        source="http:nightly",
        chat="-1",
        message_id=None,
        author="<cron> (http)",
        text="Red",
        link=None,
        read_by=None,
        at=AT,
    )
    assert shown(words.status(facts(requests=[first]))).splitlines()[1] == f"{ID} · asked by <cron> (http)"
    typed = msgspec.structs.replace(first, source="telegram:1:2")
    assert shown(words.status(facts(requests=[typed]))).splitlines()[1] == ID
