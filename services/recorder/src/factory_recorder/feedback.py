"""What the browser saw, as words for the agent's next round."""

from __future__ import annotations

from typing import Any

MAX = 6000  # characters of one feedback
LONG = 800  # of one error
TAIL = 1800  # of a log
SHOWN = 10  # errors of one kind


def of_recording(recording: dict[str, Any]) -> str:
    """Every failed step first, then what the page said that it did not say on the base, then what it showed."""
    failed = [result for result in recording.get("results", []) if not result.get("ok")]
    parts = [_failure(result) for result in failed]
    for title, key in (
        ("New console errors", "console_new"),
        ("Errors thrown in the page", "page_errors"),
        ("New failed requests", "requests_new"),
    ):
        if found := recording.get(key):
            more = f"\n- … and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            parts.append(f"{title}:\n" + "\n".join(f"- {_line(f)}" for f in found[:SHOWN]) + more)
    parts += [
        f"What the page showed when “{result['name']}” failed:\n```\n{result['outline']}\n```"
        for result in failed
        if result.get("outline")
    ]
    return ("In the browser:\n\n" + "\n\n".join(parts))[:MAX]


def _failure(result: dict[str, Any]) -> str:
    index = result.get("step_index")
    at = "its start" if index is None else f"step {index + 1} `{result.get('step', '')}`"
    about = f" ({', '.join(result['criteria'])})" if result.get("criteria") else ""
    return f"Scenario “{result['name']}”{about} failed at {at}: {result.get('error', '')[:LONG]}"


def _line(found: dict[str, Any]) -> str:
    where = f" ({found['where']})" if found.get("where") else ""
    times = f", {found['times']} times" if found.get("times", 1) > 1 else ""
    return f"{found.get('text', '')[:LONG]}{where}{times}"


def of_app(error: str, tail: str) -> str:
    """The app is down or unhealthy when it is to be filmed."""
    return f"The app does not run any more after the tests: {error[:LONG]}\n```\n{tail[-TAIL:]}\n```"


def of_missing(missing: list[str], texts: dict[str, str]) -> str:
    listed = "\n".join(f"- {c}: {texts.get(c, '')}" for c in missing)
    return f".software-factory/scenarios.yaml has no scenario with an `expect` for these criteria:\n{listed}"
