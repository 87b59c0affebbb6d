"""Writes docs/schemas/ and the generated parts of docs/contract.md from the model, the command line and the answers.

python -m factory_contract.generate           writes
python -m factory_contract.generate --check   exits 1 naming what differs, and writes nothing
"""

import argparse
import difflib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from factory_contract import answers, reference, schemas

PAGE, SCHEMAS = Path("docs/contract.md"), Path("docs/schemas")
HINT = "run python -m factory_contract.generate"


def files() -> Iterator[tuple[Path, str]]:
    """Every file that is written, and what it has to say."""
    yield SCHEMAS / "factory.yaml.json", _json(schemas.contract())
    yield SCHEMAS / "failure.json", _json(schemas.failure())
    for verb in answers.ANSWERS:
        yield SCHEMAS / f"{verb}.json", _json(schemas.answer(verb))
    yield PAGE, page(PAGE.read_text())


def page(text: str) -> str:
    """The page with its generated parts as they have to be. Raises ValueError where the place of one is missing."""
    for name, make in reference.parts().items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"{PAGE} has no place for the {name}: `{begin.strip()}`, `{end}`")
        head, rest = text.split(begin)
        text = f"{head}{begin}\n{make()}\n\n{end}{rest.split(end)[1]}"
    return text


def _json(schema: schemas.Schema) -> str:
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m factory_contract.generate", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 where something differs")
    check = parser.parse_args(argv).check
    if not PAGE.is_file():
        sys.stderr.write(f"{PAGE} is not here: run it at the root of the repository\n")
        return 2
    problems: list[str] = []
    wanted = dict(files())
    for path, text in wanted.items():
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif text != (found := path.read_text() if path.exists() else ""):
            problems.append(f"{path} is not what the code says: {HINT}")
            lines = found.splitlines(), text.splitlines()
            problems += difflib.unified_diff(*lines, str(path), "generated", lineterm="", n=0)
    for path in sorted({*SCHEMAS.glob("*.json")} - wanted.keys()):
        problems.append(f"{path} is of nothing that is there any more: {HINT}")
        if not check:
            path.unlink()
    if check:
        sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 1 if check and problems else 0


if __name__ == "__main__":
    sys.exit(main())
