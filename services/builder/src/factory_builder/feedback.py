"""What goes back to the agent: precise, and short enough to be read."""

from __future__ import annotations

from typing import Any

MAX = 6000  # characters of one feedback
TAIL = 1800  # of one log


def clip(text: str | list[str], size: int) -> str:
    """The end of a long text (or of its lines), since that is where logs say why."""
    text = ("\n".join(text) if isinstance(text, list) else text).strip()
    return text if len(text) <= size else "…" + text[-size:]


def suites(failing: list[dict[str, Any]]) -> str:
    """One paragraph a suite: its failed tests with their messages, and the end of its log."""
    parts = []
    for suite in failing:
        head = f"Suite `{suite['suite']}` failed: {suite.get('failed', 0)} failed, {suite.get('passed', 0)} passed"
        if not suite.get("failed") and not suite.get("passed"):
            head = f"Suite `{suite['suite']}` ran no test (exit code {suite.get('exit_code')})"
        lines = [f"{head}."]
        lines += [f"- {f['name']}: {clip(f.get('message', ''), 600)}" for f in suite.get("failures", [])[:10]]
        if tail := suite.get("tail"):
            lines.append(f"The end of its log:\n```\n{clip(tail, TAIL)}\n```")
        parts.append("\n".join(lines))
    return clip("\n\n".join(parts), MAX)


def environment(verb: str, error: str, tail: str) -> str:
    return clip(f"After your change `factory {verb}` fails: {error}\n```\n{clip(tail, TAIL)}\n```", MAX)
