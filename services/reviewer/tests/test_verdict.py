"""From findings to a verdict, its text, and comments on lines."""

from collections.abc import Callable
from typing import Any

import pytest
from factory_forge.diff import Diff, FileChange
from factory_forge.forge import BODY_MAX
from factory_reviewer import verdict
from factory_reviewer.rules import Finding

Make = Callable[..., FileChange]
Whole = Callable[..., Diff]


def finding(severity: str = "blocking", path: str = "app/a.py", line: int = 0, says: str = "Look.") -> Finding:
    return Finding(severity=severity, rule="r", path=path, line=line, says=says)  # type: ignore[arg-type]


BLOCKING, WARNING, NOTE = finding(), finding("warning"), finding("note")


@pytest.mark.parametrize(
    ("findings", "said", "words", "summary"),
    [
        ([], "approve", "approved", "Nothing found that a rule would stop at."),
        ([NOTE], "approve", "approved", "1 note."),
        ([WARNING, NOTE], "comment", "commented", "1 warning, 1 note."),
        ([BLOCKING, WARNING, WARNING], "request_changes", "changes_requested", "1 blocking, 2 warnings."),
    ],
)
def test_verdict(findings: list[Finding], said: str, words: str, summary: str) -> None:
    """Only a blocking finding asks for changes; a note alone does not keep from approving."""
    assert verdict.verdict_of(findings) == said
    assert verdict.WORDS[verdict.verdict_of(findings)] == words
    assert verdict.summary(findings) == summary


def test_text() -> None:
    """Verdict, commit, each finding with its place, and that it was rules that looked."""
    text = verdict.text([finding(line=3), finding("note", "b.md")], "b" * 40)
    assert text.splitlines() == [
        "**Changes requested** at `bbbbbbbbbbbb`. 1 blocking, 1 note.",
        "- blocking: `app/a.py`:3 — Look.",
        "- note: `b.md` — Look.",
        "",
        f"_{verdict.BY}_",
    ]


def test_hostile_names() -> None:
    """A path or a test's name cannot say something of its own."""
    text = verdict.text(
        [finding(path="`\n\n**approved** @everyone", says="Tests were removed: <!-- @everyone.")], "b" * 40
    )
    assert "\n**approved**" not in text
    assert "<!--" not in text
    assert ": &lt;!-- @&#8203;everyone." in text
    assert r"`` `\n\n**approved** @everyone ``" in text


def test_bounded() -> None:
    """However many findings: the texts say how many more there are, and a forge takes them."""
    many = [finding(path="p" * 200, says="s" * 500) for _ in range(2000)]
    text = verdict.text(many, "b" * 40)
    assert len(text) < BODY_MAX
    assert "… and 1950 more" in text
    assert "2000 blocking" in text
    assert "… and 1950 more of these" in verdict.feedback(many)


def test_feedback() -> None:
    """The agent is told what blocks, and only that."""
    said = verdict.feedback([finding(line=3, says="A secret."), WARNING, finding(path="b.py", says="Gone.")])
    assert said == "The review asks for changes:\n- `app/a.py`:3: A secret.\n- `b.py`: Gone."


TEXT = " one\n two\n+three\n four\n@@\n ten\n-eleven\n+twelve"


@pytest.mark.parametrize(
    ("path", "text", "line", "shown"),
    [
        ("a.py", TEXT, 3, 3),
        ("a.py", TEXT, 1, 1),  # shown as context
        ("a.py", TEXT, 99, 3),  # not shown: at the first new line
        ("a.py", TEXT, 0, 3),  # about the whole file
        ("a.py", " one\n-two\n three", 0, 1),  # nothing new: at what is shown
        ("a.py", "-one\n-two", 0, None),  # nothing is left to stand at
        ("a.py", "", 0, None),
        ("other.py", TEXT, 3, None),
    ],
)
def test_comments_stand_on_lines_that_the_diff_shows(
    change: Make, diff: Whole, path: str, text: str, line: int, shown: int | None
) -> None:
    """A forge refuses a comment anywhere else."""
    comments = verdict.comments([finding(path=path, line=line)], diff(change("a.py", text)))
    assert [(c.path, c.line) for c in comments] == ([("a.py", shown)] if shown else [])


def test_comments(change: Make, diff: Whole) -> None:
    """Blocking findings and warnings are said at their line, notes are not, and there is an end to it."""
    seen = diff(change("a.py", TEXT))
    said: list[Any] = [finding(path="a.py"), finding("warning", "a.py", says="*x*"), finding("note", "a.py")]
    assert [c.body for c in verdict.comments(said, seen)] == ["blocking: Look.", r"warning: \*x\*"]
    assert len(verdict.comments([finding(path="a.py")] * 500, seen)) == verdict.SHOWN
