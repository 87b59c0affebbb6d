"""The ACP driver: any agent that speaks the Agent Client Protocol over stdio, run inside the sandbox.

Protocol version 1, https://agentclientprotocol.com/protocol/overview. The client offers neither files nor a terminal:
the agent is in the sandbox and has its own; what it asks of that kind all the same is answered "method not found".
"""

import asyncio
import importlib.metadata
import logging
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import acp
from acp import schema
from factory_sandbox.errors import Refused
from pydantic import ValidationError

from factory_agents import permissions
from factory_agents.account import TurnAccount
from factory_agents.driver import AgentInfo, Block, Image, Link, McpServer, OnEvent, Permit, Spawn, Text, Turn, Usage
from factory_agents.errors import (
    AgentDied,
    AgentError,
    AgentNeedsLogin,
    AgentNotInstalled,
    AgentProtocolError,
    AgentRefused,
    AgentTimeout,
)
from factory_agents.events import Event, Permission, Stderr, UsageUpdate
from factory_agents.presets import Preset
from factory_agents.process import JsonLines, Process, StderrTail
from factory_agents.updates import model_error, read_update

log = logging.getLogger(__name__)

AUTH_REQUIRED = -32000  # the protocol's error code
NOT_THERE = (126, 127)  # a shell's exit codes for a command that cannot be run or is not found
LEFTOVERS = 1.0  # seconds that a dead agent's last output may still take
CLOSING = 2.0  # seconds that an agent has to end by itself when its input closes

T = TypeVar("T")


class AcpAgent:
    """One agent in one session; an `AgentDriver`.

    `cwd` is the checkout's absolute path inside the sandbox. `env` comes on top of the preset's and holds the keys.
    `start_timeout` is for each step of the set-up, `cancel_grace` for an agent that is asked to end its turn (seconds).
    """

    def __init__(
        self,
        spawn: Spawn,
        preset: Preset,
        cwd: str,
        *,
        env: Mapping[str, str] | None = None,
        mcp_servers: Sequence[McpServer] = (),
        on_event: OnEvent = lambda event: None,
        permit: Permit = permissions.allow_all,
        start_timeout: float = 60.0,
        cancel_grace: float = 10.0,
    ) -> None:
        self.info: AgentInfo | None = None
        self._spawn = spawn
        self._preset = preset
        self._cwd = cwd
        self._env = {**preset.env, **(env or {})}
        self._mcp_servers = mcp_servers
        self._on_event = on_event
        self._permit = permit
        self._start_timeout = start_timeout
        self._cancel_grace = cancel_grace
        self._running: _Running | None = None
        self._takes_images = False
        self._login_methods: list[str] = []
        self._session = ""
        self._cost = 0.0  # the session's so far
        self._account: TurnAccount | None = None
        self._answer: asyncio.Task[schema.PromptResponse] | None = None
        self._fault: Exception | None = None  # what on_event raised

    # ---- the set-up

    async def start(self) -> None:
        if self._running:
            raise RuntimeError("this agent has been started already")
        process = await self._launch()
        self._running = _Running(process, self)
        try:
            await self._open_session()
        except BaseException:
            await self.close()
            raise

    async def _launch(self) -> Process:
        try:
            return await self._spawn(self._preset.command, self._env)
        except FileNotFoundError:
            raise AgentNotInstalled(self._preset.command, self._preset.install) from None
        except Refused as refused:
            if refused.code != "no-such-command":
                raise
            raise AgentNotInstalled(self._preset.command, self._preset.install) from None

    async def _open_session(self) -> None:
        connection = self._live().connection
        hello = await self._ask(
            "initialize",
            connection.initialize(
                protocol_version=acp.PROTOCOL_VERSION,
                client_capabilities=schema.ClientCapabilities(),
                client_info=schema.Implementation(
                    name="software-factory",
                    title="Software Factory",
                    version=importlib.metadata.version("software-factory-agents"),
                ),
            ),
        )
        if hello.protocol_version != acp.PROTOCOL_VERSION:
            raise AgentProtocolError(
                self._preset.command,
                f"it speaks protocol version {hello.protocol_version}, the factory speaks {acp.PROTOCOL_VERSION}; "
                "install a version of the agent that speaks the same",
            )
        self._remember(hello)
        session = await self._ask(
            "session/new",
            connection.new_session(cwd=self._cwd, mcp_servers=[_mcp(server) for server in self._mcp_servers]),
        )
        self._session = session.session_id
        if self._preset.session_mode:
            await self._ask(
                f"session/set_mode {self._preset.session_mode}",
                connection.set_session_mode(session_id=self._session, mode_id=self._preset.session_mode),
            )

    def _remember(self, hello: schema.InitializeResponse) -> None:
        if hello.agent_info:
            info = hello.agent_info
            self.info = AgentInfo(name=info.name, title=info.title or "", version=info.version)
        prompt = hello.agent_capabilities and hello.agent_capabilities.prompt_capabilities
        self._takes_images = bool(prompt and prompt.image)
        self._login_methods = [method.name for method in hello.auth_methods or ()]

    async def _ask(self, step: str, request: Coroutine[Any, Any, T]) -> T:
        """One step of the set-up; every way in which it can fail becomes an AgentError."""
        running, command = self._live(), self._preset.command
        answer = asyncio.create_task(request)
        try:
            if not await running.settled(answer, self._start_timeout):
                raise AgentTimeout(command, step, self._start_timeout, await running.stderr.text())
            if not answer.done():
                raise await self._death()
            return answer.result()
        except ConnectionError:
            raise await self._death() from None
        except acp.RequestError as error:
            if error.code == AUTH_REQUIRED:
                raise AgentNeedsLogin(command, self._login_methods) from None
            raise AgentRefused(command, step, _reason(error)) from None
        except ValidationError as error:
            raise AgentProtocolError(command, f"its answer to {step} cannot be read: {_first(error)}") from None
        finally:
            answer.cancel()

    async def _death(self) -> AgentError:
        running, command = self._live(), self._preset.command
        if running.lines.fault:
            return AgentProtocolError(command, running.lines.fault)
        exit_code = await running.exit_code()
        if exit_code in NOT_THERE:
            return AgentNotInstalled(command, self._preset.install)
        return AgentDied(command, exit_code, await running.stderr.text())

    # ---- turns

    async def prompt(self, blocks: Sequence[Block], *, deadline: float) -> Turn:
        """See AgentDriver. A `prompt` that is cancelled as a coroutine leaves the agent at work: `close` it then."""
        running = self._live()
        if self._account:
            raise RuntimeError("the agent is in a turn already")
        if self._fault:
            raise self._fault
        if running.exit.done():
            raise AgentDied(self._preset.command, running.exit.result(), await running.stderr.text())
        account = self._account = TurnAccount(self._cost)
        answer = self._answer = asyncio.create_task(
            running.connection.prompt(session_id=self._session, prompt=[self._block(block) for block in blocks])
        )
        try:
            if not await running.settled(answer, deadline):
                account.stopped = "deadline"
                await self._stop(running, answer)
            if self._fault:
                raise self._fault
            return await self._close_turn(running, account, answer, deadline)
        finally:
            answer.cancel()
            await asyncio.wait({answer})
            self._account = self._answer = None

    async def cancel(self) -> None:
        if not (self._running and self._account and self._answer):
            return
        self._account.stopped = self._account.stopped or "cancelled"
        running, answer = self._running, self._answer
        await asyncio.sleep(0)  # a prompt of this very moment goes out first; an agent has nothing to cancel before
        await self._stop(running, answer)

    async def _stop(self, running: "_Running", answer: asyncio.Task[Any]) -> None:
        """Asks the agent to end its turn; kills it, and all it started, when it does not."""
        try:
            async with asyncio.timeout(self._cancel_grace):
                await running.connection.cancel(session_id=self._session)
                await running.settled(answer, None)
        except TimeoutError:
            log.warning("agent %s did not end its turn in %g s: killed", self._preset.label, self._cancel_grace)
        except ConnectionError:
            pass  # it is gone or deaf: what is left of it is killed below
        if not answer.done():
            await running.process.kill()
            await running.settled(answer, LEFTOVERS)

    async def _close_turn(
        self, running: "_Running", account: TurnAccount, answer: asyncio.Task[schema.PromptResponse], deadline: float
    ) -> Turn:
        stop_reason, usage = "", None
        problem: str | None = None
        detail = ""
        try:
            if not answer.done():
                raise ConnectionError
            response = answer.result()
            stop_reason, usage = response.stop_reason, _usage(response.usage)
            problem, detail = STOPPED_SHORT.get(stop_reason, (None, ""))
        except ConnectionError:
            problem, detail = await self._broken_off(running)
        except acp.RequestError as error:
            problem = "login_needed" if error.code == AUTH_REQUIRED else "model_error"
            detail = _reason(error)
        except ValidationError as error:
            problem, detail = "protocol", f"Its answer to session/prompt cannot be read: {_first(error)}"
        if account.stopped:
            problem = account.stopped
            detail = (
                f"The turn was not done after {deadline:g} s." if problem == "deadline" else "The turn was cancelled."
            )
        return account.close(stop_reason, usage, problem, detail)

    async def _broken_off(self, running: "_Running") -> tuple[str, str]:
        """The agent went in the middle of a turn; nothing of it may go on."""
        if running.lines.fault:
            await running.process.kill()
            return "protocol", f"The agent cannot be followed any more: {running.lines.fault}."
        died = AgentDied(self._preset.command, await running.exit_code(), await running.stderr.text())
        await running.process.kill()
        return "agent_died", died.message

    async def close(self) -> None:
        running, self._running = self._running, None
        if self._account:
            self._account.stopped = self._account.stopped or "cancelled"
        if running:
            await running.close()

    def _live(self) -> "_Running":
        if self._running is None:
            raise RuntimeError("this agent is not started, or closed")
        return self._running

    # ---- what the agent says and asks

    def hear_update(self, update: Mapping[str, Any]) -> None:
        """A `session/update`; one that cannot be read costs itself only."""
        try:
            event = read_update(update, datetime.now(UTC))
            error = model_error(update)
        except (KeyError, TypeError, ValueError, AttributeError) as odd:
            log.warning("agent %s: an update that cannot be read (%r): %.300s", self._preset.label, odd, update)
            return
        if self._account and error:
            self._account.model_error = error
        if event:
            self._emit(event)

    def hear_stderr(self, text: str) -> None:
        self._emit(Stderr(at=datetime.now(UTC), text=text))

    def answer_permission(
        self, call: schema.ToolCallUpdate, options: Sequence[schema.PermissionOption]
    ) -> schema.PermissionOption | None:
        """The option that the policy chooses, recorded; None is ACP's `cancelled`, due while a turn is being ended."""
        title, kind = call.title or call.tool_call_id, call.kind or "other"
        ending = bool(self._account and self._account.stopped)
        allowed = not ending and self._permit(title, kind)
        option = None if ending else permissions.choose(options, allowed)
        outcome = "cancelled" if ending else "allowed" if allowed and option else "denied"
        self._emit(
            Permission(
                at=datetime.now(UTC),
                id=call.tool_call_id,
                title=title,
                kind=kind,
                outcome=outcome,
                option=option.name if option else "",
            )
        )
        return option

    def _emit(self, event: Event) -> None:
        if isinstance(event, UsageUpdate) and event.cost is not None:
            self._cost = event.cost
        if self._account:
            self._account.hear(event)
        if self._fault:
            return
        try:
            self._on_event(event)
        except Exception as error:
            log.exception("on_event failed; the turn is ended with its error")
            self._fault = error
            if self._answer:
                self._answer.cancel()

    def _block(self, block: Block) -> Any:
        match block:
            case Text(text=text):
                return acp.text_block(text)
            case Link(uri=uri, name=name):
                return acp.resource_link_block(name, uri)
            case Image(data=data, mime_type=mime_type) if self._takes_images:
                return acp.image_block(data, mime_type)
            case Image(name=name):
                return acp.text_block(f"(There was a picture here, {name!r}, which this agent cannot be shown.)")


STOPPED_SHORT = {
    "refusal": ("refused", "The agent refused to go on."),
    "max_tokens": ("max_tokens", "The agent's model ran out of tokens."),
    "max_turn_requests": ("max_turn_requests", "The agent used up the requests that it may make in a turn."),
    "cancelled": ("cancelled", "The agent ended the turn as cancelled; nobody here had asked it to."),
}


class _Running:
    """A process and what hangs on it."""

    def __init__(self, process: Process, agent: AcpAgent) -> None:
        if not (process.stdin and process.stdout and process.stderr):
            raise ValueError("an agent is talked to by its pipes: spawn it with them")
        self.process = process
        self.exit = asyncio.create_task(process.wait())
        self.stdin = process.stdin
        self.stderr = StderrTail(process.stderr, agent.hear_stderr)
        self.lines = JsonLines(process.stdin, process.stdout, self._take, agent.hear_stderr)
        self.connection = acp.connect_to_agent(cast(acp.Client, _Client(agent)), self.lines)
        self._agent = agent

    def _take(self, message: dict[str, Any]) -> bool:
        """Updates are heard here, in order and unvalidated; the SDK would drop those that it does not know."""
        if message.get("method") != "session/update":
            return False
        self._agent.hear_update((message.get("params") or {}).get("update") or {})
        return True

    async def settled(self, answer: asyncio.Task[Any], timeout: float | None) -> bool:
        """Waits for an answer or the agent's end; False when neither came in time.

        The end counts by itself: a child that holds the agent's stdout open would keep the answer waiting for ever.
        """
        await asyncio.wait({answer, self.exit}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if self.exit.done() and not answer.done():
            await asyncio.wait({answer}, timeout=LEFTOVERS)
        return answer.done() or self.exit.done()

    async def exit_code(self) -> int | None:
        """None for an agent that has closed its output and lives on."""
        await asyncio.wait({self.exit}, timeout=2)
        return self.exit.result() if self.exit.done() and not self.exit.cancelled() else None

    async def close(self) -> None:
        """Closes the agent's input, which ends most; then kills what is left, its children too."""
        try:
            self.stdin.close()
            await asyncio.wait({self.exit}, timeout=CLOSING)
        finally:
            try:
                await self.process.close()
            finally:
                self.exit.cancel()
                await asyncio.gather(self.exit, return_exceptions=True)  # a turn under way has heard of it
                await self.connection.close()
                await self.stderr.close()


class _Client:
    """What an agent may ask of us: permissions. The rest is refused with -32601, which agents take well."""

    def __init__(self, agent: AcpAgent) -> None:
        self._agent = agent

    async def request_permission(
        self,
        session_id: str,
        tool_call: schema.ToolCallUpdate,
        options: list[schema.PermissionOption],
        **_: Any,
    ) -> schema.RequestPermissionResponse:
        option = self._agent.answer_permission(tool_call, options)
        if option is None:
            return schema.RequestPermissionResponse(outcome=schema.DeniedOutcome(outcome="cancelled"))
        chosen = schema.AllowedOutcome(outcome="selected", option_id=option.option_id)
        return schema.RequestPermissionResponse(outcome=chosen)

    async def _refuse(self, **_: Any) -> Any:
        raise acp.RequestError(-32601, "Method not found: this client offers no files and no terminal")

    # opencode writes through fs/write_text_file though it is not offered; for terminals the SDK would answer null
    read_text_file = write_text_file = _refuse
    create_terminal = terminal_output = release_terminal = wait_for_terminal_exit = kill_terminal = _refuse


def _mcp(server: McpServer) -> schema.McpServerStdio:
    env = [schema.EnvVariable(name=name, value=value) for name, value in server.env.items()]
    return schema.McpServerStdio(name=server.name, command=server.command, args=list(server.args), env=env)


def _usage(usage: schema.Usage | None) -> Usage | None:
    if usage is None:
        return None
    return Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
        thought_tokens=usage.thought_tokens or 0,
        cached_read_tokens=usage.cached_read_tokens or 0,
        cached_write_tokens=usage.cached_write_tokens or 0,
    )


def _reason(error: acp.RequestError) -> str:
    details = error.data.get("details") if isinstance(error.data, dict) else error.data
    return f"{error} ({details})" if details else str(error)


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
