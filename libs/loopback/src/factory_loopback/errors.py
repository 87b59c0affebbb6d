"""What can go wrong at a loopback server, and what to do next.

LoopbackError
├── BotApiError     the Bot API's own answer with `ok: false`
│   └── NotBuilt    it exists in the Bot API and is not built here (501)
├── BrokenPromise   our own answer is not what the Bot API describes: a defect of the loopback server
├── BadSetup        a chat or user cannot be set up as written
├── NoSuchMessage   the person names a message that the chat does not show
├── NoSuchButton    the person presses a button that the message does not have
└── NoAnswer        what the person waits for did not come in time
"""

from typing import ClassVar


class LoopbackError(Exception):
    """Base of all errors of the loopback servers; `code` is stable, `str()` is for people."""

    code: ClassVar[str] = "loopback"


class BotApiError(LoopbackError):
    """The Bot API refuses the call: `status` and `description` are what Telegram answers."""

    code = "bot_api"

    def __init__(self, status: int, description: str, retry_after: int | None = None) -> None:
        super().__init__(description)
        self.status, self.description, self.retry_after = status, description, retry_after


class NotBuilt(BotApiError):
    """Not built in the loopback server: … Build it in methods.py, or do not call it."""

    code = "not_built"

    def __init__(self, what: str) -> None:
        super().__init__(501, f"Not built in the loopback server: {what}. Build it in methods.py, or do not call it.")


class BrokenPromise(LoopbackError):
    """The loopback server's answer to `method` is not what the Bot API describes: …"""

    code = "broken_promise"

    def __init__(self, method: str, why: str) -> None:
        super().__init__(f"The loopback server's answer to {method} is not what the Bot API describes: {why}")


class BadSetup(LoopbackError):
    """A chat or a user cannot be set up as written."""

    code = "bad_setup"


class NoSuchMessage(LoopbackError):
    """Message … is not shown in chat … (it shows: …)."""

    code = "no_such_message"


class NoSuchButton(LoopbackError):
    """Message … has no button … (it has: …)."""

    code = "no_such_button"


class NoAnswer(LoopbackError, TimeoutError):
    """What was waited for did not come within … s; the message holds what the chat shows."""

    code = "no_answer"
