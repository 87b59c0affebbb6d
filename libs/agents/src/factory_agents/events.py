"""What an agent does while it works, in ACP's words, whichever driver it came by.

Source of the words: https://agentclientprotocol.com/protocol/prompt-turn and /tool-calls (protocol version 1).
"""

from datetime import datetime

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event"):
    """Base of all events; `at` is UTC by the factory's clock, when the event was read."""

    at: datetime


class PlanEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of an agent's plan; status pending | in_progress | completed, priority high | medium | low."""

    content: str
    status: str = "pending"
    priority: str = "medium"


class Plan(Event, frozen=True, tag="plan"):
    """The whole plan as it now stands; it replaces the one before."""

    entries: tuple[PlanEntry, ...] = ()


class Message(Event, frozen=True, tag="message"):
    """A piece of what the agent says to people; pieces of one paragraph come one after another."""

    text: str


class Thought(Event, frozen=True, tag="thought"):
    """A piece of what the agent says to itself."""

    text: str


class ToolCall(Event, frozen=True, tag="tool_call"):
    """The agent begins to do something.

    `kind` is read | edit | delete | move | search | execute | think | fetch | switch_mode | other,
    `status` pending | in_progress | completed | failed, `locations` are absolute paths, `output` is cut to its end.
    """

    id: str
    title: str = ""
    kind: str = "other"
    status: str = "pending"
    locations: tuple[str, ...] = ()
    output: str = ""


class ToolCallUpdate(Event, frozen=True, tag="tool_call_update"):
    """What has changed in a tool call; None and empty mean unchanged."""

    id: str
    title: str | None = None
    kind: str | None = None
    status: str | None = None
    locations: tuple[str, ...] = ()
    output: str = ""


class UsageUpdate(Event, frozen=True, tag="usage"):
    """Tokens now in the context and its size; `cost` is of the whole session so far."""

    used: int
    size: int
    cost: float | None = None
    currency: str | None = None


class Permission(Event, frozen=True, tag="permission"):
    """The agent asked whether it may do something.

    `outcome` is allowed | denied | cancelled, `option` the name of the answer that was chosen.
    """

    id: str
    title: str
    kind: str
    outcome: str
    option: str = ""


class Stderr(Event, frozen=True, tag="stderr"):
    """What the agent wrote to its standard error, and lines of its output that are no message."""

    text: str


AnyEvent = Plan | Message | Thought | ToolCall | ToolCallUpdate | UsageUpdate | Permission | Stderr
"""For `msgspec.json.decode(line, type=AnyEvent)`."""
