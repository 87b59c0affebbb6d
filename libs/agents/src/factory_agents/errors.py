"""What can go wrong with an agent before it has a turn; what goes wrong inside a turn is the turn's `problem`.

AgentError
├── UnknownPreset        no preset has this name
├── BadPreset            an inline agent cannot be read
├── AgentNotInstalled    the command is not there (ENOENT, exit 126 or 127)
├── AgentDied            it ended, or stopped talking, when it was needed
├── AgentTimeout         it did not answer while it was set up
├── AgentNeedsLogin      it has no account or key
├── AgentRefused         it answered the set-up with an error
└── AgentProtocolError   what it says is not ACP as we speak it
"""

import shlex
from collections.abc import Sequence


class AgentError(Exception):
    """Base; `code` is stable, `message` is for people and says what to do next."""

    code = "agent_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UnknownPreset(AgentError):
    """No agent preset is called {name}; known: {known}. Or give {driver, command, env, label}."""

    code = "agent_unknown_preset"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(
            f"No agent preset is called {name!r}; known: {', '.join(known)}. "
            "Or give the agent itself: {driver: acp, command: [my-agent, acp], env: {}, label: My agent}."
        )
        self.name, self.known = name, tuple(known)


class BadPreset(AgentError):
    """The agent in the configuration cannot be used: {reason}."""

    code = "agent_bad_preset"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The agent in the configuration cannot be used: {reason}")
        self.reason = reason


class AgentNotInstalled(AgentError):
    """The agent's command {command} is not there; {what to do}."""

    code = "agent_not_installed"

    def __init__(self, command: Sequence[str], what_to_do: str = "") -> None:
        what_to_do = what_to_do or "install it where the sandbox's PATH finds it, or correct the command"
        super().__init__(f"The agent's command {shlex.join(command)!r} is not there in the sandbox; {what_to_do}.")
        self.command, self.what_to_do = tuple(command), what_to_do


class AgentDied(AgentError):
    """The agent {command} ended with exit code {exit_code}; its last words: {stderr_tail}."""

    code = "agent_died"

    def __init__(self, command: Sequence[str], exit_code: int | None, stderr_tail: str = "") -> None:
        how = "closed its output" if exit_code is None else f"ended with exit code {exit_code}"
        words = stderr_tail.strip()
        super().__init__(
            f"The agent {shlex.join(command)!r} {how}; {f'its last words: {words}' if words else 'it said nothing'}"
        )
        self.command, self.exit_code, self.stderr_tail = tuple(command), exit_code, stderr_tail


class AgentTimeout(AgentError):
    """The agent {command} did not answer {step} within {seconds} s; its last words: {stderr_tail}."""

    code = "agent_timeout"

    def __init__(self, command: Sequence[str], step: str, seconds: float, stderr_tail: str = "") -> None:
        words = stderr_tail.strip()
        super().__init__(
            f"The agent {shlex.join(command)!r} did not answer {step!r} within {seconds:g} s. Does it speak ACP over "
            f"stdio? {f'Its last words: {words}' if words else 'It said nothing.'}"
        )
        self.command, self.step, self.seconds, self.stderr_tail = tuple(command), step, seconds, stderr_tail


class AgentNeedsLogin(AgentError):
    """The agent {command} asks for a login ({methods}); give its key in the environment."""

    code = "agent_needs_login"

    def __init__(self, command: Sequence[str], methods: Sequence[str] = ()) -> None:
        offered = f" It offers: {', '.join(methods)}." if methods else ""
        super().__init__(
            f"The agent {shlex.join(command)!r} has no account or key here; give its key in its environment.{offered}"
        )
        self.command, self.methods = tuple(command), tuple(methods)


class AgentRefused(AgentError):
    """The agent {command} answered {step} with the error {reason}."""

    code = "agent_refused"

    def __init__(self, command: Sequence[str], step: str, reason: str) -> None:
        super().__init__(f"The agent {shlex.join(command)!r} answered {step!r} with an error: {reason}")
        self.command, self.step, self.reason = tuple(command), step, reason


class AgentProtocolError(AgentError):
    """What the agent {command} says is not ACP as we speak it: {reason}."""

    code = "agent_protocol"

    def __init__(self, command: Sequence[str], reason: str) -> None:
        super().__init__(f"The agent {shlex.join(command)!r} does not speak ACP as the factory does: {reason}")
        self.command, self.reason = tuple(command), reason
