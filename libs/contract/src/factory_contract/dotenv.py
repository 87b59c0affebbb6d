"""Env files: `NAME=value` a line, `export` allowed, quotes, comments, `${NAME}` for what is known already.

As dotenv's users expect it: single quotes are literal, double quotes know \\n, `#` after a blank begins a comment.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from factory_contract.errors import EnvFileInvalid, EnvFileMissing

LINE = re.compile(
    r"""\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_.]*)\s*=[ \t]*
    (?:'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<bare>(?!["'])[^\r\n]*?))
    [ \t]*(?:(?<=\s)\#[^\r\n]*)?(?=[\r\n]|\Z)""",
    re.VERBOSE,
)
KNOWN = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


def read(path: Path, name: str, known: Mapping[str, str]) -> dict[str, str]:
    """The variables of one file; `known` may be referred to. Raises EnvFileMissing, EnvFileInvalid."""
    try:
        text = path.read_text()
    except (FileNotFoundError, IsADirectoryError) as e:
        raise EnvFileMissing(file=name) from e
    except UnicodeDecodeError as e:
        raise EnvFileInvalid(file=name, line=1, hint="The file is not UTF-8.") from e
    return parse(text, name, known)


def parse(text: str, name: str, known: Mapping[str, str]) -> dict[str, str]:
    """As `read`, of a text. A quoted value may go over several lines."""
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        line = text[position:end].strip()
        if not line or line.startswith("#"):
            position = end + 1
            continue
        match = LINE.match(text, position)
        if match is None:
            raise EnvFileInvalid(file=name, line=text.count("\n", 0, position) + 1)
        found[match["name"]] = _value(match, {**known, **found})
        position = match.end() + 1
    return found


def _value(match: re.Match[str], known: Mapping[str, str]) -> str:
    if match["single"] is not None:
        return match["single"]
    value = match["bare"] if match["double"] is None else match["double"]
    if match["double"] is not None:
        value = re.sub(r"\\(.)", lambda m: ESCAPES.get(m[1], m[0]), value)
    return KNOWN.sub(lambda m: known.get(m[1], m[0]), value)
