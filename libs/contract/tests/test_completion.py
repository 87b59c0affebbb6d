"""Tab completion: what is offered, and that real shells offer it."""

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factory_contract.commands import completion

APP = """\
name: a
services:
  # the app
  web: {command: x}

  "api": # quoted
    command: y
    env:
      deeper: 1
tests: {unit: 'a: b, {c: d}', "types": [x, {y: z}], e2e: w}
env:
  services: no
"""


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (
            [""],
            "check setup start supervise status urls logs test validate artifacts restart stop clean ps schema completion",
        ),
        (["st"], "start status stop"),
        (["nope", ""], ""),
        (["-"], "-C --version --help"),
        (["-C"], "-C"),
        (["-C", "/"], ":directories"),
        (["start", "--"], "--json --port-range --worktree-id --attach --help"),
        (["start", "--json", "--a"], "--attach"),
        (["start", "--json", "--j"], ""),
        (["start", "--port-range", ""], ""),
        (["ps", "--under", ""], ":directories"),
        (["logs", "--service", ""], "web api"),
        (["logs", "--service", "web", "--service", ""], "api"),
        (["logs", "--service", "web", "--s"], "--service --since"),
        (["logs", ""], ""),
        (["restart", "a"], "api"),
        (["test", ""], "unit types e2e"),
        (["test", "unit", ""], "types e2e"),
        (["completion", ""], "bash zsh fish"),
    ],
    ids=" ".join,
)
def test_what_is_offered(words: list[str], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verbs, options that were not given yet, services and suites by name, directories where one is wanted."""
    (tmp_path / "factory.yaml").write_text(APP)
    monkeypatch.chdir(tmp_path)
    assert " ".join(word for word, _ in completion.candidates(words)) == found


def test_names_of_another_directory_and_of_a_broken_file(tmp_path: Path) -> None:
    """`-C DIR` counts; a file that is half written, or none, gives what there is."""
    assert completion.names(tmp_path, "services") == []
    (tmp_path / "factory.yaml").write_bytes(b"services:\n  web: {\n  a\xffb\n  api:\ntests\n")
    assert completion.names(tmp_path, "services") == ["web", "api"]
    found = completion.candidates(["-C", str(tmp_path), "restart", "w"])
    assert found == [("web", "a service")]


@pytest.fixture
def shell(make_repo: Callable[..., Any], tmp_path: Path) -> Callable[[str, str], str]:
    """Runs a script in a shell, in a repo, with a `factory` on PATH."""
    repo = make_repo(APP)
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "factory").write_text(f'#!/bin/sh\nexec {sys.executable} -m factory_contract "$@"\n')
    (directory / "factory").chmod(0o755)
    env = {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "xterm"}

    def run(name: str, script: str) -> str:
        program = shutil.which(name)
        if program is None:
            pytest.skip(f"there is no {name} on this machine")
        done = subprocess.run(
            [program, "-c", script], cwd=repo.root, env=env, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_bash_at_the_press_of_tab(make_repo: Callable[..., Any], tmp_path: Path) -> None:
    """In a terminal: what is half typed becomes the whole word."""
    repo = make_repo(APP)
    (tmp_path / "factory").write_text(f'#!/bin/sh\nexec {sys.executable} -m factory_contract "$@"\n')
    (tmp_path / "factory").chmod(0o755)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(repo.root)
        env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TERM": "dumb", "PS1": "> ", "HOME": str(tmp_path)}
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], env)
    try:
        _type(terminal, 'eval "$(factory completion bash)"; echo rea""dy\n', "ready\r\n")
        _type(terminal, "factory restart w\t", "factory restart web")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def _type(terminal: int, keys: str, expected: str) -> None:
    os.write(terminal, keys.encode())
    seen, deadline = "", time.monotonic() + 20
    while expected not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"not seen in time: {seen!r}"
        seen += os.read(terminal, 4096).decode(errors="replace")


def test_bash(shell: Callable[[str, str], str]) -> None:
    """Bash has the function, for `./factory.sh` too, and it gives words and names of directories with blanks."""
    script = """
eval "$(factory completion bash)"
complete -p ./factory.sh swfactory
mkdir -p "a dir"
try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _factory; printf '[%s]' "${COMPREPLY[@]}"; echo; }
try factory st
try factory logs --service ""
try factory -C "a"
try ./factory.sh test t
"""
    told = shell("bash", script).splitlines()
    assert told[:2] == ["complete -F _factory ./factory.sh", "complete -F _factory swfactory"]
    assert told[2:] == ["[start][status][stop]", "[web][api]", "[a dir]", "[types]"]


def test_zsh(shell: Callable[[str, str], str]) -> None:
    """Zsh has the function; its own words for candidates are taken note of."""
    script = """
autoload -Uz compinit && compinit -u -D
eval "$(factory completion zsh)"
print -l $_comps[factory] $_comps[swfactory]
_describe() { print -l -- ${(P)3} }
words=(factory st); CURRENT=2; _factory
words=(factory restart w); CURRENT=3; _factory
"""
    told = shell("zsh", script)
    assert told.splitlines()[:2] == ["_factory", "_factory"]
    assert "status:what runs, and how it is" in told and "web:a service" in told


def test_fish(shell: Callable[[str, str], str]) -> None:
    """Fish completes a command line that it is asked for."""
    script = "factory completion fish | source; complete -C 'factory st'; complete -C 'factory restart w'"
    told = shell("fish", script).splitlines()
    assert [line.split("\t")[0] for line in told] == ["start", "status", "stop", "web"]
