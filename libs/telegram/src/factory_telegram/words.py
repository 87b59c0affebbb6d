"""The words of the chat: every message the factory writes, made from records. HTML as Telegram takes it."""

from __future__ import annotations

import hashlib
import html
import re
from typing import Any

import msgspec
from factory_jobs.job import Job, Waiting
from factory_jobs.machine import PHASES, TERMINAL, WORKING, State
from factory_jobs.records import Artifact, Evidence, ForgeNews, Request, Round

# Telegram counts UTF-16 units of what is left when tags and entities are read: 4096 in a text, 1024 in a caption
# (https://core.telegram.org/bots/api#sendmessage), and bytes of a button's data: 64.
LIMIT = 4000
TITLE = 200  # units of a job's title
NAME = 100  # of a suite, a scenario, a label
TAIL = 900  # of a log in the chat
BUTTON = 64
CONTROLS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f]")
UPLOAD = 50 * 1024 * 1024  # bytes of a file that a bot may send (https://core.telegram.org/bots/api#sending-files)

STEPS: tuple[tuple[str, frozenset[State]], ...] = (
    ("Plan", frozenset({State.RECEIVED})),
    (
        "Environment",
        frozenset({State.PLANNED, State.WORKTREE_CREATED, State.SANDBOX_CREATED, State.DEV_ENVIRONMENT_STARTING}),
    ),
    ("Change", frozenset({State.DEV_ENVIRONMENT_READY, State.IMPLEMENTATION_IN_PROGRESS})),
    ("Tests", frozenset({State.TESTS_RUNNING})),
    ("Browser", frozenset({State.BROWSER_VALIDATION_RUNNING})),
    ("Pull request", frozenset({State.VIDEO_RECORDED})),
    ("Review", frozenset({State.PR_OPENED, State.REVIEW_RUNNING})),
)

HELP = """\
Write what you want changed; I build it and come back with a pull request that ran, was tested and was filmed.

/new <i>wish</i> — a new change (plain text does the same)
/status [<i>job</i>] — how a job stands
/jobs — what is under way
/cancel [<i>job</i>] — stop a job
/retry [<i>job</i>] — try a failed job again
/help — this

Reply to a job's message to say more about it: while it works the agent hears it in its next round; when it is ready \
it becomes the next change on the same pull request, /fix <i>wish</i> also where it sounds like a thank-you."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a job's messages are made of."""

    job: Job
    plan: dict[str, Any]
    requests: list[Request]
    rounds: list[Round]
    evidence: dict[str, Evidence]  # of the proved commit, else of the newest
    artifacts: list[Artifact]
    queue: int = 0  # jobs of the same state before this one
    before: str = ""  # the state from which it came into this one, where it has ended
    since: int = 0  # number of the event by which it ended
    news: ForgeNews | None = None  # what people did last to its pull request, on the forge
    public_url: str = ""


class Button(msgspec.Struct, frozen=True):
    label: str
    data: str = ""  # of `button`
    url: str = ""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """One message that the chat should show. `kind` names it once a job and chat; its text may change later."""

    kind: str
    text: str
    buttons: tuple[Button, ...] = ()
    video: Artifact | None = None
    notify: bool = True


def esc(text: str) -> str:
    return html.escape(text, quote=False)


def plain(text: str) -> str:
    """A message of ours without its tags and entities, as the chat shows it."""
    return html.unescape(re.sub(r"<[^>]+>", "", text))


def units(text: str) -> int:
    """Its length as Telegram counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def cut(text: str, limit: int) -> str:
    """Plain text of at most `limit` units; cut before it is escaped, or a tag or an entity would be broken."""
    if units(text) <= limit:
        return text
    return text.encode("utf-16-le", "surrogatepass")[: 2 * (limit - 1)].decode("utf-16-le", "ignore") + "…"


def title(job: Job) -> str:
    """On one line, escaped."""
    return esc(cut(" ".join(job.title.split()), TITLE))


def link(url: str, label: str) -> str:
    """Telegram drops links to `localhost` without a word, so such a URL is given to be copied; as is what is no http."""
    if not re.match(r"https?://(?!localhost[:/])", url + "/"):
        return f"<code>{esc(cut(url, NAME * 2))}</code>"
    return f'<a href="{html.escape(url)}">{esc(label)}</a>'


def button(job_id: str, action: str, *args: str) -> str:
    """What a button sends back: `v1:<job>:<action>[:<arg>…]`. Raises ValueError beyond Telegram's 64 bytes."""
    data = ":".join(["v1", job_id, action, *args])
    if len(data.encode()) > BUTTON:
        raise ValueError(f"a button holds {BUTTON} bytes, this is {len(data.encode())}: {data}")
    return data


def answer_button(job: Job, answer: str) -> str:
    """One answer to the job's open question. By a digest: a name that is cut would be another answer, and an old
    message's button must not answer a later question."""
    assert job.waiting is not None
    return button(job.id, "answer", _digest(job.waiting, answer))


def answer_of(job: Job, digest: str) -> str | None:
    """The answer that `answer_button` stands for; None where it belongs to no open question of this job."""
    options = job.waiting.options if job.waiting else []
    return next((answer for answer, _ in options if job.waiting and _digest(job.waiting, answer) == digest), None)


def _digest(waiting: Waiting, answer: str) -> str:
    said = msgspec.json.encode([waiting.kind, waiting.sha, waiting.since, answer])
    return hashlib.sha256(said).hexdigest()[:16]


def _fit(lines: list[str], last: list[str]) -> str:
    """Whole lines as far as one message holds them; the last ones always."""
    left = LIMIT - sum(units(plain(line)) + 1 for line in last)
    kept: list[str] = []
    for line in lines:
        left -= units(plain(line)) + 1
        if left < 2:
            kept.append("…")
            break
        kept.append(line)
    return "\n".join([*kept, *last])


def wanted(facts: Facts) -> list[Wanted]:
    """All messages that this job should have in its chat now, oldest first. Pure: the notifier makes it so."""
    job = facts.job
    found = [status(facts), *followed(facts)]
    if job.waiting is not None:
        found.append(question(facts))
    match State(job.state):
        case State.READY_FOR_HUMAN_REVIEW:
            found += [final(facts), *video(facts)]
        case State.FAILED:
            found.append(failed(facts))
        case State.CANCELLED:
            found.append(ended(facts, "Cancelled"))
        case State.MERGED:
            found.append(ended(facts, "Merged"))
    return found


# ── one live status message ───────────────────────────────────────────────────


def status(facts: Facts) -> Wanted:
    job = facts.job
    state = State(job.state)
    lines = [f"<b>{title(job)}</b>", f"<code>{job.id}</code>{_round(job)}{_asked_elsewhere(facts)}", ""]
    lines += _steps(facts, state)
    if job.lease_owner is None and state in WORKING and job.waiting is None:
        place = f"{_nth(facts.queue + 1)} in line" if facts.queue else "waits for its turn"
        lines.append(f"\n<i>{PHASES[state].say}: {place}</i>")
    elif job.waiting is not None:
        lines.append("\n<i>Waits for your answer below.</i>")
    elif state in WORKING:
        again = f" (try {job.attempt})" if job.attempt > 1 else ""
        lines.append(f"\n<i>{PHASES[state].say}…{again}</i>")
    else:
        lines.append(f"\n<i>{PHASES[state].say}.</i>")
    if facts.public_url:
        lines.append(link(f"{facts.public_url}/jobs/{job.id}", "Timeline and logs"))
    live = state not in TERMINAL and state is not State.READY_FOR_HUMAN_REVIEW
    buttons = (Button("Cancel", button(job.id, "cancel")),) if live else ()
    return Wanted(kind="status", text="\n".join(lines), buttons=buttons, notify=False)


def _round(job: Job) -> str:
    if job.round == 0:
        return ""
    request = f"change {job.request_no}, " if job.request_no > 1 else ""
    return f" · {request}round {job.round} of {job.rounds_max}"


def _asked_elsewhere(facts: Facts) -> str:
    """Where no message of this chat says who wants it."""
    first = facts.requests[0] if facts.requests else None
    return f" · asked by {esc(cut(first.author, NAME))}" if first and first.source.startswith("http:") else ""


def _steps(facts: Facts, state: State) -> list[str]:
    here, mark_here = _step_of(state), "▶️"
    if state in {State.FAILED, State.CANCELLED}:  # shown up to where it ended
        stage = facts.job.failure.stage if facts.job.failure else facts.before
        here, mark_here = _step_of(stage), "❌" if state is State.FAILED else "🛑"
    lines = []
    for i, (name, _) in enumerate(STEPS):
        mark = "✅" if i < here else (mark_here if i == here else "▫️")
        lines.append(f"{mark} {name}{_detail(facts, name) if i <= here else ''}")
    return lines


def _step_of(state: str) -> int:
    """All of them where the line is behind it; the first where nothing is known."""
    if state in {State.READY_FOR_HUMAN_REVIEW, State.MERGED}:
        return len(STEPS)
    return next((i for i, (_, states) in enumerate(STEPS) if state in states), 0)


def _detail(facts: Facts, step: str) -> str:
    if step == "Plan" and facts.plan:
        n = len(facts.plan.get("criteria", []))
        return f": {n} {'criterion' if n == 1 else 'criteria'}, by {esc(cut(facts.plan.get('by', 'rules'), NAME))}"
    if step == "Change":
        fell = [r for r in facts.rounds if r.feedback and r.request_no == facts.job.request_no]
        if fell:
            return f": {len(fell)} {'round' if len(fell) == 1 else 'rounds'} sent back"
    if step == "Tests" and (suites := facts.evidence.get("suites")):
        return ": " + _counts(suites)
    if step == "Pull request" and facts.job.pr:
        return f": {link(facts.job.pr.url, f'#{facts.job.pr.number}')}"
    return ""


def _counts(suites: Evidence) -> str:
    passed = sum(s.get("passed") or 0 for s in suites.data["suites"])
    failed = sum(s.get("failed") or 0 for s in suites.data["suites"])
    return f"{passed} passed" + (f", {failed} failed" if failed else "")


def _nth(n: int) -> str:
    return f"{n}{'th' if 10 < n % 100 < 14 else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"


# ── questions ─────────────────────────────────────────────────────────────────


def question(facts: Facts) -> Wanted:
    """What the job waits for, with a button for each answer; the plan where it is the plan that has to be judged."""
    job = facts.job
    assert job.waiting is not None
    waiting = job.waiting
    lines = [f"❓ <b>{title(job)}</b>", esc(cut(waiting.asks, 1500))]
    if waiting.kind == "gate:plan":
        criteria = facts.plan.get("criteria", [])
        lines += ["", *(f"<b>{esc(cut(c['id'], NAME))}</b> {esc(cut(c['text'], 300))}" for c in criteria)]
    again = ["<i>This is a reminder.</i>"] if waiting.reminded else []
    buttons = tuple(Button(cut(label, NAME), answer_button(job, answer)) for answer, label in waiting.options)
    return Wanted(kind=f"{_asked(waiting)}:{waiting.reminded:d}", text=_fit(lines, again), buttons=buttons)


def _asked(waiting: Waiting) -> str:
    """Names one question once and for all: the same may be asked again, about the same commit, after it was answered."""
    return f"ask:{waiting.kind}:{int(waiting.since.timestamp())}"


CLOSED = "\n☑ "


def closed(job: Job, kind: str, text: str, decisions: list[dict[str, Any]]) -> str | None:
    """The text of a question's message that is answered or has no meaning any more; None where it shall stand."""
    question, _, _ = kind.rpartition(":")
    _, _, asked = question.partition("ask:")
    if not kind.startswith("ask:") or CLOSED in text or (job.waiting and _asked(job.waiting) == question):
        return None
    about, _, since = asked.rpartition(":")
    answers = [d for d in decisions if d["kind"] == about and int(d["at"].timestamp()) >= int(since)]
    said = f"{esc(answers[0]['by'])}: {esc(answers[0]['answer'])}" if answers else "No answer is needed any more."
    return f"{text}{CLOSED}<i>{said}</i>"


# ── people at the forge ───────────────────────────────────────────────────────


def followed(facts: Facts) -> list[Wanted]:
    """Somebody pushed to the pull request, or opened it again, and the job follows. Merged and closed are ends."""
    job, news = facts.job, facts.news
    if news is None or job.pr is None or State(job.state) in TERMINAL:
        return []
    pull = f"The pull request {link(job.pr.url, f'#{job.pr.number}')}"
    head = f"<code>{esc((news.head or '')[:12])}</code>"
    proving = "I prove that commit as I proved mine; until then its checks are open."
    if news.kind == "person_pushed" and job.verify:
        return [Wanted(kind=f"pushed:{news.seq}", text=f"👤 {pull} is at {head} now{_by(news)}. {proving}")]
    if news.kind == "reopened":
        unproved = f" It is at {head}, which was not proved: {proving}" if job.verify else ""
        return [Wanted(kind=f"reopened:{news.seq}", text=f"🔓 {pull} is open again{_by(news)}.{unproved}")]
    return []


def _by(news: ForgeNews | None) -> str:
    return f" by {esc(cut(news.by, NAME))}" if news and news.by else ""


# ── ends ──────────────────────────────────────────────────────────────────────


def final(facts: Facts) -> Wanted:
    """Pull request, preview, tests, verdict; the playable video follows."""
    job = facts.job
    lines = [f"✅ <b>Ready for your review: {title(job)}</b>", ""]
    if job.failure is not None:
        lines = [f"⚠️ <b>{title(job)}</b>: back at the last commit that holds.", esc(cut(job.failure.message, 600)), ""]
    if job.pr is not None:
        lines.append(f"Pull request: {link(job.pr.url, f'#{job.pr.number}')}")
    if job.pr is not None and job.pr.head != job.proved_sha:
        proved, head = (job.proved_sha or "")[:12], job.pr.head[:12]
        lines.append(f"⚠️ It is at <code>{esc(head)}</code>, which was not proved; this is about <code>{proved}</code>.")
    if job.sandbox and job.sandbox.preview_url and job.sandbox.preview != "stopped":
        down = "" if job.sandbox.preview in {"up", ""} else f" ({esc(job.sandbox.preview)})"
        lines.append(
            f"Preview: {link(job.sandbox.preview_url, cut(job.sandbox.preview_url, NAME * 2))}{down}, "
            "on the factory's machine only"
        )
    else:
        lines.append("Preview: stopped; it is rebuilt when you ask for more")
    if suites := facts.evidence.get("suites"):
        lines += ["", "<b>Tests</b>"]
        lines += [
            f"{'✅' if not s['counts'] else '❌'} {esc(cut(s['suite'], NAME))}: {_suite(s)}"
            for s in suites.data["suites"]
        ]
    if browser := facts.evidence.get("browser"):
        lines += ["", "<b>In the browser</b>"]
        lines += [
            f"{'✅' if r.get('ok') else '❌'} {esc(cut(r['name'], NAME))}" for r in browser.data.get("results", [])
        ]
    last = []
    if review := facts.evidence.get("review"):
        verdict, summary = review.data["verdict"].replace("_", " "), cut(review.data.get("summary", ""), 600)
        last += ["", f"<b>Review</b>: {esc(verdict)}. {esc(summary)}"]
    if facts.evidence.get("browser") and not video(facts):
        last.append("No video was recorded.")
    last.append("\nReply to this message to change something.")
    buttons = (Button("Open the pull request", url=job.pr.url),) if job.pr and job.pr.url.startswith("https://") else ()
    again = (
        f":{job.request_no}" if job.failure else ""
    )  # work that was dropped brings the same commit; that is said once
    kind = f"final:{(job.proved_sha or '')[:12]}{again}"
    return Wanted(kind=kind, text=_fit(lines, last), buttons=buttons)


def _suite(suite: dict[str, Any]) -> str:
    known = f", {len(suite['known'])} red on the base too" if suite.get("known") else ""
    failed = f", {suite['failed']} failed" if suite.get("failed") else ""
    return f"{suite.get('passed') or 0} passed{failed}{known} in {suite.get('seconds') or 0:.1f} s"


def video(facts: Facts) -> list[Wanted]:
    """The newest video of the proved commit; a link where it is more than a bot may send."""
    job = facts.job
    videos = [a for a in facts.artifacts if a.kind == "video" and a.commit == job.proved_sha]
    if not videos:
        return []
    film, text = videos[-1], f"🎬 {title(job)}"
    kind = f"video:{(job.proved_sha or '')[:12]}"
    if film.size <= UPLOAD:
        return [Wanted(kind=kind, text=text, video=film)]
    where = link(f"{facts.public_url}/a/{job.id}/{film.sha256}/{film.name}", film.name)
    return [Wanted(kind=kind, text=f"{text}\nToo large for a chat ({film.size / 1e6:.0f} MB): {where}")]


def failed(facts: Facts) -> Wanted:
    """Stage, reason, the log's tail, what to do; cleanup as soon as it is known."""
    job = facts.job
    failure = job.failure
    assert failure is not None
    stage = PHASES[State(failure.stage)].say if failure.stage in set(State) else failure.stage
    lines = [f"❌ <b>Failed: {title(job)}</b>", f"Stage: {esc(stage)} (<code>{esc(failure.stage)}</code>)"]
    lines.append(esc(cut(failure.message, 1200)))
    if tail := _tail(failure.log_tail):
        lines.append(f"<pre>{esc(tail)}</pre>")
    if failure.log_url:
        lines.append(link(failure.log_url, "The whole log"))
    if failure.hint:
        lines.append(esc(cut(failure.hint, 600)))
    return Wanted(
        kind=f"failed:{job.request_no}:{job.lease_epoch}",
        text=_fit(lines, [_cleanup(job)]),
        buttons=(Button("Retry", button(job.id, "retry")),),
    )


def _tail(log: str) -> str:
    """The last whole lines of a log, without colours and other orders to a terminal."""
    text = CONTROLS.sub("", log.replace("\r", "\n"))
    kept: list[str] = []
    for line in reversed(text.strip().splitlines()):
        line = cut(line, TAIL // 2)
        if units("\n".join([line, *kept])) > TAIL:
            break
        kept.insert(0, line)
    return "\n".join(kept)


def ended(facts: Facts, word: str) -> Wanted:
    job, news = facts.job, facts.news
    told = news if news and news.seq == facts.since else None  # it ended by what was done on the forge
    mark = "🎉" if word == "Merged" else "🛑"
    lines = [f"{mark} <b>{word}{_by(told)}: {title(job)}</b>"]
    if job.pr is not None:
        closed = " (closed)" if job.pr.state == "closed" else ""
        lines.append(f"Pull request: {link(job.pr.url, f'#{job.pr.number}')}{closed}")
    if word == "Merged":
        lines += _left_out(facts)
    elif told and told.kind == "closed":
        lines.append("Its pull request was closed. Open it again, and the job goes on from there.")
    lines.append(_cleanup(job))
    return Wanted(kind=f"ended:{word.lower()}:{facts.since}", text="\n".join(lines))


def _left_out(facts: Facts) -> list[str]:
    """What was under way when somebody merged."""
    if facts.before in {State.PR_OPENED, State.REVIEW_RUNNING}:
        return ["Its review had not ended."]
    if facts.before in WORKING and facts.job.verify:
        return ["Its last commit was still being proved."]
    return ["What was still under way is not in it."] if facts.before in WORKING else []


def _cleanup(job: Job) -> str:
    return {
        "pending": "Cleanup: under way",
        "done": "Cleanup: done, nothing is left running",
        "problem": "Cleanup: not everything could be removed; I keep trying",
        "unreachable": "Cleanup: its machine does not answer; it cleans up when it is back",
    }.get(job.cleanup or "", "Cleanup: nothing was started")


# ── answers to commands ───────────────────────────────────────────────────────


def not_connected(chat: int) -> str:
    return (
        f"This chat is not connected to a project. Whoever runs the factory can add its id, <code>{chat}</code>, "
        "to factory-projects.yaml."
    )


def not_allowed(user: int) -> str:
    return f"You may not start work here. An owner can add your id, <code>{user}</code>, to this project's users."


def listed(jobs: list[Job]) -> str:
    if not jobs:
        return "Nothing is under way."
    return _fit([f"<code>{j.id}</code> {title(j)} — {PHASES[State(j.state)].say.lower()}{_round(j)}" for j in jobs], [])


def which(jobs: list[Job]) -> str:
    """To a command that could mean several jobs, or none."""
    return f"Which one? Give its id or reply to its message.\n\n{listed(jobs)}" if jobs else listed(jobs)


def one(job: Job) -> str:
    lines = [f"<b>{title(job)}</b> (<code>{job.id}</code>)", f"{PHASES[State(job.state)].say}{_round(job)}"]
    if job.waiting:
        lines.append(f"Waits: {esc(cut(job.waiting.asks, 1500))}")
    if job.failure:
        lines.append(esc(cut(job.failure.message, 600)))
    if job.pr:
        lines.append(f"Pull request: {link(job.pr.url, f'#{job.pr.number}')}")
    return "\n".join(lines)


STEERED = "Noted. The agent hears it at the start of its next round."
STILL_OPEN = (
    "Noted for its next round. It still waits for an answer to its question: press a button, or reply with its words."
)
FOLLOWED = "Understood as a further change on the same pull request. If it was not one, press the button."
THANKED = "That is no change as I understand it, so nothing was started. If it is one, say it with /fix in a reply."
RETRIED = "Tried again."
NOT_FAILED = "Only a failed job can be tried again; reply to a ready one to change it."
CANCELLED = "Cancelled."
STOPPED = "Stopped. The pull request stays at its last proved commit."
NO_SUCH_JOB = "I do not know that job here. /jobs lists what is under way."
WHICH_JOB = "Which one? Give its id or reply to its message. /jobs lists them."
EMPTY = "That message holds no text to work with. Write what should change."
TOO_LONG = "That message is too long for a request, so nothing was started. Say it in fewer words."
NOT_YOURS = "Only its author or an owner may do that."
NOT_HERE = "You may not do that here."
ENDED_BEFORE = "That has ended already."
NO_FILM = "The film is not in the artifact store any more."
GONE = "That question was answered already."
MOVED_ON = "That job has moved on meanwhile; /jobs shows how it stands."
BROKE = "Something in the factory broke on this message. /jobs shows what was taken; the log of intake says why."
