"""What GitHub promises: which operations exist, and whether a request and an answer are what it describes.

The description is GitHub's own OpenAPI document (npm `@octokit/openapi`), where a copy is found: named, in
`GITHUB_REST_SPEC`, or in `../shared/specs/` beside the repository.
"""

import json
import os
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator, FormatChecker
from jsonschema.exceptions import ValidationError, best_match

Wire = dict[str, Any]
FILE_NAME = "github-rest.json"
METHODS = ("get", "post", "put", "patch", "delete")
SAID_ONLY = ("title", "description", "example", "default", "deprecated", "discriminator", "x-github-breaking-changes")
FORMATS = FormatChecker(formats=())


@cache
def description(path: Path | None = None) -> Wire | None:
    """The document, or None where no copy is found."""
    named = path or os.environ.get("GITHUB_REST_SPEC")
    parents = Path(__file__).resolve().parents
    beside = parents[5].parent / "shared" / "specs" / FILE_NAME if len(parents) > 5 else None
    found = Path(named) if named else beside
    return _corrected(json.loads(found.read_text(encoding="utf-8"))) if found and found.is_file() else None


def _corrected(document: Wire) -> Wire:
    """Whose an installation is: a user or an enterprise, not both at once as the list of them has it."""
    listed = document["paths"].get("/app/installations", {}).get("get")
    if listed:
        content = listed["responses"]["200"]["content"]["application/json"]
        account = content["schema"]["items"]["properties"]["account"]
        account["anyOf"] = account.pop("allOf")
    return document


@cache
def described(path: Path | None = None) -> "Description":
    """What to check against; read once."""
    return Description(description(path))


class Description:
    """The document, to check against; without one, everything is allowed.

    Read strictly: a field that it does not name is wrong, in what is sent and in what is answered. Refusals alone may
    hold more, as GitHub's do.
    """

    def __init__(self, document: Wire | None) -> None:
        self._document: Wire = document or {"paths": {}, "components": {"schemas": {}}}
        self.operations: dict[tuple[str, str], str] = {}  # method and path: name
        self._described: dict[str, Wire] = {}
        for path, methods in self._document["paths"].items():
            for method, described in methods.items():
                if method in METHODS:
                    self.operations[method.upper(), path] = described["operationId"]
                    self._described[described["operationId"]] = described
        self._shared: dict[bool, Wire] = {}  # by strictness: the schemas that others refer to
        self._validators: dict[tuple[str, str], Draft7Validator] = {}
        self._right: dict[str, str] = {}  # by operation: the last answer that was found right

    def request_problem(self, name: str, query: dict[str, str], body: Any) -> str | None:
        """What is wrong with a request; None where nothing is."""
        if name not in self._described:
            return None
        described = self._described[name]
        asked = described.get("requestBody", {})
        if body is None:
            problem = "the body is missing" if asked.get("required") else None
        elif "content" not in asked:
            problem = "it has no body"
        else:
            schema = asked["content"]["application/json"]["schema"]
            problem = self._problem((name, "request"), schema, _as_written(name, body), "body")
        return problem or self._query_problem(described, query)

    def answer_problem(self, name: str, status: int, body: Any) -> str | None:
        """What is wrong with an answer; None where nothing is, or where the description does not know the status."""
        answers = self._described.get(name, {}).get("responses", {})
        if str(status) not in answers:
            return f"it has no status {status}" if answers and status < 400 else None
        content = self._resolved(answers[str(status)]).get("content", {}).get("application/json")
        if content is None:
            return "it has a body" if body is not None and status < 400 else None
        text = json.dumps([status, body])
        if self._right.get(name) == text:
            return None
        problem = self._problem((name, str(status)), content["schema"], body, "body")
        if problem is None:
            self._right[name] = text
        return problem

    def _query_problem(self, described: Wire, query: dict[str, str]) -> str | None:
        parameters = [self._resolved(each) for each in described.get("parameters", [])]
        known = {each["name"]: each["schema"] for each in parameters if each["in"] == "query"}
        for name, text in query.items():
            if name not in known:
                return f"the query has no parameter {name}"
            schema = known[name]
            if schema.get("type") == "integer" and not text.isdecimal():
                return f"{name} is no number"
            if schema.get("enum") and text not in schema["enum"]:
                return f"{name} is none of {', '.join(schema['enum'])}"
        return None

    def _problem(self, key: tuple[str, str], schema: Wire, value: Any, where: str) -> str | None:
        if key not in self._validators:
            strict = key[1] == "request" or int(key[1]) < 400
            if strict not in self._shared:
                schemas = self._document["components"]["schemas"]
                self._shared[strict] = {name: _as_json_schema(each, strict) for name, each in schemas.items()}
            whole = {**_as_json_schema(schema, strict), "definitions": self._shared[strict]}
            self._validators[key] = Draft7Validator(whole, format_checker=FORMATS)
        error = best_match(self._validators[key].iter_errors(value))
        return None if error is None else _words(error, where)

    def _resolved(self, described: Wire) -> Wire:
        """What a `$ref` to a shared parameter or response means."""
        if "$ref" not in described:
            return described
        _, _, kind, name = described["$ref"].split("/")
        return self._document["components"][kind][name]


def _as_json_schema(schema: Any, strict: bool) -> Any:
    """OpenAPI 3.0's dialect as JSON Schema; where `strict`, an object has no field that is not named.

    `oneOf` becomes `anyOf`: GitHub's alternatives overlap (no labels are a list of names and one of objects).
    """
    if isinstance(schema, list):
        return [_as_json_schema(each, strict) for each in schema]
    if not isinstance(schema, dict):
        return schema
    read: Wire = {}
    nullable = schema.get("nullable", False)
    for key, value in schema.items():
        if key == "$ref":
            read[key] = value.replace("#/components/schemas/", "#/definitions/")
        elif key == "properties":
            read[key] = {name: _as_json_schema(each, strict) for name, each in value.items()}
        elif key == "oneOf":
            read["anyOf"] = _as_json_schema(value, strict)
        elif key not in (*SAID_ONLY, "nullable"):
            read[key] = _as_json_schema(value, strict and key != "allOf")
    if strict and "properties" in read and not read.keys() & {"additionalProperties", "anyOf", "allOf"}:
        read["additionalProperties"] = False
    return {"anyOf": [read, {"type": "null"}]} if nullable else read


def _as_written(name: str, body: Any) -> Any:
    """What GitHub takes and its description has in words only, and PyGithub sends: labels alone, a reply alone."""
    if name in ("issues/add-labels", "issues/set-labels") and isinstance(body, list):
        return {"labels": body}
    if name == "pulls/create-review-comment" and isinstance(body, dict) and "in_reply_to" in body:
        return {"commit_id": "", "path": "", **body}
    return body


def _words(error: ValidationError, where: str) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    return f"{where}{place}: {error.message[:300]}"


@FORMATS.checks("date-time", ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or (value.endswith("Z") and bool(datetime.fromisoformat(value)))


@FORMATS.checks("uri")
def _is_uri(value: object) -> bool:
    """An address of nothing, GitHub writes as an empty one."""
    return not isinstance(value, str) or not value or "://" in value
