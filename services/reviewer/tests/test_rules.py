"""Each rule: a diff that trips it, and one that only looks like it."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from factory_forge.diff import Diff, FileChange
from factory_reviewer import rules

Make = Callable[..., FileChange]
Whole = Callable[..., Diff]

GITHUB_TOKEN = "ghp_" + "a1B2" * 9  # put together here, so that no scanner takes this file for a leak
TEST_TOO = ("tests/test_other.py", "+def test_other():\n+    assert True")


def found(diff: Diff, **given: Any) -> list[tuple[str, str, str, int]]:
    return [(f.severity, f.rule, f.path, f.line) for f in rules.review(diff, **given)]


def of_rule(rule: str, diff: Diff, **given: Any) -> list[rules.Finding]:
    return [f for f in rules.review(diff, **given) if f.rule == rule]


def test_a_calm_change(change: Make, diff: Whole) -> None:
    """Code with its test has no findings."""
    calm = diff(change("app/form.py", " def form():\n+    return 1"), change("tests/test_form.py", "+def test_form():"))
    assert rules.review(calm) == []


def test_blocking_ones_first(change: Make, diff: Whole) -> None:
    """Findings come by severity, then by place."""
    both = diff(change("b.py", "+breakpoint()"), change("a.py", f"+x = 1\n+token = '{GITHUB_TOKEN}'"))
    assert found(both)[:2] == [("blocking", "secret", "a.py", 2), ("warning", "no_tests", "b.py", 0)]


# ── secrets ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (f"token = '{GITHUB_TOKEN}'", "github-token"),
        ("-----BEGIN RSA PRIVATE " + "KEY-----", "private-key"),
        ("url = 'postgres://app:" + "hunter22@db.example.com/app'", "password-in-url"),
    ],
)
def test_secrets(change: Make, diff: Whole, line: str, kind: str) -> None:
    """Named by kind and line, never by what it is; in any file."""
    (finding,) = of_rule("secret", diff(change("docs/a.md", f" before\n+{line}\n after")))
    assert (finding.severity, finding.path, finding.line) == ("blocking", "docs/a.md", 2)
    assert kind in finding.says
    assert line not in finding.says


@pytest.mark.parametrize(
    "text",
    [
        f"-token = '{GITHUB_TOKEN}'",
        f" token = '{GITHUB_TOKEN}'",
        "+token = os.environ['TOKEN']",
        "+url = 'postgres://app:app@localhost/app'",
    ],
)
def test_no_secrets(change: Make, diff: Whole, text: str) -> None:
    """What is taken out, what was there, and what names a place for one."""
    assert of_rule("secret", diff(change("app.py", text))) == []


# ── tests ─────────────────────────────────────────────────────────────────────

PYTEST = " import x\n-def test_a():\n-    assert x.a()\n \n def test_b():\n     assert x.b()"


def test_a_test_file_removed(change: Make, diff: Whole) -> None:
    """Blocks, with the tests by name."""
    gone = diff(change("tests/test_a.py", "-def test_a():\n-    pass", status="D"))
    (finding,) = of_rule("test_removed", gone)
    assert finding.severity == "blocking"
    assert "test_a" in finding.says


def test_a_test_file_in_an_unknown_language_removed(change: Make, diff: Whole) -> None:
    """Its name is enough."""
    assert len(of_rule("test_removed", diff(change("spec/a_spec.ex", "-something", status="D")))) == 1


@pytest.mark.parametrize(
    ("path", "text", "name"),
    [
        ("tests/test_a.py", PYTEST, "test_a"),
        ("web/a.test.ts", "-it('adds a box', async () => {\n-})\n it('other', () => {})", "adds a box"),
        ("spec/a_spec.rb", '-  it "adds a box" do\n-  end', "adds a box"),
        ("pkg/a_test.go", "-func TestBox(t *testing.T) {\n-}", "TestBox"),
        ("src/FormTest.java", "-  @Test\n-  public void testBox() {\n-  }", "testBox"),
    ],
)
def test_single_tests_removed(change: Make, diff: Whole, path: str, text: str, name: str) -> None:
    """In any of the usual languages, by name."""
    (finding,) = of_rule("test_removed", diff(change(path, text)))
    assert (finding.severity, finding.path) == ("blocking", path)
    assert name in finding.says


def test_a_removed_test_is_not_made_up_for_elsewhere(change: Make, diff: Whole) -> None:
    """Longer new tests in the same file do not hide that one is gone."""
    text = "-def test_a():\n-    assert False\n \n \n+def test_new():\n+    one()\n+    two()\n+    three()"
    (finding,) = of_rule("test_removed", diff(change("tests/test_a.py", text)))
    assert "test_a" in finding.says


@pytest.mark.parametrize(
    "files",
    [
        [("tests/test_a.py", "-def test_a():\n-    pass\n \n+def test_a():\n+    pass")],
        [("tests/test_a.py", "-def test_a():\n-    pass"), ("tests/test_b.py", "+def test_a():\n+    pass")],
        [("tests/test_a.py", "-    assert 1\n-    assert 2")],
        [("app/testing.py", "-def test_connection():\n-    pass")],
        [("web/a.test.ts", "-it('adds', () => {\n+it('adds', async () => {")],
    ],
)
def test_moved_tests_are_not_removed(change: Make, diff: Whole, files: list[tuple[str, str]]) -> None:
    """Within a file, to another, or only written anew; and what is no test file has no tests."""
    assert of_rule("test_removed", diff(*(change(*f) for f in files))) == []
    assert of_rule("test_replaced", diff(*(change(*f) for f in files))) == []


def test_a_whole_file_moved(change: Make, diff: Whole) -> None:
    """A test file whose tests all stand in another one now is no loss."""
    moved = diff(
        change("tests/test_a.py", "-def test_a():\n-    pass", status="D"),
        change("tests/unit/test_all.py", "+def test_a():\n+    pass", status="A"),
    )
    assert of_rule("test_removed", moved) == []


def test_a_renamed_test_is_a_warning(change: Make, diff: Whole) -> None:
    """A test that was replaced where it stood: a person is asked to look."""
    renamed = diff(change("tests/test_a.py", "-def test_a():\n+def test_the_a():\n     assert x.a()"))
    assert found(renamed) == [("warning", "test_replaced", "tests/test_a.py", 0)]


def test_a_test_file_that_no_runner_finds(change: Make, diff: Whole) -> None:
    """Renamed away it is as good as removed; renamed among tests it is not."""
    away = change("old/a.py.bak", old_path="tests/test_a.py", status="R")
    among = change("tests/unit/test_a.py", old_path="tests/test_a.py", status="R")
    assert [f.severity for f in of_rule("test_removed", diff(away))] == ["blocking"]
    assert of_rule("test_removed", diff(among)) == []


def test_fixtures_may_go(change: Make, diff: Whole) -> None:
    """Data that tests read is no test."""
    assert of_rule("test_removed", diff(change("tests/data/a.json", "-{}", status="D"))) == []


@pytest.mark.parametrize(("asked", "severity"), [("Remove the export button.", "warning"), ("Add a box.", "blocking")])
def test_a_removal_that_was_asked_for(change: Make, diff: Whole, asked: str, severity: str) -> None:
    """Whoever wants something gone wants its tests gone: that is shown and does not block."""
    gone = diff(change("tests/test_export.py", "-def test_export():\n-    pass", status="D"))
    assert [f.severity for f in of_rule("test_removed", gone, asked=asked)] == [severity]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("tests/test_a.py", "@pytest.mark.skip(reason='later')"),
        ("tests/test_a.py", "@pytest.mark.skipif(True, reason='')"),
        ("tests/test_a.py", "@pytest.mark.xfail"),
        ("tests/test_a.py", "@unittest.skip('later')"),
        ("tests/test_a.py", "    pytest.skip('later')"),
        ("tests/test_a.py", "    self.skipTest('later')"),
        ("tests/test_a.py", "pytestmark = pytest.mark.skip"),
        ("conftest.py", "    pytest.skip('all of it')"),
        ("web/a.test.ts", "it.skip('x', () => {"),
        ("web/a.test.ts", "describe.only('x', () => {"),
        ("web/a.spec.js", "test.describe.skip('x', () => {"),
        ("web/a.spec.js", "test.fixme('x', () => {"),
        ("web/a.test.ts", "xit('x', () => {"),
        ("web/a.test.ts", "  fdescribe('x', () => {"),
        ("a_test.go", "\tt.Skip()"),
        ("a_test.go", "\tt.SkipNow()"),
        ("tests/a.rs", '#[ignore = "later"]'),
        ("src/FormTest.java", "@Disabled"),
        ("tests/FormTest.php", "$this->markTestSkipped('later');"),
    ],
)
def test_skipped_tests(change: Make, diff: Whole, path: str, line: str) -> None:
    """Whatever the runner calls it."""
    (finding,) = of_rule("test_skipped", diff(change(path, f" x\n+{line}")))
    assert (finding.severity, finding.line) == ("blocking", 2)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("app/a.py", "+@pytest.mark.skip"),
        ("tests/test_a.py", " @pytest.mark.skip"),
        ("tests/test_a.py", "-@pytest.mark.skip"),
        ("tests/test_a.py", "-@pytest.mark.skip\n x\n+    @pytest.mark.skip"),
        ("tests/test_a.py", "+    tickets = Ticket.objects.only('id')"),
        ("tests/test_a.py", "+    model.fit(data)"),
        ("tests/test_a.py", "+    assert reader.skip(3) == 3"),
        ("web/a.test.ts", "+it('can skip a step', () => {"),
    ],
)
def test_what_skips_nothing(change: Make, diff: Whole, path: str, text: str) -> None:
    """Outside of tests, there before, only moved, or another word that is spelled the same."""
    assert of_rule("test_skipped", diff(change(path, text))) == []


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ([("app/a.py", "+x = 1")], True),
        ([("db/2.sql", "+CREATE TABLE t (id int);")], True),
        ([("app/a.py", "+x = 1"), TEST_TOO], False),
        ([("app/a.py", "+x = 1"), ("web/a.spec.ts", "+x")], False),
        ([("app/a.py", "-x = 1")], False),
        ([("README.md", "+words")], False),
        ([TEST_TOO], False),
    ],
)
def test_missing_tests(change: Make, diff: Whole, files: list[tuple[str, str]], missing: bool) -> None:
    """New code without any test is a warning; words, removals and tests themselves need none."""
    assert [f.severity for f in of_rule("no_tests", diff(*(change(*f) for f in files)))] == ["warning"] * missing


# ── what nobody can read ──────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "facts", "blocks"),
    [
        ("lib/tool", {"status": "A", "binary": True}, True),
        ("data/app.sqlite3", {"status": "A"}, True),
        ("data/app.db", {"status": "M", "binary": True}, True),
        ("tool.JAR", {"status": "A", "binary": True}, True),
        ("web/logo.png", {"status": "A", "binary": True}, False),
        ("web/LOGO.PNG", {"status": "A", "binary": True}, False),
        ("web/font.woff2", {"status": "A", "binary": True}, False),
        ("docs/guide.pdf", {"status": "M", "binary": True}, False),
        ("data/app.db", {"status": "D", "binary": True}, False),
        ("app/db.py", {"status": "A"}, False),
    ],
)
def test_binaries(change: Make, diff: Whole, path: str, facts: dict[str, Any], blocks: bool) -> None:
    """A program, an archive or a database, added or changed; pictures and fonts can be looked at."""
    assert [f.severity for f in of_rule("binary", diff(change(path, **facts)))] == ["blocking"] * blocks


@pytest.mark.parametrize(("lines", "rule"), [(600, None), (601, "large"), (3000, "large"), (3001, "oversized")])
def test_size(change: Make, diff: Whole, lines: int, rule: str | None) -> None:
    """Large is a warning, more than one review can hold blocks."""
    big = diff(change("app/a.py", added=lines - 1, removed=1), change(*TEST_TOO, added=0))
    assert [f.rule for f in rules.review(big)] == ([rule] if rule else [])


def test_many_files(change: Make, diff: Whole) -> None:
    """So do files without end."""
    assert len(of_rule("large", diff(*(change(f"docs/{i}.md", "+x") for i in range(41))))) == 1
    assert len(of_rule("oversized", diff(*(change(f"docs/{i}.md", "+x") for i in range(161))))) == 1


@pytest.mark.parametrize("path", ["package-lock.json", "web/yarn.lock", "uv.lock", "static/lib.min.js"])
def test_generated_files_do_not_count(change: Make, diff: Whole, path: str) -> None:
    """Nobody reads a lock file line by line."""
    assert rules.review(diff(change(path, added=9000))) == []


def test_a_diff_that_is_cut(change: Make, diff: Whole) -> None:
    """What was not read blocks: a secret could stand there."""
    files = [change("uv.lock", "+x", added=90_000), change("app/a.py", added=2), change("logo.png", binary=True)]
    (finding,) = of_rule("unread", diff(*files, change(*TEST_TOO), truncated=True))
    assert (finding.severity, finding.path) == ("blocking", "app/a.py")
    assert "1 files" in finding.says
    assert of_rule("unread", diff(*files)) == []
    assert of_rule("unread", diff(files[0], truncated=True)) == []


# ── the rest ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("+<<<<<<< HEAD\n+a\n+=======\n+b\n+>>>>>>> theirs", [1, 5]),
        ("-<<<<<<< HEAD\n->>>>>>> theirs", []),
        (" Heading\n+=======", []),
        ("+x = 1 <<<<<<< 2", []),
        ("+<<<<<<<<<< more than seven", []),
    ],
)
def test_conflict_markers(change: Make, diff: Whole, text: str, lines: list[int]) -> None:
    """A merge's marker at the start of a new line; a heading's underline is none."""
    assert [f.line for f in of_rule("conflict", diff(change("docs/a.md", text)))] == lines


@pytest.mark.parametrize(
    ("path", "text", "lines"),
    [
        ("app/a.py", "+breakpoint()", [1]),
        ("app/a.py", "+import pdb; pdb.set_trace()", [1]),
        ("web/a.ts", "+  debugger;", [1]),
        ("app/a.rb", "+binding.pry", [1]),
        ("app/a.py", "-breakpoint()", []),
        ("docs/a.md", "+breakpoint()", []),
        ("app/a.py", "+set_breakpoint(1)", []),
    ],
)
def test_debuggers(change: Make, diff: Whole, path: str, text: str, lines: list[int]) -> None:
    """Left in code they are a warning."""
    findings = of_rule("debugger", diff(change(path, text)))
    assert [f.line for f in findings] == lines
    assert all(f.severity == "warning" for f in findings)


def test_risky_files(change: Make, diff: Whole) -> None:
    """Each named risk is a warning at its file."""
    risky = diff(change(".github/workflows/ci.yml", "+x"), change("factory.yaml", "+x"))
    assert found(risky) == [
        ("warning", "workflow", ".github/workflows/ci.yml", 0),
        ("warning", "contract", "factory.yaml", 0),
    ]


@pytest.mark.parametrize(
    ("path", "likely", "far"),
    [
        ("billing_docs/a.md", ["app/a.py"], True),
        ("app/deep/b.md", ["app/a.py"], False),
        ("README.md", ["app/a.py"], False),
        ("tests/test_a.py", ["app/a.py"], False),
        ("other/a.md", [], False),
    ],
)
def test_unrelated_files(change: Make, diff: Whole, path: str, likely: list[str], far: bool) -> None:
    """A note on what lies in a folder that the plan did not name; where it named none nothing is far."""
    assert [f.severity for f in of_rule("unrelated", diff(change(path, "+x")), likely=likely)] == ["note"] * far


def test_empty_diff(diff: Whole) -> None:
    """Has no findings."""
    assert rules.review(diff()) == []


@pytest.mark.parametrize(
    "line",
    ["it " * 20_000, "it('" * 20_000, "pytestmark" * 5_000, "test.test." * 10_000, "(" * 50_000, "<<<<<<< " * 9_000],
)
def test_hostile_lines(change: Make, diff: Whole, line: str) -> None:
    """No line makes the rules slow."""
    began = time.monotonic()
    rules.review(diff(change("tests/test_a.py", f"+{line}\n-{line}x")))
    assert time.monotonic() - began < 10
