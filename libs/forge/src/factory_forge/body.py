"""The pull request's text, every item from records. One template, rendered anew whenever a record has changed.

What people, agents and repos have written is shown as it was written and never read as Markdown: no request, summary,
path or name can forge a section, hide one, link anywhere or call anybody.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from factory_jobs.job import Job
from factory_jobs.records import Artifact, Evidence, Records, Request, Round

from .basis import Basis
from .diff import Diff, FileChange
from .forge import BODY_MAX, LABEL_MAX
from .repository import Repository
from .risk import Level, Risk, assess, level

# https://docs.github.com/en/communities/using-templates-to-encourage-useful-issues-and-pull-requests
TEMPLATE = re.compile(r"(\.github/|docs/)?pull_request_template\.(md|txt)", re.I)
LABELS = ("factory-generated", "needs-human-review")
OURS = ("project:", "risk:")  # how labels begin that say one thing at a time
WHERE = "the agent's own sandbox, without isolation from this machine (provider: local)"


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the text is made of."""

    job: Job
    plan: dict[str, Any]
    requests: list[Request]
    rounds: list[Round]
    evidence: dict[str, Evidence]  # of the commit, by kind
    artifacts: list[Artifact]
    base: dict[str, Any]
    basis: Basis
    risks: list[Risk]
    level: Level
    template: str  # the repo's own pull request template, kept beneath ours
    public_url: str

    @property
    def diff(self) -> Diff:
        return self.basis.diff

    def link(self, artifact: Artifact) -> str:
        name = urllib.parse.quote(artifact.name)
        return f"{self.public_url.rstrip('/')}/a/{artifact.job_id}/{artifact.sha256}/{name}"

    def newest(self, kind: str) -> list[Artifact]:
        """The artifacts of this kind that the newest recording of the commit made."""
        found = [a for a in self.artifacts if a.kind == kind and a.commit == self.job.work_sha]
        newest = max((a.epoch for a in found), default=0)
        return [a for a in found if a.epoch == newest]


async def gather(
    records: Records,
    job: Job,
    repository: Repository,
    basis: Basis,
    public_url: str,
    clean: Callable[[str], str],
) -> Proof:
    """Everything about the job's newest commit, from records and from the trusted mirror.

    What people wrote is kept as they wrote it: `clean` takes its secrets out here, before anything of it is cut.
    """
    assert job.work_sha is not None and job.base_sha is not None
    risks = assess(basis.diff)
    requests = await records.requests(job.id)
    return Proof(
        job=job,
        plan=await records.plan(job.id, job.request_no) or {},
        requests=[msgspec.structs.replace(r, text=clean(r.text)) for r in requests],
        rounds=await records.rounds(job.id),
        evidence=await records.evidence(job.id, job.work_sha),
        artifacts=await records.artifacts(job.id),
        base=await records.base(job.repo, job.base_sha) or {},
        basis=basis,
        risks=risks,
        level=level(basis.diff, risks),
        template=await _template(repository, job.base_sha),
        public_url=public_url,
    )


async def _template(repository: Repository, sha: str) -> str:
    files = [e for e in await repository.files(sha) if e.is_file and TEMPLATE.fullmatch(e.path) and e.size <= 64_000]
    if not files:
        return ""
    nearest = min(files, key=lambda e: (not e.path.startswith(".github/"), e.path))
    return (await repository.read(sha, nearest.path, 64_000)).decode(errors="replace")


def labels(proof: Proof, there: Iterable[str] = ()) -> list[str]:
    """Created on demand: what it is, what it needs, whose it is, how risky; and those that people have put `there`."""
    job = proof.job
    found = [*LABELS, f"project:{job.project}", f"risk:{proof.level}", *job.snapshot.get("labels", [])]
    found += [label for label in there if not label.startswith(OURS)]
    return list(dict.fromkeys(label.strip()[:LABEL_MAX] for label in found if label.strip()))


def render(proof: Proof) -> str:
    """The body as Markdown, no longer than a forge takes: the repo's own template gives way first, then the
    longest sections."""
    first = f"<!-- factory-job: {proof.job.id} -->"  # so that nothing before it can swallow it
    sections = [
        _request(proof),
        _section("Problem", paragraphs(proof.plan.get("problem", ""))),
        _section("Summary", _summary(proof)),
        _section("Files changed and architecture notes", _files(proof)),
        _section("Acceptance criteria", _criteria(proof)),
        _section("Test results", _tests(proof)),
        _section("Preview", _preview(proof)),
        _section("Video", _video(proof)),
        _section("Reviewer", _review(proof)),
        _section("Known risks", _risks(proof)),
        _section("Rollback", _rollback(proof)),
        _section("Provenance", _provenance(proof)),
    ]
    ours = "\n\n".join([first, *sections]) + "\n"
    with_template = f"{ours}\n{proof.template.strip()}\n" if proof.template.strip() else ours
    if len(with_template) <= BODY_MAX:
        return with_template
    if len(ours) <= BODY_MAX:
        return ours
    return "\n\n".join([first, *_fitted(sections, BODY_MAX - len(first))]) + "\n"


def comment_marker(job_id: str) -> str:
    """By which the comment is found again."""
    return f"proof:{job_id}"


def comment(proof: Proof) -> str:
    """The one comment that is edited in place: how the newest proof stands, in a few lines."""
    job = proof.job
    suites, browser = proof.evidence.get("suites"), proof.evidence.get("browser")
    results = browser.data.get("results", []) if browser else []
    rows = {
        "commit": f"`{job.work_sha}`, request {job.request_no}, round {job.round}",
        "tests": ", ".join(f"{plain(s['suite'])}: {_result(s)}" for s in suites.data["suites"]) if suites else "",
        "browser": f"{sum(bool(r.get('ok')) for r in results)} of {len(results)} scenarios hold" if browser else "",
        "video": ", ".join(f"[{plain(a.name)}]({proof.link(a)})" for a in proof.newest("video")[:1]),
        "preview": _preview(proof).splitlines()[0],
        "reviewer": _review(proof).splitlines()[0],
    }
    lines = [f"| {name} | {cell(says) or 'none for this commit'} |" for name, says in rows.items()]
    page = f"{proof.public_url.rstrip('/')}/jobs/{job.id}"
    return _cut("\n".join([f"[The newest proof]({page})", "", "| | |", "|---|---|", *lines]), 10_000)


def _fitted(sections: list[str], room: int) -> list[str]:
    """Each has an equal share of `room`, and of what shorter ones leave of theirs."""
    fitted = dict.fromkeys(range(len(sections)), "")  # in order
    for left, n in zip(range(len(sections), 0, -1), sorted(fitted, key=lambda n: len(sections[n])), strict=True):
        fitted[n] = _cut(sections[n], room // left - 2)  # two line ends stand before each
        room -= len(fitted[n]) + 2
    return list(fitted.values())


def _cut(section: str, limit: int) -> str:
    """At the end of a line; where that would leave less than half of it, between words."""
    if len(section) <= limit:
        return section
    rest = "\n\n… the rest is on the job's page."
    kept = section[: limit - len(rest)]
    line = kept.rfind("\n")
    return kept[: line if line > limit // 2 else max(line, kept.rfind(" "))] + rest


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text.strip() or 'Nothing to say.'}"


# ── texts of others ───────────────────────────────────────────────────────────

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)  # control, and what turns text around
_URL = r"https?://[^\s<>\[\]()`\"'|\\]+"
_TOKEN = re.compile(
    r"(?P<kept>(?<!`)(?P<fence>`{1,3})(?!`)(?:(?!<!--)[^`\n])+(?P=fence)(?!`)|" + _URL + r")|"
    r"(?P<closes>\b(?i:close[sd]?|fix(?:e[sd])?|resolve[sd]?)(?=[\s:]+https?://))|(?P<issue>\bGH-(?=\d))|"
    r"(?P<active>[\\`*\[\]<~]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)|@(?=\w)|#(?=\d))"
)
# An empty character after @ and # keeps a forge from calling people and from linking, or closing, issues; it also
# stands after GH- and in the words that would close the issue whose address follows.
# https://docs.github.com/en/issues/tracking-your-work-with-issues/using-issues/linking-a-pull-request-to-an-issue
_ENTITIES = {"<": "&lt;", "&": "&amp;", "@": "@&#8203;", "#": "#&#8203;"}
_BLOCK = re.compile(r"^(\d*)([.)](?=\s|$)|[-+](?=[-\s]|$)|[#>=|:])")  # what begins a heading, list, table …
_ITEM = re.compile(r"\s*(?P<mark>[-*+•]|\d{1,3}[.)])\s+(?P<text>\S.*)")


def plain(text: str) -> str:
    """One line that shows `text` as it was written. Code spans and web addresses stay what they are."""
    text = _UNSEEN.sub("", " ".join(text.split()))
    shown = _TOKEN.sub(_inert, text)
    return _BLOCK.sub(r"\1\\\2", shown)


def _inert(token: re.Match[str]) -> str:
    if token["closes"]:
        return f"{token[0][0]}&#8203;{token[0][1:]}"
    if token["issue"]:
        return f"{token[0]}&#8203;"
    return token["kept"] or _ENTITIES.get(token["active"]) or f"\\{token['active']}"


def paragraphs(text: str, limit: int = 1500) -> str:
    """`plain`, line by line; lists stay lists."""
    text = text.strip()
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    shown = []
    for line in text.splitlines():
        if item := _ITEM.fullmatch(line):
            mark = item["mark"] if item["mark"][0].isdigit() else "-"
            words = re.sub(r"^\\\[", r"&#8203;\\[", plain(item["text"]))  # no box that somebody could take for ours
            shown.append(f"{mark} {words}")
        else:
            shown.append(f"{plain(line)}  " if line.strip() else "")  # two blanks: the line ends here
    return "\n".join(shown)


def quote(text: str, limit: int = 1500) -> str:
    """`paragraphs` as a quotation."""
    return "\n".join(f"> {line}" if line else ">" for line in paragraphs(text, limit).splitlines())


def code(text: str) -> str:
    """A path or name as a code span, whatever is in it."""
    text = re.sub(r"[^\S ]", lambda m: repr(m[0])[1:-1], _UNSEEN.sub("�", text)).replace("<!--", "<\u200b!--")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") or not text.strip() else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def cell(shown: str) -> str:
    """`plain` or `code` text within a table."""
    return shown.replace("|", "\\|")


def address(url: str) -> str:
    """A link where it is one for the web; else the text alone."""
    return url if re.fullmatch(_URL, url) else code(url)


# ── sections ──────────────────────────────────────────────────────────────────

MESSAGES, ROUNDS, NAMES = 10, 10, 30  # how many are shown


def _request(proof: Proof) -> str:
    parts = []
    for request in proof.requests[-MESSAGES:]:
        author = plain(request.author)
        linked = request.link and re.fullmatch(_URL, request.link)
        where = f"[{author}]({request.link})" if linked else author
        parts.append(f"{quote(request.text)}\n>\n> — {where}, {request.at:%Y-%m-%d %H:%M} UTC")
    if earlier := len(proof.requests) - len(parts):
        parts.insert(0, f"{earlier} earlier messages are on the job's page.")
    return "## Original request\n\n" + "\n\n".join(parts)


def _summary(proof: Proof) -> str:
    said = [r for r in proof.rounds if r.summary and r.commit and r.outcome != "refused"][-ROUNDS:]
    lines = [f"**Round {r.round}{_of(proof, r)}**, in the agent's words:\n\n{quote(r.summary or '')}" for r in said]
    return "\n\n".join(lines) or "The agent gave no summary; the files below are what changed."


def _of(proof: Proof, r: Round) -> str:
    return f" of request {r.request_no}" if proof.job.request_no > 1 else ""


def _files(proof: Proof) -> str:
    files = proof.diff.files
    rows = [f"| {cell(code(f.path))} | {cell(_change(f))} | {_lines(f)} |" for f in files[:60]]
    more = f"\n\n… and {len(files) - 60} more." if len(files) > 60 else ""
    notes = "\n".join(f"- {plain(n)}" for n in proof.plan.get("notes", []))
    table = "| file | change | lines |\n|---|---|---|\n" + "\n".join(rows) + more
    return table + (f"\n\nFrom the repo, while planning:\n\n{notes}" if notes else "")


def _change(file: FileChange) -> str:
    if file.status == "R":
        return f"renamed from {code(file.old_path)}"
    return {"A": "added", "M": "changed", "D": "deleted", "T": "became another type"}[file.status]


def _lines(file: FileChange) -> str:
    return "binary" if file.binary else f"+{file.added} −{file.removed}"


def _criteria(proof: Proof) -> str:
    browser = proof.evidence.get("browser")
    results = browser.data.get("results", []) if browser else []
    chapters = ((browser.data.get("video") or {}).get("chapters") or []) if browser else []
    video = next(iter(proof.newest("video")), None)
    lines = []
    for criterion in proof.plan.get("criteria", []):
        shown = [r for r in results if criterion["id"] in r.get("criteria", [])]
        ok = bool(shown) and all(r.get("ok") for r in shown)
        at = [
            c for c in chapters if c.get("criterion") == criterion["id"] or criterion["id"] in (c.get("criteria") or [])
        ]
        link = ""
        if video and at:
            seconds = int(at[0]["start"])
            link = f" ([video at {seconds // 60}:{seconds % 60:02d}]({proof.link(video)}#t={seconds}))"
        how = "; ".join(plain(r["name"]) for r in shown) or "no scenario"
        lines.append(f"- [{'x' if ok else ' '}] **{criterion['id']}** {plain(criterion['text'])} — {how}{link}")
    return "\n".join(lines)


def _tests(proof: Proof) -> str:
    suites = proof.evidence.get("suites")
    if suites is None:
        return "The suites have not run on this commit."
    if not suites.data["suites"]:
        return "The repo names no suites: proof rests on the browser alone."
    before = {s["suite"]: s for s in proof.base.get("suites", [])}
    rows = ["| suite | result | passed | failed | skipped | seconds | on the base |", "|---|---|---|---|---|---|---|"]
    for s in suites.data["suites"]:
        was = before.get(s["suite"])
        base = "not run" if was is None else f"{was.get('passed', 0)} passed, {was.get('failed', 0)} failed"
        counts = f"{s.get('passed', 0)} | {s.get('failed', 0)} | {s.get('skipped', 0)} | {s.get('seconds', 0):.1f}"
        rows.append(f"| {cell(plain(s['suite']))} | {_result(s)} | {counts} | {base} |")
    known = sorted({k for s in suites.data["suites"] for k in s.get("known", [])})
    more = f" and {len(known) - NAMES} more" if len(known) > NAMES else ""
    listed = ", ".join(code(name) for name in known[:NAMES])
    note = f"\n\nRed on the base already, not counted: {listed}{more}." if known else ""
    return "\n".join(rows) + note


def _result(suite: dict[str, Any]) -> str:
    if suite.get("missing"):
        return "did not run"
    return "passed" if suite.get("ok") else ("failed" if suite["counts"] else "red as on the base")


def _preview(proof: Proof) -> str:
    sandbox = proof.job.sandbox
    if sandbox is None or not sandbox.preview_url:
        return "The preview has stopped; it is rebuilt when somebody works on this again."
    others = [f"- {plain(u['service'])}: {address(u['url'])}" for u in sandbox.urls if u["url"] != sandbox.preview_url]
    state = "" if sandbox.preview in {"up", ""} else f" (now {sandbox.preview})"
    return f"{address(sandbox.preview_url)}{state} — on the factory's machine only.\n\n" + "\n".join(others)


def _video(proof: Proof) -> str:
    browser = proof.evidence.get("browser")
    videos = proof.newest("video")
    if browser is None or not videos:
        return "No video was recorded for this commit."
    facts = browser.data.get("video") or {}
    lines = [f"[{plain(videos[0].name)}]({proof.link(videos[0])}) ({facts.get('seconds', 0):.0f} s, H.264)\n"]
    for chapter in facts.get("chapters") or []:
        at = int(chapter["start"])
        lines.append(f"- {at // 60}:{at % 60:02d} {plain(chapter['title'])}")
    lines += [f"- screenshot: [{plain(a.name)}]({proof.link(a)})" for a in proof.newest("screenshot")[:NAMES]]
    new = sum(len(browser.data.get(kind) or []) for kind in ("console_new", "requests_new", "page_errors"))
    known = sum(len(browser.data.get(kind) or []) for kind in ("console_known", "requests_known", "page_errors_known"))
    lines.append(f"\nNew errors in the browser, failed requests among them: {new}; there on the base already: {known}.")
    return "\n".join(lines)


def _review(proof: Proof) -> str:
    review = proof.evidence.get("review")
    if review is None:
        return "The review by the second bot is under way."
    findings = review.data.get("findings", [])
    lines = [f"**{review.data['verdict'].replace('_', ' ')}** — {plain(review.data.get('summary', ''))}\n"]
    lines += [f"- {f['severity']}: {plain(f['says'])} ({code(f['path'])})" for f in findings[:NAMES]]
    if len(findings) > NAMES:
        lines.append(f"- … and {len(findings) - NAMES} more")
    return "\n".join(lines)


def _risks(proof: Proof) -> str:
    found = [f"- {code(r.path)}: {r.says}" for r in proof.risks[:NAMES]]
    if len(proof.risks) > NAMES:
        found.append(f"- … and {len(proof.risks) - NAMES} more files like these")
    found += [f"- {plain(r)}" for r in proof.plan.get("risks", [])]
    if proof.basis.conflicts:
        files = ", ".join(code(path) for path in proof.basis.conflicts[:NAMES])
        found.append(
            f"- It conflicts with {code(proof.basis.name)}, which has moved on, in {files}: the next request to this job "
            "brings the two together, or you do."
        )
    return f"Risk level by rules: **{proof.level}**.\n\n" + ("\n".join(found) or "No rule found a risk.")


def _rollback(proof: Proof) -> str:
    migration = any("migrat" in f.path.lower() for f in proof.diff.files)
    undo = " A migration is part of it: undo it in the database before the revert is deployed." if migration else ""
    return f"Revert the merge commit.{undo}"


def _moved(basis: Basis) -> list[str]:
    if not basis.moved:
        return []
    commits = "1 commit" if basis.moved == 1 else f"{basis.moved} commits"
    merges = "they conflict with this" if basis.conflicts else "git merges them without a conflict"
    return [f"- {code(basis.name)} has moved by {commits} that this was not proved with; {merges}"]


def _provenance(proof: Proof) -> str:
    job = proof.job
    agent = job.snapshot.get("agent") or "claude"
    label = agent if isinstance(agent, str) else (agent.get("label") or " ".join(agent.get("command", [])))
    lines = [
        f"- job [{job.id}]({proof.public_url.rstrip('/')}/jobs/{job.id}), request {job.request_no}, round {job.round}",
        f"- agent: {plain(label)}; plan by {plain(proof.plan.get('by', 'rules'))}",
        f"- base `{job.base_sha}`, proved commit `{job.work_sha}`",
        *_moved(proof.basis),
        f"- proved in: {WHERE}",
    ]
    return "\n".join(lines)
