"""A plan by rules: wishes become criteria, words of the request find files, kinds of files name risks. No model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from factory_chassis.plan import Criterion, Plan

MAX_CRITERIA = 8
MAX_FILES = 8
TITLE = 72

BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+(.*\S)", re.M)
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'“])")
WISH = re.compile(
    r"\b(should|must|shall|can|could|want|wants|need|needs|let|allow|show|shows|add|make|when|please|instead|so that|"
    r"appears?|stands?|displays?|remove|rename|change|fix|lets?|gets?|turns?|sorts?|lists?)\b",
    re.I,
)
STOP = frozenset(
    (
        "a an and are as at be by can could for from has have if in into is it its let me must new not of on or our "
        "please should so some than that the their them then there they this to up us want we when which who will "
        "with would you your"
    ).split(" ")
)
TEXT = tuple(
    (
        ".py .js .ts .tsx .jsx .mjs .vue .svelte .html .css .sql .go .rs .rb .php .java .kt .ex .md .yaml .yml "
        ".toml .json"
    ).split(" ")
)
RISKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"migrat|schema", re.I), "The database's schema is touched: a rollback needs the migration undone."),
    (
        re.compile(r"auth|login|session|passw|token", re.I),
        "Code for sign-in is close by: check that access is as it was.",
    ),
    (
        re.compile(r"(^|/)(Dockerfile|compose.*\.ya?ml|\.github/|deploy|infra|terraform)", re.I),
        "Deployment files are close by.",
    ),
    (re.compile(r"pay|billing|invoice|stripe", re.I), "Money is involved: have it checked by its owner."),
)


def criteria_of(text: str) -> list[str]:
    """The wishes in a message: its bullets; without bullets the sentences that state a wish; else the whole of it."""
    bullets = [" ".join(m.group(1).split()) for m in BULLET.finditer(text)]
    if bullets:
        return bullets[:MAX_CRITERIA]
    sentences = [" ".join(s.split()) for s in SENTENCE.split(text.strip()) if s.strip()]
    wishes = [s for s in sentences if WISH.search(s)]
    return (wishes or [" ".join(text.split())])[:MAX_CRITERIA]


def title_of(text: str) -> str:
    first = next((line.strip() for line in text.splitlines() if line.strip()), "A change")
    first = SENTENCE.split(first)[0].rstrip(".: ")
    return first if len(first) <= TITLE else first[: TITLE - 1].rsplit(" ", 1)[0] + "…"


def words_of(text: str) -> set[str]:
    found = re.findall(r"[a-z][a-z0-9]{2,}", text.lower())
    return {w.removesuffix("s") for w in found} - STOP


def likely_files(text: str, files: Mapping[str, str]) -> list[str]:
    """Paths whose names or texts hold most of the request's words; `files` maps path to text ('' where not read)."""
    words = words_of(text)
    scores: dict[str, float] = {}
    for path, body in files.items():
        if not path.endswith(TEXT):
            continue
        inside = words_of(body)
        score = 3.0 * len(words & words_of(path.replace("_", " ").replace("-", " "))) + len(words & inside)
        if path.endswith((".md", ".json", ".yaml", ".yml", ".toml")):
            score *= 0.3
        if score > 0:
            scores[path] = score
    best = sorted(scores, key=lambda p: (-scores[p], p))[:MAX_FILES]
    floor = scores[best[0]] / 3 if best else 0
    return [p for p in best if scores[p] >= floor]


def risks_of(paths: Iterable[str], all_paths: Sequence[str]) -> list[str]:
    paths = list(paths)
    found = [said for pattern, said in RISKS if any(pattern.search(p) for p in paths)]
    if not any("test" in p.lower() or "spec" in p.lower() for p in all_paths):
        found.append("The repo has no tests: proof rests on the browser alone.")
    return found


def make_plan(
    texts: Sequence[str],
    files: Mapping[str, str],
    *,
    request_no: int = 1,
    earlier: Plan | None = None,
    issues: Sequence[str] = (),
) -> Plan:
    """The plan for the newest request; criteria of earlier requests still hold and keep their numbers."""
    text = "\n\n".join(t.strip() for t in texts if t.strip())
    kept = list(earlier.criteria) if earlier else []
    new = [
        Criterion(id=f"c{len(kept) + i}", text=wish, request_no=request_no)
        for i, wish in enumerate(criteria_of(text), start=1)
    ]
    touched = likely_files(text, files)
    readme = next((p for p in files if p.lower().startswith("readme")), None)
    notes = [f"{readme}: {_first_paragraph(files[readme])}"] if readme and files[readme] else []
    notes += [f"Open issue that may belong to it: {title}" for title in issues if words_of(title) & words_of(text)][:3]
    return Plan(
        title=earlier.title if earlier else title_of(text),
        problem=" ".join(text.split())[:1200],
        scope="Only what the criteria ask for; everything else stays as it is.",
        criteria=kept + new,
        files=touched,
        risks=risks_of(touched, list(files)),
        notes=notes,
        by="rules",
    )


def _first_paragraph(text: str) -> str:
    for part in re.split(r"\n\s*\n", text):
        plain = " ".join(line for line in part.splitlines() if not line.startswith(("#", "!", "[", "<", "```"))).strip()
        if plain:
            return plain[:300]
    return ""
