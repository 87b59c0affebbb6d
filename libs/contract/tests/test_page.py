"""docs/contract.md: what a stranger writes from it is valid and runs, and its reference is the code's, no key missing, none invented."""

import json
import re
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import jsonschema
import pytest
from factory_contract import answers, check, cli, generate
from factory_contract.errors import InvalidContract
from factory_contract.model import Contract
from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "contract.md").read_text()


def models(of: type[BaseModel] = Contract) -> Iterator[type[BaseModel]]:
    """Every model below the contract, itself first, found through the annotations of its fields."""
    yield of
    for field in of.model_fields.values():
        yield from (inner for found in _within(field.annotation) for inner in models(found))


def _within(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, types.UnionType, list, dict):
        for inner in get_args(annotation):
            yield from _within(inner)


def section(name: str) -> str:
    return PAGE.split(f"<!-- begin {name} -->")[1].split(f"<!-- end {name} -->")[0]


def first_cells(text: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)`", text, re.M)


def test_every_key_is_told_once_and_none_is_invented() -> None:
    """The tables of keys against the model, each model with its own table."""
    told = [set(first_cells(table)) for table in section("keys").split("\n#### ")[1:]]
    known = [{field.alias or name for name, field in m.model_fields.items()} for m in dict.fromkeys(models())]
    assert sorted(map(sorted, told)) == sorted(map(sorted, known))


def test_every_command_and_its_options_are_told() -> None:
    """A heading for each verb; every option of its `--help` but the two that all have."""
    headings = re.findall(r"^#### `factory (\w+)`", section("commands"), re.M)
    assert headings == list(cli.VERBS)
    for verb, text in zip(headings, section("commands").split("#### `factory ")[1:], strict=True):
        of = next(a for a in cli.parser(verb)._actions if a.dest == "command").choices[verb]  # pyright: ignore[reportOptionalSubscript]
        for action in of._actions:
            for option in {*action.option_strings} - {"-h", "--help", "--json"}:
                assert option in text, f"{verb} {option}"
        for field in answers.ANSWERS[verb].__annotations__:
            assert f"| `{field}`" in text, f"{verb} {field}"


def test_links_lead_somewhere() -> None:
    """Anchors are headings of the page, files are there."""
    anchors = {
        re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", PAGE, re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("http"):
            assert (ROOT / "docs" / target.split("#")[0]).exists(), target


def test_what_is_generated_is_what_the_code_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page and the schemas are as they would be written now; each schema is one."""
    monkeypatch.chdir(ROOT)
    assert generate.main(["--check"]) == 0, capsys.readouterr().err
    for path in (ROOT / "docs" / "schemas").glob("*.json"):
        jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text()))


def test_stale_files_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key that is told wrongly, a schema that is missing, one too many: exit code 1; written anew all is well."""
    monkeypatch.chdir(tmp_path)
    assert generate.main(["--check"]) == 2
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/contract.md").write_text(PAGE)
    assert generate.main([]) == 0 and generate.main(["--check"]) == 0
    (tmp_path / "docs/contract.md").write_text(PAGE.replace("| `seed` |", "| `sed` |"))
    (tmp_path / "docs/schemas/urls.json").unlink()
    (tmp_path / "docs/schemas/old.json").write_text("{}")
    capsys.readouterr()
    assert generate.main(["--check"]) == 1
    said = capsys.readouterr().err
    assert all(
        name in said for name in ("contract.md is not", "urls.json is not", "old.json is of nothing", "-| `sed` |")
    )
    assert generate.main([]) == 0 and generate.main(["--check"]) == 0


def examples() -> list[str]:
    return [block for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S) if "# factory.yaml" in block]


@pytest.mark.parametrize("text", examples(), ids=lambda text: re.findall("name: (.*)", text)[0])
def test_the_examples_are_valid(text: str, tmp_path: Path) -> None:
    """As they stand there."""
    check.parse(text.encode(), "factory.yaml", tmp_path)


def test_what_a_dev_sh_becomes_is_valid(tmp_path: Path) -> None:
    """Every piece of YAML in that table, put where it belongs, is read without a mistake of shape."""
    table = PAGE.split("## From a `dev.sh`")[1].split("\n## ")[0]
    pieces = re.findall(r"`([a-z_-]+: [^`]+)`", table)
    assert len(pieces) > 15
    for piece in pieces:
        service = "services:\n  x:\n    command: x\n    "
        tops = [piece, f"services:\n  {piece}", f"{service}{piece}", f"{service}url: y\n    {piece}"]
        assert any(_reads(top, tmp_path) for top in tops), piece


def _reads(text: str, root: Path) -> bool:
    try:
        check.parse(f"name: a\n{text}\n".encode(), "factory.yaml", root)
    except InvalidContract as e:
        return {p.kind for p in e.problems} <= {"unknown_service"}  # the table names those of its repo
    return True


def test_the_first_example_runs(make_repo: Callable[..., Any]) -> None:
    """As the page says: it gets ready, answers, and ends."""
    repo = make_repo(examples()[0])
    told = repo.json("start")
    assert told["state"] == "ready" and told["urls"][0]["url"].startswith("http://localhost:")
    assert repo.run("stop").stdout == "stopped\n"


def test_the_script_of_the_page_runs_every_verb(make_repo: Callable[..., Any], tmp_path: Path) -> None:
    """`./factory.sh VERB …`, by the vision's own lines; without a `factory` on PATH it says so."""
    script = re.findall(r"^```sh\n(#!/bin/sh\n.*?)^```", PAGE, re.M | re.S)[0]
    repo = make_repo(
        "name: a\nsetup: echo x\ntests: {unit: \"echo '1 passed in 0.1s'\"}\nservices: {web: {command: exec python3 serve.py $WEB_PORT}}\n"
    )
    repo.write("factory.sh", script, 0o755)

    def call(*args: str, code: int = 0) -> str:
        run = ["./factory.sh", *args]
        done = subprocess.run(run, cwd=repo.root, env=repo.env, capture_output=True, text=True, timeout=50)
        assert done.returncode == code, f"{args}: {done.stdout}{done.stderr}"
        return done.stdout or done.stderr

    (tmp_path / "bin").mkdir()
    repo.env["PATH"] = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    if not any((Path(directory) / "factory").exists() for directory in ("/usr/bin", "/bin")):
        assert "no command `factory`" in call("status", code=127)
    (tmp_path / "bin" / "factory").write_text(f'#!/bin/sh\nexec {sys.executable} -m factory_contract "$@"\n')
    (tmp_path / "bin" / "factory").chmod(0o755)
    call("setup")
    call("start", "--port-range", "46200", "--worktree-id", f"job_{repo.root.name}")
    assert json.loads(call("status", "--json"))["worktree"] == f"job-{repo.root.name}"
    assert json.loads(call("urls", "--json"))["state"] == "ready"
    call("logs")
    call("restart")
    call("test")
    assert "no url" in call("validate", "--feature", "user can create project", code=2)
    call("stop")
    call("clean")
