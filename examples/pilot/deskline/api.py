"""The JSON API: sign in, tickets and messages. Browsers may call it from the web page's origin only."""

import argparse
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

from deskline import accounts, database, serving, settings, tickets

COOKIE = "desk_session"
BODY_LIMIT = 64 * 1024


class Refused(Exception):
    """A request that gets an error for an answer: status and what to tell the person."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ApiServer(serving.Server):
    def __init__(self, port: int, database_path: Path, allowed_origin: str) -> None:
        super().__init__(port, ApiHandler)
        self.database_path = database_path
        self.allowed_origin = allowed_origin.rstrip("/")


class ApiHandler(serving.Handler):
    server: ApiServer
    db: sqlite3.Connection
    body: bytes

    def do_OPTIONS(self) -> None:
        """Answers the browser's question before a call from another origin (CORS preflight)."""
        self.answer(204, None, {"Access-Control-Allow-Methods": "GET, POST, DELETE", "Access-Control-Max-Age": "600"})

    def do_GET(self) -> None:
        headers: dict[str, str] = {}
        # Read before anything is refused: closing on unread bytes would reset the connection under the answer.
        length = self.headers.get("Content-Length", "0")
        self.body = self.rfile.read(min(int(length), BODY_LIMIT + 1) if length.isdecimal() else 0)
        try:
            with database.opened(self.server.database_path) as self.db:
                status, result = self.route(headers)
        except (Refused, tickets.Invalid) as error:
            status, result = getattr(error, "status", 400), {"error": str(error)}
        except sqlite3.Error as error:
            self.log_error("database: %s", error)
            status, result = 503, {"error": "The database does not answer."}
        self.answer(status, result, headers)

    do_POST = do_DELETE = do_GET

    def route(self, headers: dict[str, str]) -> tuple[int, Any]:
        path = self.path.split("?")[0]
        match (self.command, path):
            case ("GET", "/"):
                return 200, {"name": f"{settings.NAME} API"}
            case ("GET", "/health"):
                self.db.execute("SELECT count(*) FROM tickets")
                return 200, {"status": "ok"}
            case ("GET", "/session"):
                user = accounts.user_of(self.db, self.token())
                return 200, {"user": dict(user) if user else None}
            case ("POST", "/session"):
                return self.sign_in(headers)
        user = accounts.user_of(self.db, self.token())
        if user is None:
            raise Refused(401, "Please sign in.")
        match (self.command, path):
            case ("DELETE", "/session"):
                accounts.sign_out(self.db, self.token())
                headers["Set-Cookie"] = f"{COOKIE}=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"
                return 200, {"user": None}
            case ("GET", "/tickets"):
                return 200, {"tickets": tickets.listed(self.db)}
            case ("POST", "/tickets"):
                return 201, tickets.one(self.db, tickets.create(self.db, user["id"], self.data()))
        found = re.fullmatch(r"/tickets/(\d{1,9})(/messages|/close)?", path)
        if found is None:
            raise Refused(404, "There is no such address.")
        number = int(found[1])
        if tickets.one(self.db, number) is None:
            raise Refused(404, f"There is no ticket {number}.")
        match (self.command, found[2]):
            case ("GET", None):
                pass
            case ("POST", "/messages"):
                tickets.reply(self.db, number, user["name"], tickets.text_field(self.data(), "reply", tickets.TEXT_LIMIT))
            case ("POST", "/close"):
                tickets.close(self.db, number)
            case _:
                raise Refused(405, f"{self.command} is not possible here.")
        return 200, tickets.one(self.db, number)

    def sign_in(self, headers: dict[str, str]) -> tuple[int, Any]:
        data = self.data()
        token = accounts.sign_in(self.db, str(data.get("email", "")), str(data.get("password", "")))
        if token is None:
            raise Refused(401, "This e-mail and password do not belong together.")
        headers["Set-Cookie"] = f"{COOKIE}={token}; Max-Age={accounts.SESSION_SECONDS}; Path=/; HttpOnly; SameSite=Lax"
        return 200, {"user": dict(accounts.user_of(self.db, token))}

    def token(self) -> str:
        # By hand: http.cookies gives up at the first odd one, and other apps on localhost leave theirs here too.
        cookies = dict(part.strip().partition("=")[::2] for part in self.headers.get("Cookie", "").split(";"))
        return cookies.get(COOKIE, "")

    def data(self) -> dict:
        # A form of another site can send text/plain with cookies and no preflight; JSON it cannot.
        if self.headers.get_content_type() != "application/json":
            raise Refused(415, "Please send JSON.")
        if len(self.body) > BODY_LIMIT:
            raise Refused(413, f"The request is longer than {BODY_LIMIT} bytes.")
        try:
            data = json.loads(self.body)
        except ValueError as error:
            raise Refused(400, f"This is not JSON: {error}.") from None
        if not isinstance(data, dict):
            raise Refused(400, "Please send a JSON object.")
        return data

    def answer(self, status: int, result: Any, headers: dict[str, str]) -> None:
        if self.headers.get("Origin") == self.server.allowed_origin:
            headers |= {
                "Access-Control-Allow-Origin": self.server.allowed_origin,
                "Access-Control-Allow-Credentials": "true",
                "Access-Control-Allow-Headers": "Content-Type",
            }
        headers["Vary"] = "Origin"
        self.send(status, "application/json", b"" if result is None else json.dumps(result).encode(), headers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="deskline.api")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--web-url", required=True, help="the origin of the page that may call")
    options = parser.parse_args()
    serving.run(ApiServer(options.port, settings.DATABASE, options.web_url), "api")
