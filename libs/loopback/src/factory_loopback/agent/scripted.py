"""The agent's side of ACP: sessions, turns that follow the script, everything reported as a real agent reports it."""

import asyncio
import importlib.metadata
import re
import uuid
from pathlib import Path
from typing import Any

import acp
from acp import schema

from factory_loopback.agent.script import Round, Script, Step
from factory_loopback.agent.steps import Checkout, StepFailed, describe

ROUND = re.compile(r"\bRound (\d+) of \d+")


class Session:
    """A checkout, and the turn under way in it."""

    def __init__(self, id: str, checkout: Checkout) -> None:
        self.id, self.checkout = id, checkout
        self.turn: asyncio.Task[schema.StopReason] | None = None
        self.cancel_asked = False
        self.calls = 0


class ScriptedAgent:
    """Follows `script`. The round is read from the prompt, so that a process started anew goes on at the right one."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._sessions: dict[str, Session] = {}
        self._client: acp.Client

    def on_connect(self, conn: acp.Client) -> None:
        self._client = conn

    async def initialize(self, protocol_version: int, **_: Any) -> schema.InitializeResponse:
        return schema.InitializeResponse(
            protocol_version=acp.PROTOCOL_VERSION,
            agent_info=schema.Implementation(
                name="scripted-agent",
                title="Scripted agent",
                version=importlib.metadata.version("software-factory-loopback"),
            ),
        )

    async def new_session(self, cwd: str, **_: Any) -> schema.NewSessionResponse:
        if not (Path(cwd).is_absolute() and Path(cwd).is_dir()):
            raise acp.RequestError.invalid_params({"details": f"cwd must be the absolute path of a directory: {cwd}"})
        id = uuid.uuid4().hex
        self._sessions[id] = Session(id, Checkout(Path(cwd), lambda title: self._ask(id, title)))
        return schema.NewSessionResponse(session_id=id)

    async def cancel(self, session_id: str, **_: Any) -> None:
        session = self._session(session_id)
        if session.turn:
            session.cancel_asked = True
            session.turn.cancel()

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> schema.PromptResponse:
        session = self._session(session_id)
        if session.turn:
            raise acp.RequestError.invalid_request({"details": "this session is in a turn already"})
        text = "\n".join(block.text for block in prompt if isinstance(block, schema.TextContentBlock))
        session.turn, session.cancel_asked = asyncio.create_task(self._turn(session, text)), False
        try:
            return schema.PromptResponse(stop_reason=await session.turn)
        except asyncio.CancelledError:
            if not session.cancel_asked:
                raise  # the connection closes
            return schema.PromptResponse(stop_reason="cancelled")
        finally:
            session.turn = None

    def _session(self, id: str) -> Session:
        if id not in self._sessions:
            raise acp.RequestError.invalid_params({"details": f"there is no session {id}"})
        return self._sessions[id]

    async def _turn(self, session: Session, text: str) -> schema.StopReason:
        found = ROUND.search(text)
        if not found:
            return await self._refuse(session, "I was not told which round this is: nothing says 'Round N of M'.")
        number = int(found[1])
        if not 1 <= number <= len(self._script.rounds):
            return await self._refuse(
                session, f"My script has {len(self._script.rounds)} rounds, and this is round {number}."
            )
        round = self._script.rounds[number - 1]
        if missing := [expected.pattern for expected in round.expect if not expected.search(text)]:
            listed = ", ".join(f"/{pattern}/" for pattern in missing)
            return await self._refuse(
                session, f"For round {number} I was not told what I need: nothing matches {listed}."
            )
        await self._follow(session, round)
        return "end_turn"

    async def _refuse(self, session: Session, why: str) -> schema.StopReason:
        await self._say(session, why)
        return "refusal"

    async def _follow(self, session: Session, round: Round) -> None:
        await self._show_plan(session, round, "in_progress")
        if round.say:
            await self._say(session, round.say)
        for step in round.do:
            try:
                await self._perform(session, step)
            except StepFailed as failed:
                await self._say(session, f"I stop here: {failed}")
                return
        await self._show_plan(session, round, "completed")

    async def _perform(self, session: Session, step: Step) -> None:
        """One step as one tool call. A cancelled one is left as it is: in ACP the client knows what that means."""
        session.calls += 1
        call = f"call-{session.calls}"
        title, kind = describe(step)
        path = session.checkout.locate(step)
        locations = [schema.ToolCallLocation(path=str(path))] if path else None
        await self._tell(
            session, acp.start_tool_call(call, title, kind=kind, status="in_progress", locations=locations)
        )
        try:
            done = await session.checkout.perform(step)
        except StepFailed as failed:
            shown = acp.tool_content(acp.text_block(f"{failed.output}\n{failed}".strip()))
            await self._tell(
                session, acp.update_tool_call(call, status="failed", content=[shown], raw_output=_raw(failed.exit_code))
            )
            raise
        await self._tell(
            session,
            acp.update_tool_call(call, status="completed", content=done.content, raw_output=_raw(done.exit_code)),
        )

    async def _show_plan(self, session: Session, round: Round, status: schema.PlanEntryStatus) -> None:
        """The first entry is in progress while the round runs; all are completed when it is through."""
        if not round.plan:
            return
        rest = "pending" if status == "in_progress" else status
        entries = [acp.plan_entry(text, status=rest if index else status) for index, text in enumerate(round.plan)]
        await self._tell(session, acp.update_plan(entries))

    async def _say(self, session: Session, text: str) -> None:
        await self._tell(session, acp.update_agent_message_text(text))

    async def _tell(self, session: Session, update: Any) -> None:
        await self._client.session_update(session_id=session.id, update=update)

    async def _ask(self, session_id: str, title: str) -> bool:
        answer = await self._client.request_permission(
            session_id=session_id,
            tool_call=schema.ToolCallUpdate(
                tool_call_id=f"call-{self._session(session_id).calls}", title=title, kind="other", status="pending"
            ),
            options=[
                schema.PermissionOption(option_id="yes", name="Allow", kind="allow_once"),
                schema.PermissionOption(option_id="always", name="Always allow", kind="allow_always"),
                schema.PermissionOption(option_id="no", name="Reject", kind="reject_once"),
            ],
        )
        return answer.outcome.outcome == "selected" and answer.outcome.option_id in ("yes", "always")


def _raw(exit_code: int | None) -> dict[str, int] | None:
    return None if exit_code is None else {"exit_code": exit_code}
