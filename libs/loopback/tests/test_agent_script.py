"""A script that is wrong is refused at start, with the file and the line."""

import subprocess
import sys

import pytest
from factory_loopback.agent.script import AppendForever, AskPermission, Exit, Replace, Run, ScriptError, Sleep, Write
from factory_loopback.agent.script import read_script as read

WHOLE = """\
vars: {TITLE: Invoices, PORT: 3000}
rounds:
  - expect: ["Round 1 of", "c\\\\d"]
    say: I start.
    plan: [a test, the code]
    do:
      - write: {path: web/app.js, text: "${TITLE} `${name}` ${PORT}"}
      - replace: {path: api/app.py, old: a, new: "${TITLE}"}
      - run: make test
        allow_failure: true
      - run: "true"
      - ask_permission: drop it
      - append_forever: {path: x.log, every_ms: 50, child: true}
      - append_forever: {path: y.log}
      - sleep: 0.5
      - exit: 3
  - say: Nothing to do.
"""


def script(tmp_path, text):
    path = tmp_path / "script.yaml"
    path.write_text(text)
    return path


def test_a_whole_script(tmp_path):
    """Every kind of step is read; variables are filled in, and what is no variable stays."""
    first, second = read(script(tmp_path, WHOLE)).rounds
    assert [pattern.pattern for pattern in first.expect] == ["Round 1 of", "c\\d"]
    assert (first.say, first.plan) == ("I start.", ("a test", "the code"))
    assert first.do == (
        Write("web/app.js", "Invoices `${name}` 3000"),
        Replace("api/app.py", "a", "Invoices"),
        Run("make test", allow_failure=True),
        Run("true", allow_failure=False),
        AskPermission("drop it"),
        AppendForever("x.log", 50, child=True),
        AppendForever("y.log", 100, child=False),
        Sleep(0.5),
        Exit(3),
    )
    assert (second.expect, second.plan, second.do) == ((), (), ())


STEP = "rounds:\n  - do:\n      - "


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "the script is empty"),
        ("rounds: []", 1, "`rounds` is empty"),
        ("round: []", 1, "a script has no `round`; it has: rounds, vars"),
        ("vars: {A: b}", 1, "a script lacks `rounds`"),
        ("rounds:\n  - do: [\n", 3, "no valid YAML"),
        ("rounds:\n  - say: a\n    says: b\n", 3, "a round has no `says`"),
        ("rounds:\n  - say: a\n    say: b\n", 3, "`say` is given twice"),
        ("rounds:\n  - say: 5\n", 2, "`say` must be text (put it in quotes)"),
        (
            "rounds:\n  - expect:\n      - fine\n      - 'c1('\n",
            4,
            "no valid regex: missing ), unterminated subpattern",
        ),
        ("rounds:\n  - expect: c1\n", 2, "`expect` must be a list"),
        (STEP + "jump: 3\n", 3, "a step is one of: write, replace, run"),
        (STEP + "{run: ls, sleep: 1}\n", 3, "a step `run` has no `sleep`"),
        (STEP + "write: {path: a}\n", 3, "`write` lacks `text`"),
        (STEP + "write: {path: /etc/x, text: a}\n", 3, "must lie in the checkout and be relative to it, not '/etc/x'"),
        (STEP + "write:\n          path: a/../../b\n          text: a\n", 4, "not 'a/../../b'"),
        (STEP + "replace: {path: a, old: '', new: b}\n", 3, "`old` is empty"),
        (STEP + "run: {command: ls}\n", 3, "`run` must be text"),
        (STEP + "run: ls\n        allow_failure: maybe\n", 4, "`allow_failure` must be true or false"),
        (STEP + "append_forever: {path: a, every_ms: 0}\n", 3, "`every_ms` must be at least 1"),
        (STEP + "sleep: true\n", 3, "`sleep` must be a number"),
        (STEP + "sleep: -1\n", 3, "`sleep` must not be negative"),
        (STEP + "exit: now\n", 3, "`exit` must be a whole number"),
        ("just words", 1, "expected a mapping"),
    ],
)
def test_a_mistake(tmp_path, text, line, says):
    """The error names the line and what is wrong there."""
    path = script(tmp_path, text)
    with pytest.raises(ScriptError) as error:
        read(path)
    assert error.value.line == line
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no-such.yaml"], "no-such.yaml:1: the script cannot be read"),
        (["broken.yaml"], "broken.yaml:2: a round has no `sy`"),
        ([], "usage: python -P -m factory_loopback.agent SCRIPT.yaml"),
    ],
)
def test_the_program_refuses_to_start(tmp_path, arguments, says):
    """Exit code 2 and one line on stderr, no stack trace."""
    (tmp_path / "broken.yaml").write_text("rounds:\n  - sy: a\n")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "factory_loopback.agent", *arguments],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
