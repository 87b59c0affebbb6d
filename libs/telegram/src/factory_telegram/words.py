"""The words of the chat: every message the factory writes, made from records. HTML as Telegram takes it."""

from __future__ import annotations

import html
import re
from typing import Any

import msgspec
from factory_jobs.job import Job
from factory_jobs.machine import PHASES, TERMINAL, WORKING, State
from factory_jobs.records import Artifact, Evidence, Request, Round

LIMIT = 4000  # characters of one message, under Telegram's 4096
TAIL = 900  # characters of a log in the chat

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
it becomes the next change on the same pull request."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a job's messages are made of."""

    job: Job
    plan: dict[str, Any]
    requests: list[Request]
    rounds: list[Round]
    evidence: dict[str, Evidence]  # of the proved commit, else of the newest
    artifacts: list[Artifact]
    queue: int = 0  # jobs of the same state before this one
    public_url: str = ""


class Button(msgspec.Struct, frozen=True):
    label: str
    data: str = ""  # ≤ 64 bytes
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


def link(url: str, label: str) -> str:
    """Telegram drops links to `localhost` without a word, so such a URL is given to be copied."""
    if re.match(r"https?://localhost[:/]", url + "/"):
        return f"<code>{esc(url)}</code>"
    return f'<a href="{html.escape(url)}">{esc(label)}</a>'


def button(job_id: str, action: str, *args: str) -> str:
    """What a button sends back: `v1:<job>:<action>[:<arg>…]`, cut to Telegram's 64 bytes."""
    return ":".join(["v1", job_id, action, *args]).encode()[:64].decode(errors="ignore")


def wanted(facts: Facts) -> list[Wanted]:
    """All messages that this job should have in its chat now, oldest first. Pure: the notifier makes it so."""
    job = facts.job
    found = [status(facts)]
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
    lines = [f"<b>{esc(job.title)}</b>", f"<code>{job.id}</code>{_round(job)}", "", *_steps(facts, state)]
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
    return Wanted(kind="status", text=_cut("\n".join(lines)), buttons=buttons, notify=False)


def _round(job: Job) -> str:
    if job.round == 0:
        return ""
    request = f"change {job.request_no}, " if job.request_no > 1 else ""
    return f" · {request}round {job.round} of {job.rounds_max}"


def _steps(facts: Facts, state: State) -> list[str]:
    reached = next((i for i, (_, states) in enumerate(STEPS) if state in states), None)
    done = len(STEPS) if state in {State.READY_FOR_HUMAN_REVIEW, State.MERGED} else reached
    if done is None:  # ended on the way: shown up to where it failed
        stage = facts.job.failure.stage if facts.job.failure else ""
        done = next((i for i, (_, states) in enumerate(STEPS) if stage in states), 0)
    lines = []
    for i, (name, _) in enumerate(STEPS):
        mark = "✅" if i < done else ("▶️" if i == reached else ("❌" if i == done and reached is None else "▫️"))
        lines.append(f"{mark} {name}{_detail(facts, name) if i <= done else ''}")
    return lines


def _detail(facts: Facts, step: str) -> str:
    if step == "Plan" and facts.plan:
        n = len(facts.plan.get("criteria", []))
        return f": {n} {'criterion' if n == 1 else 'criteria'}, by {facts.plan.get('by', 'rules')}"
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
    passed = sum(s.get("passed", 0) for s in suites.data["suites"])
    failed = sum(s.get("failed", 0) for s in suites.data["suites"])
    return f"{passed} passed" + (f", {failed} failed" if failed else "")


def _nth(n: int) -> str:
    return f"{n}{'th' if 10 < n % 100 < 14 else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"


# ── questions ─────────────────────────────────────────────────────────────────


def question(facts: Facts) -> Wanted:
    job = facts.job
    assert job.waiting is not None
    buttons = tuple(
        Button(label, button(job.id, "answer", job.waiting.kind, answer)) for answer, label in job.waiting.options
    )
    again = "\n<i>This is a reminder.</i>" if job.waiting.reminded else ""
    text = f"❓ <b>{esc(job.title)}</b>\n{esc(job.waiting.asks)}{again}"
    return Wanted(
        kind=f"ask:{job.waiting.kind}:{job.waiting.sha[:12]}:{job.waiting.reminded:d}", text=text, buttons=buttons
    )


# ── ends ──────────────────────────────────────────────────────────────────────


def final(facts: Facts) -> Wanted:
    """Pull request, preview, tests, verdict; the playable video follows."""
    job = facts.job
    lines = [f"✅ <b>Ready for your review: {esc(job.title)}</b>", ""]
    if job.failure is not None:
        lines = [f"⚠️ <b>{esc(job.title)}</b>: back at the last commit that holds.", esc(job.failure.message), ""]
    if job.pr is not None:
        lines.append(f"Pull request: {link(job.pr.url, f'#{job.pr.number}')}")
    if job.sandbox and job.sandbox.preview_url and job.sandbox.preview != "stopped":
        down = "" if job.sandbox.preview in {"up", ""} else f" ({job.sandbox.preview})"
        lines.append(
            f"Preview: {link(job.sandbox.preview_url, job.sandbox.preview_url)}{down}, on the factory's machine only"
        )
    else:
        lines.append("Preview: stopped; it is rebuilt when you ask for more")
    if suites := facts.evidence.get("suites"):
        lines += ["", "<b>Tests</b>"]
        lines += [f"{'✅' if not s['counts'] else '❌'} {esc(s['suite'])}: {_suite(s)}" for s in suites.data["suites"]]
    if browser := facts.evidence.get("browser"):
        lines += ["", "<b>In the browser</b>"]
        lines += [f"{'✅' if r.get('ok') else '❌'} {esc(r['name'])}" for r in browser.data.get("results", [])]
    if review := facts.evidence.get("review"):
        lines += [
            "",
            f"<b>Review</b>: {esc(review.data['verdict'].replace('_', ' '))}. {esc(review.data.get('summary', ''))}",
        ]
    if facts.evidence.get("browser") and not video(facts):
        lines.append("No video was recorded.")
    lines.append("\nReply to this message to change something.")
    buttons = (Button("Open the pull request", url=job.pr.url),) if job.pr and job.pr.url.startswith("https://") else ()
    kind = f"final:{job.request_no}:{(job.proved_sha or '')[:12]}"
    return Wanted(kind=kind, text=_cut("\n".join(lines)), buttons=buttons)


def _suite(suite: dict[str, Any]) -> str:
    known = f", {len(suite['known'])} red on the base too" if suite.get("known") else ""
    failed = f", {suite['failed']} failed" if suite.get("failed") else ""
    return f"{suite.get('passed', 0)} passed{failed}{known} in {suite.get('seconds', 0):.1f} s"


def video(facts: Facts) -> list[Wanted]:
    """The newest video of the proved commit."""
    job = facts.job
    videos = [a for a in facts.artifacts if a.kind == "video" and a.commit == job.proved_sha]
    if not videos:
        return []
    caption = f"🎬 {esc(job.title)}"[:1000]
    return [Wanted(kind=f"video:{job.request_no}:{(job.proved_sha or '')[:12]}", text=caption, video=videos[-1])]


def failed(facts: Facts) -> Wanted:
    """Stage, reason, the log's tail, what to do; cleanup as soon as it is known."""
    job = facts.job
    failure = job.failure
    assert failure is not None
    stage = PHASES[State(failure.stage)].say if failure.stage in set(State) else failure.stage
    lines = [f"❌ <b>Failed: {esc(job.title)}</b>", f"Stage: {esc(stage)} (<code>{esc(failure.stage)}</code>)"]
    lines.append(esc(_cut(failure.message, 1200)))
    if failure.log_tail.strip():
        lines.append(f"<pre>{esc(failure.log_tail.strip()[-TAIL:])}</pre>")
    if failure.log_url:
        lines.append(link(failure.log_url, "The whole log"))
    if failure.hint:
        lines.append(esc(failure.hint))
    lines.append(_cleanup(job))
    return Wanted(
        kind=f"failed:{job.request_no}:{job.lease_epoch}",
        text=_cut("\n".join(lines)),
        buttons=(Button("Retry", button(job.id, "retry")),),
    )


def ended(facts: Facts, word: str) -> Wanted:
    job = facts.job
    mark = "🎉" if word == "Merged" else "🛑"
    lines = [f"{mark} <b>{word}: {esc(job.title)}</b>"]
    if job.pr is not None:
        lines.append(f"Pull request: {link(job.pr.url, f'#{job.pr.number}')}")
    if word == "Merged" and any(r.read_by is None or r.read_by == f"plan:{job.request_no}" for r in facts.requests[1:]):
        lines.append("What was still under way is not in it.")
    lines.append(_cleanup(job))
    return Wanted(kind=f"ended:{word.lower()}:{job.request_no}", text="\n".join(lines))


def _cleanup(job: Job) -> str:
    return {
        "pending": "Cleanup: under way",
        "done": "Cleanup: done, nothing is left running",
        "problem": "Cleanup: not everything could be removed; I keep trying",
        "unreachable": "Cleanup: its machine does not answer; it cleans up when it is back",
    }.get(job.cleanup or "", "Cleanup: nothing was started")


def _cut(text: str, limit: int = LIMIT) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


# ── answers to commands ───────────────────────────────────────────────────────


def not_connected(chat: int) -> str:
    return (
        f"This chat is not connected to a project. Whoever runs the factory can add its id, <code>{chat}</code>, "
        "to factory-projects.yaml."
    )


def not_allowed(user: int) -> str:
    return f"You may not start work here. An owner can add your id, <code>{user}</code>, to this project's users."


def taken(job: Job) -> str:
    return f"Taken: <b>{esc(job.title)}</b> (<code>{job.id}</code>)."


def listed(jobs: list[Job]) -> str:
    if not jobs:
        return "Nothing is under way."
    return "\n".join(
        f"<code>{j.id}</code> {esc(j.title)} — {PHASES[State(j.state)].say.lower()}{_round(j)}" for j in jobs
    )


def one(job: Job) -> str:
    waits = f"\nWaits: {esc(job.waiting.asks)}" if job.waiting else ""
    pr = f"\nPull request: {link(job.pr.url, f'#{job.pr.number}')}" if job.pr else ""
    return f"<b>{esc(job.title)}</b> (<code>{job.id}</code>)\n{PHASES[State(job.state)].say}{_round(job)}{waits}{pr}"


STEERED = "Noted. The agent hears it at the start of its next round."
FOLLOWED = "Understood as a further change on the same pull request. If it was not one, press the button."
THANKED = "That is no change as I understand it, so nothing was started. If it is one, say it with /fix in a reply."
RETRIED = "Tried again."
NOT_FAILED = "Only a failed job can be tried again; reply to a ready one to change it."
CANCELLED = "Cancelled."
NO_SUCH_JOB = "I do not know that job here. /jobs lists what is under way."
WHICH_JOB = "Which one? Give its id or reply to its message. /jobs lists them."
EMPTY = "That message holds no text to work with. Write what should change."
NOT_YOURS = "Only its author or an owner may do that."
ENDED_BEFORE = "That has ended already."
GONE = "That question was answered already."
