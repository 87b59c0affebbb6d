"""The generated parts of docs/contract.md: every key, command, field and error code, as the code has them."""

import argparse
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from factory_contract import answers, cli, errors, schemas
from factory_contract.schemas import Schema

# The parts of factory.yaml: heading → name of the model; the rest is told in the heading above it.
PARTS = {
    "At the top": "",
    "`runtime`": "Runtime",
    "`env_file`, an item": "EnvFile",
    "`isolation`": "Isolation",
    "`services.<name>`": "Service",
    "`services.<name>.healthcheck`": "Healthcheck",
    "`services.<name>.stop`": "Stop",
    "`validation`": "Validation",
    "`validation.browser`": "Browser",
    "`artifacts`": "Artifacts",
}
JSON_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "object": "mapping",
    "array": "list",
}


def parts() -> dict[str, Callable[[], str]]:
    """What stands between `<!-- begin NAME -->` and `<!-- end NAME -->`, by name."""
    return {"keys": keys, "commands": commands, "objects": objects, "codes": codes}


def keys() -> str:
    """Every key of factory.yaml."""
    whole = schemas.contract()
    found: list[str] = []
    for heading, name in PARTS.items():
        part = whole["$defs"][name] if name else whole
        about = part["description"].split("\n\n")[0] if name else ""
        rows = (
            (f"`{key}`", _type(told, linked=False), _cell(told["description"]), _default(told), _examples(told))
            for key, told in part["properties"].items()
        )
        table = _table(("key", "type", "what it says", "if it is not there", "examples"), rows)
        found.append("\n\n".join(text for text in (f"#### {heading}", about, table) if text))
    return "\n\n".join(found)


def commands() -> str:
    """Every command with its options, examples and the fields of its `--json`."""
    return "\n\n".join(_command(name) for name in cli.VERBS)


def _command(name: str) -> str:
    verb = cli.VERBS[name]
    rows = [(_option(action), _cell(action.help or "")) for action in _actions(name)]
    width = max(len(command) for command, _ in verb.examples)
    examples = "\n".join(f"{command.ljust(width)}  # {does}" for command, does in verb.examples)
    of = answers.ANSWERS[name]
    said = (of.__doc__ or "").strip().removeprefix(f"`factory {name}`").lstrip(":; ").rstrip(".")
    texts = [
        f"#### `factory {name}`",
        f"{verb.about[0].upper()}{verb.about[1:]}.",
        f"```sh\n{examples}\n```",
        _table(("argument", "what it does"), rows) if rows else "",
        f"`--json`{f' ({said})' if said else ''}:",
        _fields(of),
    ]
    return "\n\n".join(text for text in texts if text)


def _actions(name: str) -> list[argparse.Action]:
    verb = argparse.ArgumentParser(add_help=False)
    cli.VERBS[name].add_arguments(verb)
    return verb._actions


def _option(action: argparse.Action) -> str:
    choices = "|".join(map(str, action.choices)) if action.choices else ""
    value = "" if action.nargs == 0 else choices or str(action.metavar)
    if not action.option_strings:
        return f"`{value}`{' …' if action.nargs == '*' else ''}".replace("|", "\\|")
    return f"`{', '.join(action.option_strings)}{f' {value}' if value else ''}`"


def objects() -> str:
    """What the fields of answers are made of."""
    found = list(_nested(answers.ANSWERS.values()))
    return "\n\n".join(f"#### {one.__name__}\n\n{(one.__doc__ or '').strip()}\n\n{_fields(one)}" for one in found)


def _nested(answered: Iterable[type]) -> Iterator[type]:
    made = schemas.Made()
    for one in (*answered, answers.Failure, answers.FileProblem):
        made.fields(one)
        made.of(one)
    for name in made.defs:
        if name not in {one.__name__ for one in answered}:
            yield getattr(answers, name)


def codes() -> str:
    """Every error code with its exit code and message."""
    found = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.ContractError)]
    told = [c for c in found if "code" in vars(c) and c is not errors.ContractError]
    rows = ((f"`{c.code}`", str(c.exit_code), _message(c)) for c in sorted(told, key=lambda c: (c.exit_code, c.code)))
    of_files = ((f"`{code}`", means) for code, means in errors.PROBLEMS.items())
    return "\n\n".join(
        (
            _table(("code", "exit code", "message"), dict.fromkeys(rows)),
            "In `errors`, of a file:",
            _table(("code", "means"), of_files),
        )
    )


def _message(of: type[errors.ContractError]) -> str:
    """The message with `…` for its data."""
    first = (of.__doc__ or "").strip().splitlines()[0].replace("{{", "{").replace("}}", "}")
    text = re.sub(r"\$?\{+[a-z_]+(:[^}]*)?\}+", "…", first)
    return _cell(text if text.strip("… ") else of.code.replace("_", " "))


# --- tables -----------------------------------------------------------------------------------------------------------


def _fields(of: type) -> str:
    made = schemas.Made()
    told = made.fields(of)
    rows = (
        (f"`{name}`{'' if name in told['required'] else '?'}", _type(one), _cell(one.get("description", "")))
        for name, one in told["properties"].items()
    )
    return _table(("field", "type", "what it is"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    rule = "|" + " --- |" * len(head)
    return "\n".join((f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _type(schema: Schema, *, linked: bool = True) -> str:
    """In words. `linked`: an object has a heading of its own in the page."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})" if linked else "mapping"
    if "anyOf" in schema:
        kinds = dict.fromkeys(_type(one, linked=linked) for one in schema["anyOf"])
        if not linked:
            kinds.pop("null", None)  # a key that is not there
        return " or ".join(kinds)
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'], linked=linked)}"
    return JSON_TYPES.get(str(schema.get("type")), "anything")


def _default(schema: Schema) -> str:
    value = schema.get("default")
    if "default" not in schema or value in (None, [], {}):
        return ""
    if isinstance(value, float):
        return f"`{value:g}s`"  # all of them are durations
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _examples(schema: Schema) -> str:
    return "<br>".join(f"`{_cell(_yaml(example, alone=True))}`" for example in schema["examples"])


def _yaml(value: Any, *, alone: bool = False) -> str:
    """One line of YAML, quoted only where it has to be: less where it stands alone."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    special = r": | #|^[\[{&*#?|<>=!%@`\"'-]" if alone else r"[{}\[\],&*#?|<>=!%@`\"':]|^[-\s]|^$|\s$"
    if isinstance(value, str) and not re.search(special, value):
        return value
    return json.dumps(value, ensure_ascii=False)
