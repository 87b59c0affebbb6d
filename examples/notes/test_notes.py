import io
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import notes


class Notes(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        patch = mock.patch.object(notes, "FILE", Path(folder.name, "notes.json"))
        patch.start()
        self.addCleanup(patch.stop)

    def request(self, method: str, path: str, body: bytes = b"") -> tuple[str, str]:
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path}
        environ |= {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
        answered = []
        parts = notes.app(environ, lambda status, headers: answered.append(status))
        return answered[0], b"".join(parts).decode()

    def test_the_newest_note_stands_first(self) -> None:
        for text in (b"note=milk", b"note=bread"):
            self.assertEqual("303 See Other", self.request("POST", "/", text)[0])
        self.assertEqual(["bread", "milk"], notes.read(notes.FILE))

    def test_an_empty_note_is_refused_and_nothing_is_written(self) -> None:
        status, page = self.request("POST", "/", b"note=+")
        self.assertEqual("400 Bad Request", status)
        self.assertIn('role="alert"', page)
        self.assertFalse(notes.FILE.exists())

    def test_a_note_is_shown_as_text_and_never_as_markup(self) -> None:
        self.request("POST", "/", b"note=%3Cb%3Ehi%3C%2Fb%3E")
        self.assertIn("<li>&lt;b&gt;hi&lt;/b&gt;</li>", self.request("GET", "/")[1])

    def test_health_answers_and_an_unknown_path_does_not(self) -> None:
        self.assertEqual(("200 OK", "ok\n"), self.request("GET", "/health"))
        self.assertEqual("404 Not Found", self.request("GET", "/elsewhere")[0])
