"""What the command says: one JSON object, or lines for people, on stdout; progress and the repo's own output on stderr."""

import json
import os
import sys
from typing import Any, TextIO

from factory_contract.errors import ContractError, tell

COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}
STATES = {
    "ready": "green",
    "completed": "green",
    "failed": "red",
    "exited": "red",
    "unhealthy": "yellow",
    "degraded": "yellow",
}


class Output:
    """The voice of one command."""

    def __init__(self, command: str, *, as_json: bool) -> None:
        self.command, self.as_json = command, as_json

    def result(self, *, ok: bool = True, **fields: Any) -> None:
        """The one object of `--json`; nothing for people."""
        if self.as_json:
            print(json.dumps({"command": self.command, "ok": ok, **fields}, indent=1))

    def line(self, text: str = "") -> None:
        """A line of the answer; nothing with `--json`."""
        if not self.as_json:
            print(text)

    def progress(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def echo(self, data: bytes) -> None:
        """The repo's own output, as it comes."""
        sys.stderr.buffer.write(data)
        sys.stderr.buffer.flush()

    def failed(self, error: ContractError, **fields: Any) -> int:
        """The end of a command that failed: the error, for people with the log's last lines and what to do. Its exit code."""
        if self.as_json:
            told = tell(error)
            del told["exit_code"]
            more = {"errors": told.pop("errors")} if "errors" in told else {}
            try:
                print(json.dumps({"command": self.command, "ok": False, **fields, "error": told, **more}, indent=1))
            except BrokenPipeError:
                pass  # nobody reads to the end
        else:
            self.explain(error)
        return error.exit_code

    def explain(self, error: ContractError) -> None:
        """The error in a person's words, on stderr."""
        told = tell(error)
        for problem in told.get("errors", []):
            place = f"{problem['file']}:{problem['line']}:{problem['column']}"
            hint = f". {self.dim(problem['hint'])}" if problem["hint"] else ""
            self.progress(f"{place}: {self.paint('red', 'error')}: {problem['message']}{hint}")
        if "errors" in told:
            return
        for line in told.get("log_tail", []):
            self.progress(self.dim(f"  | {line}"))
        self.progress(f"{self.paint('red', 'error')}: {error}")
        if told["hint"]:
            self.progress(f"  {told['hint']}")

    def paint(self, colour: str, text: str, to: TextIO | None = None) -> str:
        """Colour on terminals only, and not where NO_COLOR (no-color.org) is set."""
        stream = to or sys.stderr
        if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return text
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"

    def dim(self, text: str) -> str:
        return self.paint("dim", text)

    def state(self, state: str, width: int = 0, to: TextIO | None = None) -> str:
        """A state, in its colour, padded."""
        return self.paint(STATES.get(state, "dim"), state.ljust(width), to)
