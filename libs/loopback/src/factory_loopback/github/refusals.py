"""GitHub's refusals in its own words: a status, a message, and where a field is wrong, which and why.

https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
"""

from typing import Any

from factory_loopback.errors import LoopbackError

DOCS = "https://docs.github.com/rest"


class Refusal(LoopbackError):
    """GitHub answers `status` with this message; `errors` are objects or plain words."""

    code = "refusal"

    def __init__(
        self, status: int, message: str, errors: list[Any] | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {message}")
        self.status, self.message, self.errors, self.headers = status, message, errors, headers or {}

    @property
    def body(self) -> dict[str, Any]:
        errors = {} if self.errors is None else {"errors": self.errors}
        return {"message": self.message, **errors, "documentation_url": DOCS, "status": str(self.status)}


class NotBuilt(Refusal):
    """The operation is described and not built here (501)."""

    code = "not_built"

    def __init__(self, name: str) -> None:
        super().__init__(501, f"Not built in the loopback GitHub: {name}. Build it in operations/, or do not call it.")


def not_found() -> Refusal:
    """Not there, or not for these eyes: GitHub does not tell which."""
    return Refusal(404, "Not Found")


def unauthorized(message: str = "Bad credentials") -> Refusal:
    return Refusal(401, message)


def not_for_apps() -> Refusal:
    return Refusal(403, "Resource not accessible by integration")


def invalid(resource: str, field: str, code: str = "invalid", message: str = "") -> Refusal:
    """A 422 about one field; `code` is missing_field, invalid, already_exists, custom, …"""
    words = {"message": message} if message else {}
    return Refusal(422, "Validation Failed", [{"resource": resource, "field": field, "code": code, **words}])


def custom(resource: str, message: str) -> Refusal:
    """A 422 about the whole of it."""
    return Refusal(422, "Validation Failed", [{"resource": resource, "code": "custom", "message": message}])


def unprocessable(*words: str) -> Refusal:
    """A 422 whose errors are plain words."""
    return Refusal(422, "Unprocessable Entity", list(words))
