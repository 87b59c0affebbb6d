"""What can go wrong here, each with a stable code. A failing scenario is no error: it is a result."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a scenario file. Line and column count from 1."""

    source: str
    line: int
    column: int
    what: str
    expected: str = ""
    nearest: str = ""

    def __str__(self) -> str:
        expected = f"; expected {self.expected}" if self.expected else ""
        nearest = f"; did you mean “{self.nearest}”?" if self.nearest else ""
        return f"{self.source}:{self.line}:{self.column}: {self.what}{expected}{nearest}"


class BrowserError(Exception):
    """The browser's part of the work could not be done."""

    code = "browser"


class ScenarioErrors(BrowserError):
    """The scenarios are not valid: every problem on its own line, as file:line:column."""

    code = "scenarios_invalid"

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


class PlanInvalid(BrowserError):
    """The plan of a recording cannot be used: {why}."""

    code = "plan_invalid"

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"The plan of a recording cannot be used: {why}.")


class ChromiumFailed(BrowserError):
    """Chromium ({path}) {why}"""

    code = "chromium_failed"

    def __init__(self, path: str, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(f"Chromium ({path}) {why}")


class FilmFailed(BrowserError):
    """The film could not be written: {why}"""

    code = "film_failed"

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"The film could not be written: {why}")


class RecordingFailed(BrowserError):
    """The recording's process ended with {exit_code} and left no result: {why}"""

    code = "recording_failed"

    def __init__(self, exit_code: int, why: str) -> None:
        self.exit_code, self.why = exit_code, why
        super().__init__(f"The recording's process ended with {exit_code} and left no result: {why}")


class Refused(BrowserError):
    """{host}:{port}: {why}. Said to the browser as SOCKS reply 2, and to the log."""

    code = "refused"

    def __init__(self, host: str, port: int, why: str) -> None:
        self.host, self.port, self.why = host, port, why
        super().__init__(f"{host}:{port}: {why}")
