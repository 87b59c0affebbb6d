"""What goes back to the agent: precise, and short enough to be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from factory_jobs.records import Round

MAX = 6000  # characters of one feedback
TAIL = 1800  # of one log
MESSAGE = 600  # of one failed test
NAMED = 10  # failed tests of one suite that are told with their messages


def clip(text: str | list[str], size: int) -> str:
    """The end of a long text (or of its lines), since that is where logs say why."""
    text = ("\n".join(text) if isinstance(text, list) else text).strip()
    return text if len(text) <= size else "…" + text[-size:]


def suites(failing: Sequence[dict[str, Any]]) -> str:
    """One paragraph a suite: its failed tests with their messages, and the end of its log. Each has its share of MAX."""
    room = MAX // max(1, len(failing))
    return "\n\n".join(_suite(suite, room) for suite in failing)[:MAX]


def _suite(suite: dict[str, Any], room: int) -> str:
    name, failures = suite["suite"], suite.get("failures", [])
    if suite.get("missing"):
        return f"Suite `{name}` did not run, though the base has it: every suite has to stay in the contract."
    lines = [_how(suite)]
    shown = failures[:NAMED]
    each = min(MESSAGE, room // 2 // max(1, len(shown)))
    lines += [f"- {clip(f['name'], 200)}: {clip(f.get('message') or '', each)}" for f in shown]
    if len(failures) > len(shown):
        lines.append(f"- … and {len(failures) - len(shown)} more")
    if tail := suite.get("tail"):
        lines.append(f"The end of its log:\n```\n{clip(tail, min(TAIL, room // 3))}\n```")
    return "\n".join(lines)


def _how(suite: dict[str, Any]) -> str:
    """A suite without a runner is a check, a type checker say: its exit code is all that there is."""
    name, code, note = suite["suite"], suite.get("exit_code"), suite.get("note")
    if suite.get("failed") or suite.get("passed"):
        counted = f"Suite `{name}` failed: {suite.get('failed', 0)} failed, {suite.get('passed', 0)} passed"
        return f"{counted}; {note}." if note else f"{counted}."
    if suite.get("runner") is None:
        return f"Suite `{name}` failed with exit code {code}."
    return f"Suite `{name}` ran no test (exit code {code})."


def environment(verb: str, error: str, tail: str | list[str]) -> str:
    said = clip(error, MAX - TAIL - 100)
    return f"After your change `factory {verb}` fails: {said}\n```\n{clip(tail, TAIL)}\n```"


NO_REPOSITORY = (
    "In your last turn the checkout's `.git` was deleted or broken, and all that you had done is lost with it: you have a "
    "fresh checkout now. Leave `.git` alone; the factory makes the commits."
)


def before(rounds: Sequence[Round], request_no: int, round_no: int) -> str | None:
    """What this round has to mend: how the one before it ended, and what was found since."""
    of_request = [r for r in rounds if r.request_no == request_no]
    last = [r for r in of_request if r.round < round_no][-1:]
    here = [r for r in of_request if r.round == round_no]
    return "\n\n".join(r.feedback for r in last + here if r.feedback) or None
