"""What the Bot API promises: which methods exist, and whether a request and an answer are what it describes.

Two descriptions: aiogram's types, always there and newer; and the machine-readable description of
PaulSonOfLars/telegram-bot-api-spec, where a copy is found (`TELEGRAM_BOT_API_SPEC`, or `../shared/specs/` beside the
repository). A field must be known to aiogram; what the description knows must also have its type.
"""

import inspect
import json
import os
import re
import types
import typing
from functools import cache
from pathlib import Path
from typing import Any

from aiogram import methods as aiogram_methods
from aiogram.methods import Response, TelegramMethod
from aiogram.types import BufferedInputFile
from pydantic import BaseModel, ValidationError

from factory_loopback.errors import BotApiError, BrokenPromise

from .files import Upload

Wire = dict[str, Any]
FILE_NAME = "telegram-bot-api.json"
ATTACHED = "attach://"


@cache
def description() -> Wire | None:
    """The machine-readable Bot API, or None where no copy is found."""
    named = os.environ.get("TELEGRAM_BOT_API_SPEC")
    parents = Path(__file__).resolve().parents
    beside = parents[5].parent / "shared" / "specs" / FILE_NAME if len(parents) > 5 else None
    for path in [Path(named)] if named else [beside]:
        if path and path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
    return None


@cache
def known_methods() -> dict[str, type[TelegramMethod[Any]] | None]:
    """Every method of either description by its lower-case name (Telegram does not mind the case)."""
    names: dict[str, type[TelegramMethod[Any]] | None] = {
        n.lower(): None for n in (description() or {}).get("methods", {})
    }
    for _, found in inspect.getmembers(aiogram_methods, inspect.isclass):
        if issubclass(found, TelegramMethod) and found is not TelegramMethod:
            names[found.__api_method__.lower()] = found
    return names


def method_name(name: str) -> str | None:
    """The method's right spelling; None where there is no such method."""
    if name.lower() not in known_methods():
        return None
    found = known_methods()[name.lower()]
    return found.__api_method__ if found else name


def decode(name: str, fields: Wire) -> Wire:
    """Form fields are all strings: JSON where the method wants numbers, flags or objects; raises BotApiError (400)."""
    method = known_methods()[name.lower()]
    annotations = {key: field.annotation for key, field in method.model_fields.items()} if method else {}
    return {key: _decoded(key, value, _leaves(annotations.get(key, str))) for key, value in fields.items()}


def check_request(name: str, args: Wire, uploads: dict[str, Upload]) -> None:
    """Raises BotApiError (400) with the field that is not as described."""
    method = known_methods()[name.lower()]
    if method:
        try:
            call = method.model_validate(_with_files(args, uploads))
        except ValidationError as error:
            raise BotApiError(400, f"Bad Request: {name}: {_first(error)}") from error
        if unknown := _unknown(call):
            raise BotApiError(400, f"Bad Request: {name} has no parameter {unknown}")
    spec = description()
    if spec and name in spec["methods"]:
        problem = _fields_problem(args, spec["methods"][name].get("fields", []), spec, name)
        if problem:
            raise BotApiError(400, f"Bad Request: {problem}")


def check_answer(name: str, result: Any) -> None:
    """Raises BrokenPromise where the result is not what the method returns."""
    method = known_methods()[name.lower()]
    if method:
        try:
            answer = Response[method.__returning__].model_validate({"ok": True, "result": result})  # type: ignore[name-defined]
        except ValidationError as error:
            raise BrokenPromise(name, _first(error)) from error
        if unknown := _unknown(answer.result):
            raise BrokenPromise(name, f"unknown field {unknown}")
    spec = description()
    if spec and name in spec["methods"]:
        problem = _problem(result, spec["methods"][name]["returns"], spec, "result")
        if problem:
            raise BrokenPromise(name, problem)


# Types of form fields


def _leaves(annotation: Any) -> set[Any]:
    """The plain types of a union: {int, str} for `int | str | None`; a list stays one leaf."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return set().union(*(_leaves(part) for part in typing.get_args(annotation)))
    if typing.get_origin(annotation) is typing.Annotated:
        return _leaves(typing.get_args(annotation)[0])
    return {typing.get_origin(annotation) or annotation}


def _decoded(key: str, value: Any, leaves: set[Any]) -> Any:
    if not isinstance(value, str):
        return value
    if str in leaves:
        return int(value) if int in leaves and re.fullmatch(r"-?\d+", value) else value
    if bool in leaves and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not leaves - {type(None)} or value.startswith(ATTACHED):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise BotApiError(400, f"Bad Request: can't parse {key} JSON object") from error


# aiogram's types


def _with_files(value: Any, uploads: dict[str, Upload]) -> Any:
    """`attach://name` replaced by the file, as aiogram's classes want it."""
    if isinstance(value, dict):
        return {key: _with_files(item, uploads) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_files(item, uploads) for item in value]
    if isinstance(value, str) and value.startswith(ATTACHED):
        upload = uploads.get(value.removeprefix(ATTACHED))
        return BufferedInputFile(upload.data, upload.name) if upload else value
    return value


def _unknown(value: Any, where: str = "") -> str | None:
    """The first field that no description knows: aiogram's classes take in any."""
    if isinstance(value, list):
        return next((found for item in value if (found := _unknown(item, where))), None)
    if not isinstance(value, BaseModel):
        return None
    if value.model_extra:
        return f"{where}{next(iter(value.model_extra))}"
    inner = ((key, getattr(value, key)) for key in type(value).model_fields)
    return next((found for key, item in inner if (found := _unknown(item, f"{where}{key}."))), None)


def _first(error: ValidationError) -> str:
    """The deepest of the errors: in a union, the branch that came furthest tells most."""
    worst = max(error.errors(), key=lambda e: len(e["loc"]))
    return f"{'.'.join(str(part) for part in worst['loc'])}: {worst['msg']}"


# The machine-readable description


def _problem(value: Any, wanted: list[str], spec: Wire, where: str) -> str | None:
    """Why `value` is none of the `wanted` types; None where it is one."""
    problems = [_type_problem(value, name, spec, where) for name in wanted]
    return None if None in problems else max((p for p in problems if p), key=len)


def _type_problem(value: Any, name: str, spec: Wire, where: str) -> str | None:
    if name.startswith("Array of "):
        if not isinstance(value, list):
            return f"{where} is not an array"
        inner = [name.removeprefix("Array of ")]
        return next((p for n, item in enumerate(value) if (p := _problem(item, inner, spec, f"{where}[{n}]"))), None)
    plain: dict[str, type | tuple[type, ...]] = {"Integer": int, "Float": (int, float), "String": str, "InputFile": str}
    if name in plain:
        fits = isinstance(value, plain[name]) and not isinstance(value, bool)
        return None if fits else f"{where} is no {name}"
    if name in ("Boolean", "True"):
        return None if isinstance(value, bool) else f"{where} is no {name}"
    kind = spec["types"][name]
    if "subtypes" in kind:
        return _problem(value, kind["subtypes"], spec, where)
    if not isinstance(value, dict):
        return f"{where} is no {name}"
    return _fields_problem(value, kind.get("fields", []), spec, where)


def _fields_problem(value: Wire, fields: list[Wire], spec: Wire, where: str) -> str | None:
    for field in fields:
        name = field["name"]
        if name in value:
            if problem := _problem(value[name], field["types"], spec, f"{where}.{name}"):
                return problem
        elif field["required"]:
            return f"{where}.{name} is missing"
    return None
