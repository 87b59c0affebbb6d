"""Does the steps of a script in a checkout, for real: files, shell commands, children that end when the turn does."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import acp
from acp.schema import ContentToolCallContent, FileEditToolCallContent, ToolKind

from factory_loopback.agent import appender
from factory_loopback.agent.script import AppendForever, AskPermission, Exit, Replace, Run, Sleep, Step, Write

OUTPUT = 20_000  # bytes of a command's output that are shown, from its end

Ask = Callable[[str], Awaitable[bool]]
Content = ContentToolCallContent | FileEditToolCallContent


class StepFailed(Exception):
    """{what could not be done, and why}; `output` is what there was to see."""

    code = "step"

    def __init__(self, message: str, output: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.output, self.exit_code = output, exit_code


@dataclass(frozen=True)
class Done:
    """What a step leaves to be shown."""

    content: tuple[Content, ...] = ()
    exit_code: int | None = None


def describe(step: Step) -> tuple[str, ToolKind]:
    """A step's title, as people read it, and its kind in ACP's words."""
    match step:
        case Write(path=path):
            return f"Write {path}", "edit"
        case Replace(path=path):
            return f"Edit {path}", "edit"
        case Run(command=command):
            return command, "execute"
        case AskPermission(title=title):
            return title, "other"
        case AppendForever(path=path):
            return f"Append to {path} until cancelled", "edit"
        case Sleep(seconds=seconds):
            return f"Wait {seconds:g} s", "other"
        case Exit(exit_code=exit_code):
            return f"Exit with code {exit_code}", "other"


class Checkout:
    """The directory that a session works in; nothing is touched outside it."""

    def __init__(self, directory: Path, ask: Ask) -> None:
        self._directory = directory.resolve()
        self._ask = ask

    def locate(self, step: Step) -> Path | None:
        """The file that a step is about."""
        return self._directory / step.path if isinstance(step, Write | Replace | AppendForever) else None

    async def perform(self, step: Step) -> Done:
        """Raises StepFailed; when cancelled, the step's children are gone before the cancellation goes on."""
        try:
            match step:
                case Write():
                    return self._write(step)
                case Replace():
                    return self._replace(step)
                case Run():
                    return await self._run(step)
                case AskPermission(title=title):
                    if not await self._ask(title):
                        raise StepFailed(f"I was not allowed to: {title}")
                    return Done()
                case AppendForever():
                    await self._append_forever(step)
                case Sleep(seconds=seconds):
                    await asyncio.sleep(seconds)
                case Exit(exit_code=exit_code):
                    os._exit(exit_code)
        except (OSError, UnicodeDecodeError) as error:
            raise StepFailed(f"{describe(step)[0]}: {error}") from None
        return Done()

    def _inside(self, relative: str) -> Path:
        path = (self._directory / relative).resolve()
        if not path.is_relative_to(self._directory):
            raise StepFailed(f"{relative} leads out of the checkout, to {path}")
        return path

    def _write(self, step: Write) -> Done:
        path = self._inside(step.path)
        before = _read(path) if path.exists() else None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(step.text.encode())
        return Done((acp.tool_diff_content(str(path), step.text, before),))

    def _replace(self, step: Replace) -> Done:
        path = self._inside(step.path)
        before = _read(path)
        if step.new in before and (step.old not in before or step.old in step.new):
            return Done()  # a round that was cut short begins again on the tree that it left
        found = before.count(step.old)
        if found != 1:
            raise StepFailed(f"{step.path} holds the text to replace {found} times, not once: {step.old[:200]!r}")
        after = before.replace(step.old, step.new)
        path.write_bytes(after.encode())
        return Done((acp.tool_diff_content(str(path), after, before),))

    async def _run(self, step: Run) -> Done:
        # a file, not a pipe: a daemon that the command leaves behind may hold it open as long as it likes
        with tempfile.TemporaryFile() as output:
            process = await asyncio.create_subprocess_shell(
                step.command,
                cwd=self._directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                exit_code = await process.wait()
            finally:
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()
            output.seek(max(0, output.seek(0, os.SEEK_END) - OUTPUT))
            text = output.read().decode(errors="replace")
        if exit_code and not step.allow_failure:
            raise StepFailed(f"`{step.command}` ended with exit code {exit_code}", text, exit_code)
        return Done((acp.tool_content(acp.text_block(text)),), exit_code)

    async def _append_forever(self, step: AppendForever) -> None:
        path = self._inside(step.path)
        child = None
        if step.child:
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-I", appender.__file__, str(path), str(step.every_ms), start_new_session=True
            )
        try:
            for line in appender.lines("agent"):
                appender.append(path, line)
                await asyncio.sleep(step.every_ms / 1000)
        finally:
            if child and child.returncode is None:
                child.kill()
                await child.wait()


def _read(path: Path) -> str:
    """The text with its line ends as they are."""
    return path.read_bytes().decode()
