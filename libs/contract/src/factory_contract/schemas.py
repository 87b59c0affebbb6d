"""The JSON Schemas of factory.yaml and of what `--json` prints."""

import types
from typing import Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints, is_typeddict

from pydantic.json_schema import GenerateJsonSchema

from factory_contract import answers
from factory_contract.model import Contract

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}

Schema = dict[str, Any]


class _ForPeople(GenerateJsonSchema):
    """Keys in the order of the model, and no `title: Env File` beside `env_file`."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def sort(self, value: Any, parent_key: str | None = None) -> Any:
        return value


def contract() -> Schema:
    """Of factory.yaml: every key with what it means and an example, so that an editor helps to write it."""
    made = Contract.model_json_schema(schema_generator=_ForPeople)
    _close(made)
    return {"$schema": DIALECT, **made, "title": "factory.yaml"}


def _close(schema: Any) -> None:
    """Names that match no pattern are mistakes, which pydantic does not write down."""
    if isinstance(schema, list):
        for part in schema:
            _close(part)
    elif isinstance(schema, dict):
        if "patternProperties" in schema:
            schema.setdefault("additionalProperties", False)
        for part in schema.values():
            _close(part)


def answer(verb: str) -> Schema:
    """Of the object that `factory <verb> --json` prints, whether the verb succeeds or fails. More fields may come."""
    of = answers.ANSWERS[verb]
    made = Made()
    fields = made.fields(of)
    properties = {
        "command": {"const": verb},
        "ok": {"type": "boolean", "description": "the exit code is 0"},
        **fields["properties"],
        **_failing(made),
    }
    told = {"required": fields["required"]}
    failed = {"required": ["error"]}
    return {
        "$schema": DIALECT,
        "title": f"factory {verb} --json",
        "description": (of.__doc__ or "").strip(),
        "type": "object",
        "properties": properties,
        "required": ["command", "ok"],
        "if": {"properties": {"ok": {"const": True}}},
        "then": told,
        "else": {"anyOf": [told, failed]} if of is answers.Status else failed,  # `starting` is no error, and not ok
        "$defs": made.defs,
    }


def failure() -> Schema:
    """Of what any command prints that has failed, also where there is no such verb."""
    made = Made()
    return {
        "$schema": DIALECT,
        "title": "A command that has failed",
        "type": "object",
        "properties": {"command": {"type": "string"}, "ok": {"const": False}, **_failing(made)},
        "required": ["command", "ok", "error"],
        "$defs": made.defs,
    }


def _failing(made: "Made") -> Schema:
    return {
        "error": {**made.of(answers.Failure), "description": "why it failed"},
        "errors": {
            **made.of(list[answers.FileProblem]),
            "description": "everything that is wrong in a file; `error` is the first of them",
        },
    }


class Made:
    """Schemas of types, with those of TypedDicts kept in `defs`."""

    def __init__(self) -> None:
        self.defs: Schema = {}

    def fields(self, typed: type) -> Schema:
        hints = get_type_hints(typed, include_extras=True)
        required: frozenset[str] = typed.__required_keys__  # pyright: ignore[reportAttributeAccessIssue]
        return {
            "type": "object",
            "properties": {name: self.of(hint) for name, hint in hints.items()},
            "required": [name for name in hints if name in required],
        }

    def of(self, hint: Any) -> Schema:
        if is_typeddict(hint):
            if hint.__name__ not in self.defs:
                self.defs[hint.__name__] = {}  # it may hold itself
                self.defs[hint.__name__] = {"description": (hint.__doc__ or "").strip(), **self.fields(hint)}
            return {"$ref": f"#/$defs/{hint.__name__}"}
        if metadata := getattr(hint, "__metadata__", None):
            return {**self.of(hint.__origin__), "description": metadata[0]}
        inner = get_args(hint)
        match get_origin(hint):
            case origin if origin in (NotRequired, Required):
                return self.of(inner[0])
            case origin if origin is Literal:
                return {"enum": list(inner)}
            case origin if origin in (Union, types.UnionType):
                return {"anyOf": [self.of(one) for one in inner]}
            case origin if origin is list:
                return {"type": "array", "items": self.of(inner[0])}
            case origin if origin is dict:
                return {"type": "object", "additionalProperties": self.of(inner[1])}
        return {} if hint is Any else {"type": PLAIN[hint]}
