"""The pull request's text, every item from records. One template, rendered anew whenever a record has changed."""

from __future__ import annotations

from typing import Any

import msgspec
from factory_jobs.job import Job
from factory_jobs.records import Artifact, Evidence, Records, Request, Round

from .diff import Diff
from .repository import Repository
from .risk import Level, Risk, assess, level

TEMPLATES = (
    ".github/PULL_REQUEST_TEMPLATE.md",
    ".github/pull_request_template.md",
    "PULL_REQUEST_TEMPLATE.md",
)
LABELS = ("factory-generated", "needs-human-review")
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
    diff: Diff
    risks: list[Risk]
    level: Level
    template: str  # the repo's own pull request template, kept beneath ours
    public_url: str

    def link(self, artifact: Artifact) -> str:
        return f"{self.public_url.rstrip('/')}/a/{artifact.job_id}/{artifact.sha256}/{artifact.name}"

    def newest(self, kind: str) -> list[Artifact]:
        """The artifacts of this kind that the newest recording of the commit made."""
        found = [a for a in self.artifacts if a.kind == kind and a.commit == self.job.work_sha]
        newest = max((a.epoch for a in found), default=0)
        return [a for a in found if a.epoch == newest]


async def gather(records: Records, job: Job, repository: Repository, public_url: str) -> Proof:
    """Everything about the job's newest commit, from records and from the trusted mirror."""
    assert job.work_sha is not None and job.base_sha is not None
    diff = await repository.diff(job.base_sha, job.work_sha)
    risks = assess(diff)
    return Proof(
        job=job,
        plan=await records.plan(job.id, job.request_no) or {},
        requests=await records.requests(job.id),
        rounds=await records.rounds(job.id),
        evidence=await records.evidence(job.id, job.work_sha),
        artifacts=await records.artifacts(job.id),
        base=await records.base(job.repo, job.base_sha) or {},
        diff=diff,
        risks=risks,
        level=level(diff, risks),
        template=await _template(repository, job.base_sha),
        public_url=public_url,
    )


async def _template(repository: Repository, sha: str) -> str:
    paths = {e.path for e in await repository.files(sha) if e.is_file and e.size <= 64_000}
    found = next((p for p in TEMPLATES if p in paths), None)
    return (await repository.read(sha, found, 64_000)).decode(errors="replace") if found else ""


def labels(proof: Proof) -> list[str]:
    """Created on demand: what it is, what it needs, whose it is, how risky."""
    job = proof.job
    return [*LABELS, f"project:{job.project}", f"risk:{proof.level}", *job.snapshot.get("labels", [])]


def render(proof: Proof) -> str:
    """The body as Markdown."""
    parts = [
        _request(proof),
        _section("Problem", proof.plan.get("problem", "")),
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
        proof.template.strip(),
        f"<!-- factory-job: {proof.job.id} -->",
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text.strip() or 'Nothing to say.'}"


def quote(text: str, limit: int = 1500) -> str:
    text = text.strip()
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return "\n".join(f"> {line}" for line in text.splitlines())


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _request(proof: Proof) -> str:
    parts = []
    for request in proof.requests:
        where = f"[{request.author}]({request.link})" if request.link else request.author
        parts.append(f"{quote(request.text)}\n>\n> — {where}, {request.at:%Y-%m-%d %H:%M} UTC")
    return "## Original request\n\n" + "\n\n".join(parts)


def _summary(proof: Proof) -> str:
    said = [r for r in proof.rounds if r.summary and r.commit]
    lines = [f"**Round {r.round}{_of(proof, r)}.** {r.summary.strip()}" for r in said if r.summary]
    return "\n\n".join(lines)


def _of(proof: Proof, r: Round) -> str:
    return f" of request {r.request_no}" if proof.job.request_no > 1 else ""


def _files(proof: Proof) -> str:
    rows = [f"| `{cell(f.path)}` | {f.status} | +{f.added} −{f.removed} |" for f in proof.diff.files[:60]]
    more = f"\n… and {len(proof.diff.files) - 60} more." if len(proof.diff.files) > 60 else ""
    notes = "\n".join(f"- {n}" for n in proof.plan.get("notes", []))
    table = "| file | change | lines |\n|---|---|---|\n" + "\n".join(rows) + more
    return table + (f"\n\nFrom the repo, while planning:\n{notes}" if notes else "")


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
        how = "; ".join(r["name"] for r in shown) or "no scenario"
        lines.append(f"- [{'x' if ok else ' '}] **{criterion['id']}** {criterion['text']} — _{how}_{link}")
    return "\n".join(lines)


def _tests(proof: Proof) -> str:
    suites = proof.evidence.get("suites")
    if suites is None:
        return "The suites have not run on this commit."
    before = {s["suite"]: s for s in proof.base.get("suites", [])}
    rows = ["| suite | result | passed | failed | skipped | seconds | on the base |", "|---|---|---|---|---|---|---|"]
    for s in suites.data["suites"]:
        was = before.get(s["suite"])
        base = "not run" if was is None else f"{was.get('passed', 0)} passed, {was.get('failed', 0)} failed"
        result = "failed" if s["counts"] else ("as on the base" if s.get("known") else "passed")
        counts = f"{s.get('passed', 0)} | {s.get('failed', 0)} | {s.get('skipped', 0)} | {s.get('seconds', 0):.1f}"
        rows.append(f"| {cell(s['suite'])} | {result} | {counts} | {base} |")
    known = sorted({k for s in suites.data["suites"] for k in s.get("known", [])})
    note = f"\n\nRed on the base already, not counted: {', '.join(known)}." if known else ""
    return "\n".join(rows) + note


def _preview(proof: Proof) -> str:
    sandbox = proof.job.sandbox
    if sandbox is None or not sandbox.preview_url:
        return "The preview has stopped; it is rebuilt when somebody works on this again."
    others = [f"- {u['service']}: {u['url']}" for u in sandbox.urls if u["url"] != sandbox.preview_url]
    state = "" if sandbox.preview in {"up", ""} else f" (now {sandbox.preview})"
    return f"{sandbox.preview_url}{state} — on the factory's machine only.\n" + "\n".join(others)


def _video(proof: Proof) -> str:
    browser = proof.evidence.get("browser")
    videos = proof.newest("video")
    if browser is None or not videos:
        return "No video was recorded for this commit."
    facts = browser.data.get("video") or {}
    lines = [f"[{videos[0].name}]({proof.link(videos[0])}) ({facts.get('seconds', 0):.0f} s, H.264)"]
    for chapter in facts.get("chapters") or []:
        at = int(chapter["start"])
        lines.append(f"- {at // 60}:{at % 60:02d} {chapter['title']}")
    lines += [f"- screenshot: [{a.name}]({proof.link(a)})" for a in proof.newest("screenshot")]
    new = len(browser.data.get("console_new") or []) + len(browser.data.get("requests_new") or [])
    known = len(browser.data.get("console_known") or []) + len(browser.data.get("requests_known") or [])
    lines.append(f"\nNew console errors and failed requests: {new}; there on the base already: {known}.")
    return "\n".join(lines)


def _review(proof: Proof) -> str:
    review = proof.evidence.get("review")
    if review is None:
        return "The review by the second bot is under way."
    findings = review.data.get("findings", [])
    lines = [f"**{review.data['verdict'].replace('_', ' ')}** — {review.data.get('summary', '')}"]
    lines += [f"- {f['severity']}: {f['says']} (`{f['path']}`)" for f in findings[:20]]
    return "\n".join(lines)


def _risks(proof: Proof) -> str:
    found = [f"- `{r.path}`: {r.says}" for r in proof.risks] + [f"- {r}" for r in proof.plan.get("risks", [])]
    return f"Risk level by rules: **{proof.level}**.\n\n" + ("\n".join(found) or "No rule found a risk.")


def _rollback(proof: Proof) -> str:
    migration = any("migrat" in f.path.lower() for f in proof.diff.files)
    undo = " A migration is part of it: undo it in the database before the revert is deployed." if migration else ""
    return f"Revert the merge commit.{undo}"


def _provenance(proof: Proof) -> str:
    job = proof.job
    agent = job.snapshot.get("agent") or "claude"
    label = agent if isinstance(agent, str) else (agent.get("label") or " ".join(agent.get("command", [])))
    lines = [
        f"- job [{job.id}]({proof.public_url.rstrip('/')}/jobs/{job.id}), request {job.request_no}, round {job.round}",
        f"- agent: {label}; plan by {proof.plan.get('by', 'rules')}",
        f"- base `{job.base_sha}`, proved commit `{job.work_sha}`",
        f"- proved in: {WHERE}",
    ]
    return "\n".join(lines)
