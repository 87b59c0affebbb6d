"""What the browser saw, as words for the agent's next round."""

from __future__ import annotations

from typing import Any

MAX = 6000


def of_recording(recording: dict[str, Any]) -> str:
    """Failed steps first, then what the page said that it did not say on the base."""
    parts = []
    for result in recording.get("results", []):
        if not result.get("ok"):
            step = f"step {result['step_index'] + 1}" if result.get("step_index") is not None else "its start"
            parts.append(
                f"Scenario “{result['name']}” ({', '.join(result.get('criteria', []))}) failed at {step} "
                f"`{result.get('step', '')}`: {result.get('error')}"
            )
            if outline := result.get("outline"):
                parts.append(f"What the page showed then:\n```\n{outline}\n```")
    for title, key in (
        ("New console errors", "console_new"),
        ("Errors thrown in the page", "page_errors"),
        ("New failed requests", "requests_new"),
    ):
        if found := recording.get(key):
            parts.append(f"{title}:\n" + "\n".join(f"- {_line(f)}" for f in found[:10]))
    return "In the browser:\n\n" + "\n\n".join(parts)[:MAX]


def _line(found: Any) -> str:
    if isinstance(found, dict):
        return " ".join(str(v) for v in found.values() if v not in (None, ""))
    return str(found)


def of_missing(missing: list[str], texts: dict[str, str]) -> str:
    listed = "\n".join(f"- {c}: {texts.get(c, '')}" for c in missing)
    return f".software-factory/scenarios.yaml has no scenario with an `expect` for these criteria:\n{listed}"
