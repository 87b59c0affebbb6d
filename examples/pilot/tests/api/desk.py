"""A desk to test against: the real API on a free port, with a database of its own."""

import http.client
import json
import tempfile
import threading
import unittest
from pathlib import Path

from deskline import accounts, api, database

ORIGIN = "http://localhost:9"


class DeskTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "desk.db")
        database.migrate(self.path)
        with database.opened(self.path) as db:
            accounts.add_user(db, "eve@example.com", "Eve Tester", "secret")
        server = api.ApiServer(0, self.path, ORIGIN)
        self.addCleanup(server.server_close)
        server.RequestHandlerClass.log_message = lambda *_: None
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        self.addCleanup(server.shutdown)
        self.port = server.port
        self.cookie = ""

    def call(self, method: str, path: str, data: object = None, origin: str = ORIGIN) -> tuple[int, dict]:
        """Calls like the page's browser would; returns status and answer, and keeps cookie and headers."""
        headers = {"Origin": origin, "Cookie": self.cookie, "Content-Type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request(method, path, None if data is None else json.dumps(data), headers)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        self.headers = response.headers
        self.cookie = response.headers.get("Set-Cookie", self.cookie).split(";")[0]
        return response.status, json.loads(text or "{}")

    def sign_in(self) -> None:
        status, answer = self.call("POST", "/session", {"email": "Eve@example.com", "password": "secret"})
        self.assertEqual(200, status, answer)

    def new_ticket(self, subject: str, **fields: object) -> dict:
        status, ticket = self.call("POST", "/tickets", {"subject": subject, "description": "It is so.", **fields})
        self.assertEqual(201, status, ticket)
        return ticket

    def subjects(self) -> list[str]:
        return [ticket["subject"] for ticket in self.call("GET", "/tickets")[1]["tickets"]]
