"""What the factory asks of any coding agent: a session, turns in it, and an honest account of each turn."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from factory_agents.events import Event
from factory_agents.process import Process

Spawn = Callable[[Sequence[str], Mapping[str, str]], Awaitable[Process]]
"""Starts a command in the sandbox's checkout with these variables added; FileNotFoundError where it is not there."""

OnEvent = Callable[[Event], None]
"""Hears every event in order; must not block. What it raises ends the turn and comes out of `prompt`."""

Permit = Callable[[str, str], bool]
"""Whether the agent may do this: the tool call's title and kind."""


class Text(msgspec.Struct, frozen=True, tag=True):
    """Words for the agent."""

    text: str


class Image(msgspec.Struct, frozen=True, tag=True):
    """A picture for the agent; `data` is base64. An agent that takes none is told that there was one."""

    data: str
    mime_type: str
    name: str = "image"


class Link(msgspec.Struct, frozen=True, tag=True):
    """A file or page that the agent may open itself."""

    uri: str
    name: str


Block = Text | Image | Link


class McpServer(msgspec.Struct, frozen=True, kw_only=True):
    """Tools for the agent: an MCP server that the agent itself starts, over stdio, in the sandbox."""

    name: str
    command: str
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}


class AgentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Who the agent says it is; goes into the pull request's provenance."""

    name: str
    title: str = ""
    version: str = ""


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a turn has used, as far as the agent says; `cost` is this turn's, in `currency`."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    thought_tokens: int = 0
    cached_read_tokens: int = 0
    cached_write_tokens: int = 0
    context_used: int = 0
    context_size: int = 0
    cost: float | None = None
    currency: str | None = None


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """How a turn ended.

    `stop_reason` is ACP's: end_turn | max_tokens | max_turn_requests | refusal | cancelled, or empty when the agent
    gave none. `message` is all it said, paragraphs apart where tool calls lay between. `problem` is None, or why the
    turn must count as a failure whatever the agent says:

    refused | max_tokens | max_turn_requests     the agent stopped short
    permission_denied                            something it wanted to do was denied (`denied` has the titles)
    model_error | login_needed                   its model did not answer, said aloud or only in metadata
    deadline | cancelled                         we ended it | it was ended, by us or by the agent itself
    agent_died | protocol                        it ended in the middle | it broke the protocol

    `detail` says the same to people, with the end of stderr where that helps.
    """

    stop_reason: str
    message: str = ""
    tool_calls: int = 0
    denied: list[str] = []
    usage: Usage | None = None
    seconds: float = 0.0
    problem: str | None = None
    detail: str = ""


class AgentDriver(Protocol):
    """One agent in one session. `start` first, then turns one after another, `close` last, whatever happened."""

    info: AgentInfo | None

    async def start(self) -> None:
        """Starts the agent and opens a session; raises an AgentError and leaves nothing running when it cannot."""
        ...

    async def prompt(self, blocks: Sequence[Block], *, deadline: float) -> Turn:
        """Gives the agent its next turn and waits for the end, `deadline` seconds at most.

        What goes wrong inside the turn is in `Turn.problem`. Raises AgentDied when the agent was gone before.
        """
        ...

    async def cancel(self) -> None:
        """Ends the turn under way: asks first, kills after 10 s. Without a turn it does nothing."""
        ...

    async def close(self) -> None:
        """Ends the agent and what it started. May be called at any time and twice."""
        ...
