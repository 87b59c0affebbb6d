"""Reads `session/update` of ACP into events, from the raw message, so that an unknown or odd update costs itself only.

Source: https://agentclientprotocol.com/protocol/schema (SessionUpdate), version 1.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from factory_agents.events import (
    Event,
    Message,
    Plan,
    PlanEntry,
    Thought,
    ToolCall,
    ToolCallUpdate,
    UsageUpdate,
)

OUTPUT = 8000  # characters of a tool's output that an event keeps

Json = Mapping[str, Any]


def read_update(update: Json, at: datetime) -> Event | None:
    """The event that this update is; None for those that tell people nothing (modes, commands, titles).

    Raises KeyError, TypeError, ValueError or AttributeError for an update that lacks what its kind must have.
    """
    match update["sessionUpdate"]:
        case "agent_message_chunk":
            return Message(at=at, text=_text(update["content"]))
        case "agent_thought_chunk":
            return Thought(at=at, text=_text(update["content"]))
        case "plan":
            return Plan(at=at, entries=tuple(_entry(entry) for entry in update["entries"]))
        case "tool_call":
            return ToolCall(
                at=at,
                id=str(update["toolCallId"]),
                title=update.get("title") or "",
                kind=update.get("kind") or "other",
                status=update.get("status") or "pending",
                locations=_locations(update),
                output=_output(update),
            )
        case "tool_call_update":
            return ToolCallUpdate(
                at=at,
                id=str(update["toolCallId"]),
                title=update.get("title"),
                kind=update.get("kind"),
                status=update.get("status"),
                locations=_locations(update),
                output=_output(update),
            )
        case "usage_update":
            cost = update.get("cost") or {}
            return UsageUpdate(
                at=at,
                used=int(update["used"]),
                size=int(update["size"]),
                cost=cost.get("amount"),
                currency=cost.get("currency"),
            )
    return None


def model_error(update: Json) -> str:
    """What codex-acp says only here when its model fails: the turn itself ends with `end_turn`.

    `_meta.codex.error` with `willRetry` is a warning; it tries again.
    """
    codex = (update.get("_meta") or {}).get("codex") or {}
    error = codex.get("error")
    if isinstance(error, Mapping) and not error.get("willRetry"):
        return str(error.get("message") or json.dumps(error))
    if isinstance(error, str) and error:
        return error
    if (codex.get("threadStatus") or {}).get("type") == "systemError":
        return "the agent's model failed (threadStatus: systemError)"
    return ""


def _text(content: Json) -> str:
    if content["type"] == "text":
        return content["text"]
    return f"[{content['type']}: {content.get('uri') or content.get('name') or content.get('mimeType') or ''}]"


def _entry(entry: Json) -> PlanEntry:
    return PlanEntry(
        content=entry["content"], status=entry.get("status") or "pending", priority=entry.get("priority") or "medium"
    )


def _locations(update: Json) -> tuple[str, ...]:
    return tuple(location["path"] for location in update.get("locations") or ())


def _output(update: Json) -> str:
    pieces = [_piece(item) for item in update.get("content") or ()]
    return "\n".join(piece for piece in pieces if piece)[-OUTPUT:]


def _piece(item: Json) -> str:
    match item["type"]:
        case "content":
            return _text(item["content"])
        case "diff":
            return f"changed {item['path']}" if item.get("oldText") else f"wrote {item['path']}"
    return ""
