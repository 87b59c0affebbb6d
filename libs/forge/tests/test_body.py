"""The pull request's text: every item of the contract, from records, and no text of others that is read as Markdown."""

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from factory_forge import body
from factory_forge.basis import Basis
from factory_forge.body import Proof
from factory_forge.diff import Diff, FileChange
from factory_forge.forge import BODY_MAX, PROOF
from factory_forge.git import Mirror
from factory_forge.risk import Risk
from factory_jobs.job import Job, Pull, Sandbox
from factory_jobs.records import Artifact, Evidence, Request, Round

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
BASE, WORK = "a" * 40, "b" * 40
JOB = Job(
    id="jabcdefghi2",
    state="video_recorded",
    version=9,
    seq=9,
    project="desk",
    snapshot={"agent": {"command": ["scripted"], "label": "Scripted agent"}, "labels": ["team-a"]},
    repo="https://example.com/desk.git",
    title="Urgent tickets",
    branch="factory/jabcdefghi2-urgent-tickets",
    base_sha=BASE,
    work_sha=WORK,
    round=3,
    pr=Pull(number=1, url="http://factory/pulls/desk/1", head=WORK),
    sandbox=Sandbox(
        provider="local",
        handle={},
        preview_url="http://localhost:2000",
        preview="up",
        urls=[
            {"service": "web", "url": "http://localhost:2000", "primary": True},
            {"service": "api", "url": "http://localhost:2001"},
        ],
    ),
    next_attempt_at=NOW,
    created_at=NOW,
    entered_at=NOW,
)
PLAN = {
    "title": "Urgent tickets",
    "problem": "Urgent tickets get lost.\n- A box",
    "criteria": [
        {"id": "c1", "text": "The form has a box."},
        {"id": "c2", "text": "A red badge."},
        {"id": "c3", "text": "They stand on top."},
    ],
    "risks": ["The database's schema is touched."],
    "notes": ["README.md: A help desk."],
    "by": "rules",
}
BROWSER = {
    "results": [
        {"name": "Ada ticks the box", "criteria": ["c1"], "ok": True},
        {"name": "The badge is red", "criteria": ["c2"], "ok": False},
    ],
    "video": {
        "seconds": 95.4,
        "chapters": [
            {"title": "The form has a box.", "criterion": "c1", "start": 3.2, "end": 60.0},
            {"title": "A red badge.", "criterion": "c2", "start": 71.9, "end": 95.0},
        ],
    },
    "console_new": [],
    "requests_new": [{"text": "GET /x 500"}],
    "console_known": [{"text": "old"}, {"text": "older"}],
    "requests_known": [],
    "page_errors": [{"text": "TypeError"}],
    "page_errors_known": [],
}
SUITES = [
    {
        "suite": "unit",
        "ok": True,
        "passed": 12,
        "failed": 0,
        "skipped": 1,
        "seconds": 3.21,
        "counts": False,
        "known": [],
    },
    {
        "suite": "api",
        "ok": False,
        "passed": 7,
        "failed": 1,
        "skipped": 0,
        "seconds": 9.0,
        "counts": False,
        "known": ["test_clock"],
    },
]
REVIEW = {
    "verdict": "commented",
    "summary": "1 warning.",
    "findings": [{"severity": "warning", "path": "web/form.py", "says": "Code was changed and no test with it."}],
}


def evidence(kind: str, data: Any, ok: bool = True) -> Evidence:
    return Evidence(id=1, commit=WORK, kind=kind, ok=ok, data=data, epoch=4, request_no=1, round=3, at=NOW)


def artifact(kind: str, name: str, *, epoch: int = 4, commit: str = WORK, sha256: str = "c" * 64) -> Artifact:
    return Artifact(
        id=1,
        job_id=JOB.id,
        commit=commit,
        state="browser_validation_running",
        kind=kind,
        name=name,
        key="k",
        sha256=sha256,
        size=1,
        content_type="x",
        epoch=epoch,
        at=NOW,
    )


def request(text: str = "Urgent tickets get lost.\n- A box", author: str = "Ada", link: str | None = None) -> Request:
    return Request(
        id=1,
        job_id=JOB.id,
        source="telegram:1",
        chat="-100",
        message_id=7,
        author=author,
        text=text,
        link=link,
        read_by="plan:1",
        at=NOW,
    )


def a_round(number: int, summary: str | None, **facts: Any) -> Round:
    given: dict[str, Any] = {"request_no": 1, "commit": WORK, "outcome": "end_turn"} | facts
    return Round(
        round=number, parent=None, summary=summary, feedback=None, bundle=None, proved=False, spent={}, at=NOW, **given
    )


def file(path: str, status: str = "M", old_path: str = "", **facts: Any) -> FileChange:
    return FileChange(
        path=path, old_path=old_path or path, status=status, old_mode="100644", new_mode="100644", added=3, removed=1, **facts  # type: ignore[arg-type]
    )  # fmt: skip


def basis(*files: FileChange, moved: int = 0, conflicts: tuple[str, ...] = ()) -> Basis:
    """`main` beside the job's commit."""
    diff = Diff(base=BASE, head=WORK, files=list(files), patch="")
    return Basis(name="main", tip=BASE, moved=moved, conflicts=conflicts, diff=diff)


def proof(**changes: Any) -> Proof:
    whole = Proof(
        job=JOB,
        plan=PLAN,
        requests=[request(link="https://t.me/c/100/7")],
        rounds=[a_round(1, "I added a failing test."), a_round(3, "It works now.")],
        evidence={
            k: evidence(k, d) for k, d in (("browser", BROWSER), ("suites", {"suites": SUITES}), ("review", REVIEW))
        },
        artifacts=[artifact("video", "video.mp4"), artifact("screenshot", "01-box.png", sha256="d" * 64)],
        base={"suites": [{"suite": "unit", "passed": 11, "failed": 0}, {"suite": "api", "passed": 7, "failed": 1}]},
        basis=basis(file("web/form.py"), file("web/new.py", "A")),
        risks=[Risk("contract", "factory.yaml", "changes the runtime contract itself")],
        level="medium",
        template="",
        public_url="http://factory:8080/",
    )
    return msgspec.structs.replace(whole, **changes)


def sections(text: str) -> dict[str, str]:
    """Title → text, in order; a heading counts where Markdown sees one."""
    found: dict[str, str] = {}
    for part in re.split(r"^## ", text, flags=re.M)[1:]:
        title, _, rest = part.partition("\n")
        assert title not in found, f"two sections {title}"
        found[title] = rest.strip()
    return found


TITLES = [
    "Original request",
    "Problem",
    "Summary",
    "Files changed and architecture notes",
    "Acceptance criteria",
    "Test results",
    "Preview",
    "Video",
    "Reviewer",
    "Known risks",
    "Rollback",
    "Provenance",
]


def test_every_item_of_the_contract() -> None:
    """Each is there, in order, and holds what the records say."""
    found = sections(body.render(proof()))
    assert list(found) == TITLES
    assert "> Urgent tickets get lost." in found["Original request"]
    assert "> - A box" in found["Original request"]
    assert "— [Ada](https://t.me/c/100/7), 2026-03-01 12:30 UTC" in found["Original request"]
    assert found["Problem"] == "Urgent tickets get lost.  \n- A box"
    assert "**Round 1**, in the agent's words:\n\n> I added a failing test." in found["Summary"]
    assert "> It works now." in found["Summary"]
    files = found["Files changed and architecture notes"]
    assert "| `web/form.py` | changed | +3 −1 |" in files
    assert "| `web/new.py` | added | +3 −1 |" in files
    assert "- README.md: A help desk." in files
    assert "http://localhost:2000 — on the factory's machine only." in found["Preview"]
    assert "- api: http://localhost:2001" in found["Preview"]
    assert "**commented** — 1 warning." in found["Reviewer"]
    assert "- warning: Code was changed and no test with it. (`web/form.py`)" in found["Reviewer"]
    assert "**medium**" in found["Known risks"]
    assert "`factory.yaml`: changes the runtime contract itself" in found["Known risks"]
    assert "The database's schema is touched." in found["Known risks"]
    assert "Revert the merge commit." in found["Rollback"]
    for fact in (f"`{BASE}`", f"`{WORK}`", "http://factory:8080/jobs/jabcdefghi2", "Scripted agent", "plan by rules"):
        assert fact in found["Provenance"]
    assert "without isolation" in found["Provenance"]


def test_criteria() -> None:
    """A box is ticked only where a scenario held on this commit; each leads to its chapter of the video."""
    lines = sections(body.render(proof()))["Acceptance criteria"].splitlines()
    video = f"http://factory:8080/a/jabcdefghi2/{'c' * 64}/video.mp4"
    assert lines == [
        f"- [x] **c1** The form has a box. — Ada ticks the box ([video at 0:03]({video}#t=3))",
        f"- [ ] **c2** A red badge. — The badge is red ([video at 1:11]({video}#t=71))",
        "- [ ] **c3** They stand on top. — no scenario",
    ]


def test_a_criterion_with_two_scenarios() -> None:
    """Both have to hold."""
    results = [
        {"name": "one", "criteria": ["c1", "c2"], "ok": True},
        {"name": "two", "criteria": ["c1"], "ok": False},
    ]
    changed = proof(evidence={"browser": evidence("browser", BROWSER | {"results": results})})
    lines = sections(body.render(changed))["Acceptance criteria"].splitlines()
    assert lines[0].startswith("- [ ] **c1** The form has a box. — one; two")
    assert lines[1].startswith("- [x] **c2** A red badge. — one")


def test_suites() -> None:
    """Counts, seconds, and what the base said; a suite that is red as on the base is not called passed."""
    text = sections(body.render(proof()))["Test results"]
    assert "| unit | passed | 12 | 0 | 1 | 3.2 | 11 passed, 0 failed |" in text
    assert "| api | red as on the base | 7 | 1 | 0 | 9.0 | 7 passed, 1 failed |" in text
    assert "Red on the base already, not counted: `test_clock`." in text


@pytest.mark.parametrize(
    ("facts", "result"),
    [
        ({"ok": False, "counts": True}, "failed"),
        ({"ok": False, "counts": False, "known": []}, "red as on the base"),  # it names no test
        ({"ok": False, "counts": True, "missing": True}, "did not run"),
        ({"ok": True, "counts": False}, "passed"),
    ],
)
def test_results_of_a_suite(facts: dict[str, Any], result: str) -> None:
    """In one word each, and the right one."""
    changed = proof(evidence={"suites": evidence("suites", {"suites": [{"suite": "e2e"} | facts]})})
    assert f"| e2e | {result} | 0 | 0 | 0 | 0.0 | not run |" in body.render(changed)


def test_what_is_not_there_is_said() -> None:
    """A text before any proof makes nothing up."""
    bare = proof(
        evidence={}, artifacts=[], rounds=[], risks=[], plan={}, base={}, job=msgspec.structs.replace(JOB, sandbox=None)
    )
    found = sections(body.render(bare))
    assert list(found) == TITLES
    assert found["Problem"] == "Nothing to say."
    assert "gave no summary" in found["Summary"]
    assert found["Test results"] == "The suites have not run on this commit."
    assert "has stopped" in found["Preview"]
    assert found["Video"] == "No video was recorded for this commit."
    assert "under way" in found["Reviewer"]
    assert "No rule found a risk." in found["Known risks"]


def test_no_suites() -> None:
    """A repo that names none: that is said, not an empty table."""
    changed = proof(evidence={"suites": evidence("suites", {"suites": []})})
    assert "names no suites" in sections(body.render(changed))["Test results"]


def test_video() -> None:
    """Link, length, chapters, screenshots, and errors split into new and known."""
    text = sections(body.render(proof()))["Video"]
    assert f"[video.mp4](http://factory:8080/a/jabcdefghi2/{'c' * 64}/video.mp4) (95 s, H.264)" in text
    assert "- 0:03 The form has a box." in text
    assert "- 1:11 A red badge." in text
    assert f"[01-box.png](http://factory:8080/a/jabcdefghi2/{'d' * 64}/01-box.png)" in text
    assert "New errors in the browser, failed requests among them: 2; there on the base already: 2." in text


def test_only_the_newest_recording_of_this_commit() -> None:
    """A repeated recording replaces the one before; another commit's is none of it."""
    several = [
        artifact("video", "old.mp4", epoch=3),
        artifact("video", "new.mp4", epoch=4),
        artifact("video", "other.mp4", epoch=9, commit=BASE),
    ]
    text = body.render(proof(artifacts=several))
    assert "new.mp4" in text
    assert "old.mp4" not in text
    assert "other.mp4" not in text


def test_preview_that_is_down() -> None:
    """Says so."""
    assert JOB.sandbox is not None
    down = msgspec.structs.replace(JOB, sandbox=msgspec.structs.replace(JOB.sandbox, preview="stopped"))
    assert "http://localhost:2000 (now stopped)" in body.render(proof(job=down))


def test_rollback_of_a_migration() -> None:
    """Names the migration that has to be undone."""
    changed = proof(basis=basis(file("db/migrations/2.sql", "A")))
    assert "A migration is part of it" in sections(body.render(changed))["Rollback"]


def test_files() -> None:
    """Renames name both, binaries have no lines, and of very many the rest is counted outside the table."""
    files = [file("b.py", "R", "a.py"), file("x.bin", "A", binary=True), file("gone.py", "D")]
    files += [file(f"f{i}.py") for i in range(70)]
    text = sections(body.render(proof(basis=basis(*files))))[TITLES[3]]
    assert "| `b.py` | renamed from `a.py` | +3 −1 |" in text
    assert "| `x.bin` | added | binary |" in text
    assert "| `gone.py` | deleted |" in text
    assert "|\n\n… and 13 more." in text


def test_summaries() -> None:
    """Of the rounds that are in the branch: a refused one and one without a commit say nothing here."""
    rounds = [a_round(1, "refused words", outcome="refused"), a_round(2, "no commit", commit=None), a_round(3, "kept")]
    text = body.render(proof(rounds=rounds))
    assert "refused words" not in text
    assert "no commit" not in text
    assert "> kept" in text


def test_follow_up() -> None:
    """With a second request each round says whose it is, and both messages are quoted."""
    job = msgspec.structs.replace(JOB, request_no=2)
    rounds = [a_round(1, "first"), a_round(1, "second", request_no=2)]
    found = sections(body.render(proof(job=job, rounds=rounds, requests=[request("one"), request("two")])))
    assert "**Round 1 of request 2**" in found["Summary"]
    assert found["Original request"].index("> one") < found["Original request"].index("> two")
    assert "request 2, round 3" in found["Provenance"]


def test_labels() -> None:
    """What it is, what it needs, whose it is, how risky; the project's own; each once and short enough for a forge."""
    assert body.labels(proof()) == [
        "factory-generated",
        "needs-human-review",
        "project:desk",
        "risk:medium",
        "team-a",
    ]
    snapshot = {"labels": ["team-a", "team-a", " ", "needs-human-review", "x" * 80]}
    odd = msgspec.structs.replace(JOB, project="p" * 80, snapshot=snapshot)
    found = body.labels(proof(job=odd))
    assert len(found) == len(set(found)) == 6
    assert all(0 < len(label) <= 50 for label in found)


def test_labels_of_people_stay() -> None:
    """What people have put there is kept; of the project and the risk there is one word, the present one."""
    there = ["bug", "factory-generated", "risk:low", "project:old"]
    assert body.labels(proof(), there) == [*body.labels(proof()), "bug"]


def test_sticky_comment() -> None:
    """How the newest proof stands, a line each, from the same records."""
    text = body.comment(proof())
    assert f"| commit | `{WORK}`, request 1, round 3 |" in text
    assert "| tests | unit: passed, api: red as on the base |" in text
    assert "| browser | 1 of 2 scenarios hold |" in text
    assert f"| video | [video.mp4](http://factory:8080/a/jabcdefghi2/{'c' * 64}/video.mp4) |" in text
    assert "| preview | http://localhost:2000 — on the factory's machine only. |" in text
    assert "| reviewer | **commented** — 1 warning. |" in text
    assert "(http://factory:8080/jobs/jabcdefghi2)" in text
    early = body.comment(proof(evidence={}, artifacts=[]))
    for kind in ("tests", "browser", "video"):
        assert f"| {kind} | none for this commit |" in early
    assert "| reviewer | The review by the second bot is under way. |" in early
    hostile = body.comment(everywhere("a | b\n## Reviewer\n@everyone " * 3000))
    assert len(hostile) <= 10_000 and "@everyone" not in hostile and "\n## " not in hostile


def test_every_section_is_documented() -> None:
    """docs/pull-request.md says of each where it comes from, and of every status, label and setting."""
    text = (Path(__file__).parents[3] / "docs/pull-request.md").read_text()
    rows = re.findall(r"^\| \*\*(.+?)\*\* \| .+ \| .+ \|$", text, re.M)
    assert rows == TITLES
    for word in (*PROOF, *body.LABELS, "project:<name>", "risk:<level>", "FACTORY_GITHUB_APP_KEY"):
        assert f"`{word}`" in text


# ── texts of others ───────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Show the date.", "Show the date."),
        ("snake_case stays, _this_ too", r"snake_case stays, \_this\_ too"),
        ("**bold** ~~gone~~", r"\*\*bold\*\* \~\~gone\~\~"),
        ("<b>x</b>", "&lt;b>x&lt;/b>"),
        ("<!-- hidden", "&lt;!-- hidden"),
        ("&lt;!-- hidden", "&amp;lt;!-- hidden"),
        ("R&D & co", "R&D & co"),
        ("[x](javascript:alert(1))", r"\[x\](javascript:alert(1))"),
        ("![x](http://evil/x.png)", r"!\[x\](http://evil/x.png)"),
        (r"\[x](y)", r"\\\[x\](y)"),
        ("@everyone @org/team a@b.c", "@&#8203;everyone @&#8203;org/team a@&#8203;b.c"),
        ("fixes #12", "fixes #&#8203;12"),
        ("closes acme/app#12", "closes acme/app#&#8203;12"),
        ("Closes https://github.com/acme/app/issues/12", "C&#8203;loses https://github.com/acme/app/issues/12"),
        ("resolved: https://x.example/1", "r&#8203;esolved: https://x.example/1"),
        ("fixes GH-12 and the closed door", "fixes GH-&#8203;12 and the closed door"),
        ("`closes https://x.example/1`", "`closes https://x.example/1`"),
        ("# Heading", r"\# Heading"),
        ("> quote", r"\> quote"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("2026-01-02 is the day", "2026-01-02 is the day"),
        ("-5 degrees", "-5 degrees"),
        ("---", r"\---"),
        ("=====", r"\====="),
        (":-- | --", r"\:-- | --"),
        ("run `make test` now", "run `make test` now"),
        ("run ``a`b`` now", r"run \`\`a\`b\`\` now"),
        ("a ` b", r"a \` b"),
        ("```js", r"\`\`\`js"),
        ("`<!--`", r"\`&lt;!--\`"),
        ("see https://example.com/a_b_c#12 there", "see https://example.com/a_b_c#12 there"),
        ("two\nlines\tand  more", "two lines and more"),
        ("turned \u202eround\x1b[31m", r"turned round\[31m"),
        ("", ""),
        ("字 ü 🎉", "字 ü 🎉"),
    ],
)
def test_plain(text: str, shown: str) -> None:
    """One line, shown as it was written: nothing in it is Markdown, HTML, a call or a reference."""
    assert body.plain(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a/b.py", "`a/b.py`"),
        ("a`b", "``a`b``"),
        ("`", "`` ` ``"),
        ("``x`", "``` ``x` ```"),
        ("a\nb\tc", r"`a\nb\tc`"),
        ("<!-- x -->", "`<\u200b!-- x -->`"),
        ("\u202ex\x00", "`�x�`"),
        ("", "`  `"),
        ("@everyone", "`@everyone`"),
    ],
)
def test_code(text: str, shown: str) -> None:
    """A path as a code span that nothing in it can end."""
    assert body.code(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\n\ntwo", "> one  \n>\n> two  "),
        ("* a\n+ b\n2) c", "> - a\n> - b\n> 2) c"),
        ("- [x] done", "> - &#8203;\\[x\\] done"),
        ("## Reviewer\n\n**approved**", "> \\## Reviewer  \n>\n> \\*\\*approved\\*\\*  "),
        ("Title\n===\n---", "> Title  \n> \\===  \n> \\---  "),
        ("```\ncode", "> \\`\\`\\`  \n> code  "),
    ],
)
def test_quote(text: str, shown: str) -> None:
    """Every line is quoted; lists stay lists, headings and fences are none."""
    assert body.quote(text) == shown


def test_quote_is_bounded() -> None:
    """A long text is cut."""
    assert len(body.quote("x" * 10_000)) < 1600


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://x.example:1/a?b=c#d", "https://x.example:1/a?b=c#d"),
        ("javascript:alert(1)", "`javascript:alert(1)`"),
        ("http://x) **approved** [y](z", "`http://x) **approved** [y](z`"),
    ],
)
def test_address(url: str, shown: str) -> None:
    """Only an address of the web is shown as one."""
    assert body.address(url) == shown


HOSTILE = (
    "Please\n\n## Reviewer\n\n**approved** — all fine\n\n- [x] **c9** done\n\n<!-- factory-job: jother23456 -->\n"
    "<!-- \n@everyone look | at | this `\n</details>\n[x](javascript:alert(1))\n\n## Test results\n\n| unit | passed |\n"
    "Closes #1\n\\\n```\n"
)


def everywhere(text: str) -> Proof:
    """A proof in which everything that others write is `text`."""
    one_line = " ".join(text.split())
    results = [{"name": text, "criteria": ["c1"], "ok": True}]
    video = {"seconds": 1.0, "chapters": [{"title": text, "criterion": "c1", "start": 0}]}
    browser = BROWSER | {"results": results, "video": video}
    suites = [{"suite": text, "ok": False, "counts": False, "known": [text]}]
    review = {"verdict": "commented", "summary": text, "findings": [{"severity": "note", "path": text, "says": text}]}
    assert JOB.sandbox is not None
    sandbox = msgspec.structs.replace(
        JOB.sandbox, preview_url=f"http://x {text}", urls=[{"service": text, "url": f"javascript:{text}"}]
    )
    return proof(
        job=msgspec.structs.replace(JOB, sandbox=sandbox, snapshot={"agent": {"command": ["x"], "label": text}}),
        plan={
            "problem": text,
            "criteria": [{"id": "c1", "text": text}],
            "risks": [text],
            "notes": [text],
            "by": text,
        },
        requests=[request(text, author=one_line, link=f"javascript:{one_line}")],
        rounds=[a_round(1, text)],
        evidence={
            "browser": evidence("browser", browser),
            "suites": evidence("suites", {"suites": suites}),
            "review": evidence("review", review),
        },
        artifacts=[artifact("video", text), artifact("screenshot", text)],
        basis=basis(file(text), file("x", "R", text)),
        risks=[Risk("contract", text, "changes the runtime contract itself")],
    )


def test_nothing_can_be_forged() -> None:
    """Whatever hostile text stands in every field: the sections are ours, the marker is first, and nobody is called."""
    text = body.render(everywhere(HOSTILE))
    assert list(sections(text)) == TITLES
    assert text.startswith("<!-- factory-job: jabcdefghi2 -->\n")
    assert text.count("<!--") == 1
    outside_code = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text.replace(r"\`", ""))
    assert "@everyone" not in outside_code
    assert "#1" not in outside_code.replace("#t=", "")
    assert not re.search(r"(?<!\\)\]\((?!http://factory:8080/)", outside_code)  # every link is the factory's own
    assert "<details" not in outside_code
    assert "</details" not in outside_code
    assert [line for line in text.splitlines() if line.startswith("- [x]")] == [
        line for line in text.splitlines() if line.startswith("- [x] **c1**")
    ]


def test_tables_keep_their_columns() -> None:
    """A bar in a name does not open a new cell."""
    text = body.render(everywhere("a | b |` c |"))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    widths = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
    assert widths == [4, 4, 4, 4, 8, 8, 8]


def test_template() -> None:
    """The repo's own template stands beneath ours, as it is."""
    text = body.render(proof(template="\n## Checklist\n\n- [ ] <!-- say why --> Docs\n"))
    assert text.endswith("\n\n## Checklist\n\n- [ ] <!-- say why --> Docs\n")
    assert list(sections(text)) == [*TITLES, "Checklist"]


def test_as_long_as_a_forge_takes() -> None:
    """However much there is to say the text fits; a long template gives way, and every section stays."""
    long = everywhere("long words | and `code` " * 400)
    many = msgspec.structs.replace(
        long,
        requests=long.requests * 60,
        rounds=long.rounds * 40,
        basis=basis(*long.diff.files * 100),
        risks=long.risks * 100,
        template="x" * 64_000,
    )
    began = time.monotonic()
    text = body.render(many)
    assert time.monotonic() - began < 5
    assert len(text) <= BODY_MAX
    assert text.startswith("<!-- factory-job: jabcdefghi2 -->\n")
    assert "x" * 64_000 not in text
    assert list(sections(text)) == TITLES
    calls = proof(requests=[request("@a " * 500)] * 10, rounds=[a_round(n, "@a " * 500) for n in range(1, 11)])
    text = body.render(calls)
    assert BODY_MAX - 20_000 < len(text) <= BODY_MAX and list(sections(text)) == TITLES
    assert "… the rest is on the job's page." in sections(text)["Summary"]
    assert f"`{WORK}`" in sections(text)["Provenance"]
    short = body.render(proof(requests=[request("x" * 20_000)] * 60, rounds=[a_round(1, "y" * 4000)] * 40))
    assert list(sections(short)) == TITLES
    assert "50 earlier messages are on the job's page." in short


@pytest.mark.parametrize("text", ["`" * 20_000, "`a" * 10_000, "[" * 20_000, "@" * 20_000, "\\" * 20_000, "&" * 20_000])
def test_hostile_text_is_no_slower(text: str) -> None:
    """The time that a text takes grows with its length and no faster."""
    began = time.monotonic()
    body.plain(text)
    body.code(text)
    assert time.monotonic() - began < 5


# ── from a repository ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({".github/PULL_REQUEST_TEMPLATE.md": "a"}, "a"),
        ({"pull_request_template.md": "a"}, "a"),
        ({"docs/Pull_Request_Template.txt": "a", ".github/pull_request_template.md": "b"}, "b"),
        ({"src/pull_request_template.md": "a"}, ""),
        ({".github/pull_request_template.md": "x" * 70_000}, ""),
        ({}, ""),
    ],
)
async def test_a_repos_template(
    git, person: Path, mirror: Mirror, files: dict[str, str | bytes | None], found: str
) -> None:
    """Where GitHub looks for it, in any case; one that is too long is none."""
    git.commit(person, "template", files)
    git(person, "push", "-q", "origin", "main")
    await mirror.fetch()
    assert await body._template(mirror, await mirror.resolve("main")) == found


async def test_a_template_that_is_a_link(git, person: Path, mirror: Mirror) -> None:
    """Leads nowhere."""
    (person / "pull_request_template.md").symlink_to("/etc/hostname")
    git.commit(person, "link")
    git(person, "push", "-q", "origin", "main")
    await mirror.fetch()
    assert await body._template(mirror, await mirror.resolve("main")) == ""


@pytest.mark.parametrize(
    ("moved", "conflicts", "says"),
    [
        (1, (), "`main` has moved by 1 commit that this was not proved with; git merges them without a conflict"),
        (7, (), "`main` has moved by 7 commits that this was not proved with; git merges them without a conflict"),
        (2, ("a.py", "b`c.py"), "`main` has moved by 2 commits that this was not proved with; they conflict with this"),
    ],
)
def test_a_base_that_has_moved(moved: int, conflicts: tuple[str, ...], says: str) -> None:
    """Is said where the work came from; a conflict is a known risk, with the files in which it lies."""
    text = sections(body.render(proof(basis=basis(file("a.py"), moved=moved, conflicts=conflicts))))
    assert f"- {says}" in text["Provenance"].splitlines()
    risks = text["Known risks"]
    assert ("`a.py`, ``b`c.py``: the next request" in risks) is bool(conflicts)


def test_a_base_that_stands_still() -> None:
    """Is no news."""
    assert "moved" not in body.render(proof())


class Kept:
    """Records of a job with one message, and a repository without files."""

    def __init__(self, asked: Request) -> None:
        self.asked = asked

    async def requests(self, job_id: str) -> list[Request]:
        return [self.asked]

    async def rounds(self, *_: str) -> list[Any]:
        return []

    async def plan(self, *_: Any) -> dict[str, Any]:
        return {}

    files = artifacts = rounds
    evidence = base = plan


async def test_no_half_of_a_secret_is_quoted() -> None:
    """What people wrote loses its secrets before it is cut."""
    secret = "correct-horse-battery"
    kept: Any = Kept(request("y" * 1490 + secret))
    found = await body.gather(kept, JOB, kept, basis(), "http://x", lambda text: text.replace(secret, "•••"))
    assert "y•••" in body.render(found)
    assert "correct" not in body.render(found)
