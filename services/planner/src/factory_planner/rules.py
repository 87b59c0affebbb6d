"""A plan by rules: wishes become criteria, words of the request find files, kinds of files name risks. No model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from factory_chassis.plan import Criterion, Plan

MAX_CRITERIA = 12  # of one request; what goes beyond them is said in the notes
MAX_WISH = 400  # characters of one criterion; the agent is given the whole request besides
MAX_FILES = 8
TITLE = 72

BULLET = re.compile(r"\s*(?:[-*•+]|\d{1,2}[.)])\s+(?:\[[ xX]\]\s+)?(\S.*)")
# After a sentence's end, but not after "e.g." or "z. B."; between paragraphs; in scripts that need no space.
SENTENCE = re.compile(r"(?<!\b\w\.)(?<=[.!?…])\s+(?=[^\W_a-z]|[\"'“„«¿¡])|\n\s*\n|(?<=[。！？])")
WISH = re.compile(
    r"\b(should|must|shall|can|could|want|wants|need|needs|let|allow|show|shows|add|make|when|please|instead|so that|"
    r"appears?|stands?|displays?|remove|rename|change|fix|lets?|gets?|turns?|sorts?)\b|^\W*list\b",
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
TESTS = re.compile(r"(^|[/_.-])([Tt]ests?|[Ss]pecs?|e2e)([/_.-]|$)|[a-z]Tests?\.")
README = re.compile(r"readme(\.(md|rst|txt|adoc))?", re.I)
RISKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"migrat|schema", re.I), "The database's schema is touched: a rollback needs the migration undone."),
    (
        re.compile(r"auth(?!or)|login|session|passw|token(?!i)", re.I),
        "Code for sign-in is close by: check that access is as it was.",
    ),
    (
        re.compile(r"(^|/)(Dockerfile|(docker-)?compose.*\.ya?ml|\.github/|deploy|infra|terraform)", re.I),
        "Deployment files are close by.",
    ),
    (
        re.compile(r"(?<![a-z])pay(?!load)|billing|invoice|stripe", re.I),
        "Money is involved: have it checked by its owner.",
    ),
)


def criteria_of(text: str) -> list[str]:
    """The wishes in a message: its bullets; without bullets the sentences that state a wish; else the whole of it."""
    wishes = _bullets(text)
    if not wishes:
        sentences = [s for s in SENTENCE.split(text) if s.strip()]
        wishes = [s for s in sentences if WISH.search(s) and len(s.split()) > 2] or [text]  # "Please." is none
    return [_cut(" ".join(w.split()), MAX_WISH) for w in wishes if w.strip()]


def _bullets(text: str) -> list[str]:
    """The items of a list; an indented line goes on with the item above it."""
    items: list[str] = []
    for line in text.splitlines():
        if bullet := BULLET.match(line):
            items.append(bullet[1])
        elif items and line[:1].isspace() and line.strip():
            items[-1] += " " + line.strip()
    return [item for item in items if re.search(r"\w", item)]  # not a rule such as "- - -"


def title_of(text: str) -> str:
    """The first sentence of the first line that has words."""
    first = next((line for line in text.splitlines() if re.search(r"\w", line)), "A change")
    bare = re.sub(r"^\s*(?:[-*•+>#]+|\d{1,2}[.)])\s+", "", first)
    return _cut(SENTENCE.split(bare)[0].strip().rstrip(".: "), TITLE) or "A change"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rsplit(" ", 1)[0] + "…"


def words_of(text: str) -> set[str]:
    """Its words without plural's s, of names in code their parts: `dueDate` and `due_dates` are due and date."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).lower()
    return {w.removesuffix("s") for w in re.findall(r"[^\W\d_][^\W_]{2,}", apart) if w not in STOP}


def likely_files(text: str, files: Mapping[str, str]) -> list[str]:
    """Paths whose names or texts hold most of the request's words; `files` maps path to text ('' where not read)."""
    words = words_of(text)
    scores: dict[str, float] = {}
    for path, body in files.items():
        if not path.endswith(TEXT):
            continue
        inside = words_of(body)
        score = 3.0 * len(words & words_of(path)) + len(words & inside)
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
    if not any(TESTS.search(p) for p in all_paths):
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
    said = [t.strip() for t in texts if t.strip()]
    text = "\n\n".join(said)
    kept = list(earlier.criteria) if earlier else []
    wishes = [wish for message in said for wish in criteria_of(message)]  # each message for itself: one may be a list
    new = [
        Criterion(id=f"c{len(kept) + i}", text=wish, request_no=request_no)
        for i, wish in enumerate(wishes[:MAX_CRITERIA], start=1)
    ]
    touched = likely_files(text, files)
    readme = next((p for p in files if README.fullmatch(p) and files[p]), None)
    about = _first_paragraph(files[readme]) if readme else ""
    notes = [f"{readme}: {about}"] if about else []
    if beyond := len(wishes) - len(new):
        notes.append(f"{beyond} more wishes of the request are no criteria of their own: too many for one change.")
    wanted = words_of(text)
    notes += [f"Open issue that may belong to it: {title}" for title in issues if words_of(title) & wanted][:3]
    return Plan(
        title=earlier.title if earlier else title_of(text),
        problem=text[:1200],
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
