"""From findings to a verdict, its text, and the comments on lines."""

from __future__ import annotations

from collections.abc import Sequence

from factory_forge.body import code, plain
from factory_forge.diff import Diff
from factory_forge.forge import LineComment, Verdict

from .rules import Finding

WORDS: dict[Verdict, str] = {"approve": "approved", "request_changes": "changes_requested", "comment": "commented"}
SHOWN = 50  # findings in a text, and comments: a forge takes no endless ones
BY = "Reviewed by rules, under the reviewer's own identity; no model has read this."


def verdict_of(findings: Sequence[Finding]) -> Verdict:
    if any(f.severity == "blocking" for f in findings):
        return "request_changes"
    return "comment" if any(f.severity == "warning" for f in findings) else "approve"


def summary(findings: Sequence[Finding]) -> str:
    count = {s: sum(f.severity == s for f in findings) for s in ("blocking", "warning", "note")}
    if not findings:
        return "Nothing found that a rule would stop at."
    words = {s: s if s == "blocking" or n == 1 else f"{s}s" for s, n in count.items()}
    return ", ".join(f"{n} {words[s]}" for s, n in count.items() if n) + "."


def text(findings: Sequence[Finding], sha: str) -> str:
    lines = [f"**{WORDS[verdict_of(findings)].replace('_', ' ').capitalize()}** at `{sha[:12]}`. {summary(findings)}"]
    lines += [f"- {f.severity}: {_place(f)} — {plain(f.says)}" for f in findings[:SHOWN]]
    if len(findings) > SHOWN:
        lines.append(f"- … and {len(findings) - SHOWN} more")
    return "\n".join([*lines, "", f"_{BY}_"])


def _place(f: Finding) -> str:
    return code(f.path) + (f":{f.line}" if f.line else "")


def comments(findings: Sequence[Finding], diff: Diff) -> list[LineComment]:
    """On lines that the diff shows; a remark about a whole file stands at its first changed line."""
    found = []
    for f in findings:
        file = diff.file(f.path)
        shown = [ln.new_no for h in (file.hunks if file else []) for ln in h.lines if ln.new_no and ln.kind != "-"]
        new = [ln.new_no for h in (file.hunks if file else []) for ln in h.lines if ln.new_no and ln.kind == "+"]
        line = f.line if f.line in shown else (new or shown or [0])[0]
        if line and f.severity != "note":
            found.append(LineComment(path=f.path, line=line, body=f"{f.severity}: {plain(f.says)}"))
    return found[:SHOWN]


def feedback(findings: Sequence[Finding]) -> str:
    """For the agent's next round: what has to go."""
    blocking = [f for f in findings if f.severity == "blocking"]
    lines = [f"- {_place(f)}: {f.says}" for f in blocking[:SHOWN]]
    if len(blocking) > SHOWN:
        lines.append(f"- … and {len(blocking) - SHOWN} more of these")
    return "The review asks for changes:\n" + "\n".join(lines)
