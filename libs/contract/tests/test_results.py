"""What runners print, understood: recorded outputs, as they came out of the real programs (`recorded/`, versions in the names)."""

import time
from pathlib import Path
from types import ModuleType

import pytest as runner
from factory_contract.results import (
    bun,
    cargo,
    go,
    jest,
    junit,
    mocha,
    node,
    output,
    phpunit,
    pytest,
    rspec,
    streams,
    unittest,
    verdict,
    vitest,
)
from factory_contract.results.found import Failure, Found

RECORDED = Path(__file__).parent / "recorded"
ROOT = Path("/repo")  # where the recorded runs ran
WEB = "AssertionError: expected 1 to be 2 // Object.is equality"
JEST = "expect(received).toBe(expected) // Object.is equality Expected: 2 Received: 1"
DIVIDES = "math > of big numbers > divides"

# by the begin of a recording's name: runner, passed, failed, skipped; the names of what failed; the begin of its messages
SAID = {
    "jest": (
        ("jest", 3, 3, 2),
        [f"math.test.js > {DIVIDES}", "text.test.js > throws", "broken.test.js"],
        [JEST, "boom", "Cannot find module './nowhere.js'"],
    ),
    "vitest": (
        ("vitest", 3, 3, 2),
        ["broken.test.mjs", f"math.test.mjs > {DIVIDES}", "text.test.mjs > throws"],
        ["Error: ", WEB, "Error: boom"],
    ),
    "mocha": (
        ("mocha", 3, 3, 2),
        ["throws", DIVIDES, 'a hook > "before all" hook for "never runs"'],
        ["Error: boom", "AssertionError [ERR_ASSERTION]: 1 == 2", "Error: no database"],
    ),
    "node-20-tap": (
        ("node", 3, 3, 2),
        ["broken.test.js", f"math.test.js > {DIVIDES}", "text.test.js > throws"],
        ["test failed", "1 == 2", "boom"],
    ),
    "node-20-spec": (
        ("node", 3, 3, 2),
        ["broken.test.js", "math.test.js > divides", "text.test.js > throws"],
        ["test failed", "AssertionError [ERR_ASSERTION]: 1 == 2", "Error: boom"],
    ),
    "bun": (
        ("bun", 3, 3, 2),
        ["broken.test.js", f"math.test.js > {DIVIDES}", "text.test.js > throws"],
        ["Cannot find module './nowhere.js'", "expect(received).toBe(expected) Expected: 2 Received: 1", "boom"],
    ),
    "cargo": (
        ("cargo", 3, 2, 1),
        ["tests::divides", "tests::throws"],
        ["assertion `left == right` failed left: 1 right: 2", "bang"],
    ),
    "go-1.19": (
        ("go", 1, 2, 0),  # packages that passed, tests that failed
        ["example.com/shop/broken", "example.com/shop/calc.TestDivides/by_two"],
        ["undefined: nothing", "got 1, want 2"],
    ),
    "rspec": (
        ("rspec", 3, 2, 2),
        ["math of big numbers divides", "text throws"],
        ['it("divides") { expect(10 / 10).to eq(2) }: expected: 2 got: 1', "RuntimeError: boom"],
    ),
    "phpunit": (
        ("phpunit", 4, 2, 2),
        ["TextTest::testThrows", 'MathTest::testDivides with data set "twenty" (20, 3)'],
        ["RuntimeException: boom", "Failed asserting that 2 is identical to 3."],
    ),
}
SAID |= {"go-1.19-v": (("go", 3, 2, 1), *SAID["go-1.19"][1:]), "node-22-tap": SAID["node-20-tap"]}
SAID |= {"node-24": SAID["node-20-spec"]}

PYTEST = """\
..F.s                                                                    [100%]
=================================== FAILURES ===================================
____________________________________ test_b ____________________________________

    def test_b():
>       assert 1 == 2
E       assert 1 == 2

t/test_x.py:4: AssertionError
=========================== short test summary info ============================
FAILED t/test_x.py::test_b - assert 1 == 2
ERROR t/test_y.py - ImportError: no module
======== 1 failed, 3 passed, 1 skipped, 2 warnings, 1 error in 0.12s =========
"""

UNITTEST = """\
.FE.s
======================================================================
ERROR: test_e (test_x.T.test_e)
----------------------------------------------------------------------
Traceback (most recent call last):
  File "test_x.py", line 9, in test_e
    raise ValueError("boom")
ValueError: boom

======================================================================
FAIL: test_b (test_x.T.test_b)
----------------------------------------------------------------------
Traceback (most recent call last):
  File "test_x.py", line 6, in test_b
    self.assertEqual(1, 2)
AssertionError: 1 != 2

----------------------------------------------------------------------
Ran 5 tests in 0.003s

FAILED (failures=1, errors=1, skipped=1)
"""

JUNIT = """<?xml version="1.0" encoding="utf-8"?>
<!-- made by <testsuite> -->
<testsuites><testsuite name="x" tests="4">
<testcase classname="t.x" name="a" time="0.1"/>
<testcase classname="t.x" name="b"><failure message="assert \x1b[31m1\x1b[0m == 2&#10;more">trace</failure></testcase>
<testcase classname="t.x" name="c"><skipped/></testcase>
<testcase name="d"><error><![CDATA[
cannot import <!DOCTYPE html>]]></error></testcase>
</testsuite></testsuites>
"""

PHPUNIT = "PHPUnit 11.5.2 by Sebastian Bergmann and contributors.\n\nTime: 00:00.1, Memory: 8.00 MB\n\n"
CARGO = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.00s\n"
NODE = "\n".join(f"ℹ {w} 0" for w in "tests suites pass fail cancelled skipped todo duration_ms".split())
JEST_ONE = "Test Suites: 1 passed, 1 total\nTests:       3 passed, 3 total\nSnapshots:   0 total\nTime:        1 s\n"
VITEST_ONE = " Test Files  1 passed (1)\n      Tests  3 passed (3)\n   Start at  10:00:00\n   Duration  1s\n"
MOCHA_ONE = "\n  3 passing (5ms)\n\n"


def counted(found: list[Found]) -> tuple[int, int, int]:
    """Of all runs together."""
    return sum(f.passed for f in found), sum(f.failed for f in found), sum(f.skipped for f in found)


@runner.mark.parametrize("path", sorted(RECORDED.glob("[!w]*.txt")), ids=lambda path: path.stem)
def test_recorded(path: Path) -> None:
    """Counts, names and messages, with the colours that runners print in CI. A runner's versions agree."""
    counts, names, messages = SAID.get(path.stem) or SAID[path.stem.split("-")[0]]
    (found,) = output.read(path.read_bytes(), ROOT)
    assert found[:4] == counts
    assert sorted(failure.name for failure in found.failures) == sorted(names)
    said = {failure.name: failure.message for failure in found.failures}
    for name, message in zip(names, messages, strict=True):
        assert said[name].startswith(message), name


@runner.mark.parametrize("tool", ["npm-11", "pnpm-9", "turbo-2", "lerna-8", "concurrently-9"])
def test_packages_of_a_workspace(tool: str) -> None:
    """Each has its own results, also where their lines come mixed; the one without tests is seen; names say whose they are."""
    found = output.read((RECORDED / f"workspace-{tool}.txt").read_bytes(), ROOT)
    told = {(f.where.split("/")[-1], f.runner, f.passed, f.failed, f.skipped) for f in found}
    expected = {("api", "node", 1, 1, 0), ("web", "vitest", 1, 1, 0), ("docs", "vitest", 0, 0, 0)}
    assert told == (expected - {("docs", "vitest", 0, 0, 0)} if tool.startswith("conc") else expected)
    names = sorted(failure.name.split("/", 1)[-1] for f in found for failure in f.failures)
    assert names == ["api: packages/api/a.test.mjs > fails", "web: a.test.mjs > fails"]


@runner.mark.parametrize(("tool", "where"), [("yarn-4", ["@acme/api", "@acme/web", "docs"]), ("yarn-1", ["", "", ""])])
def test_yarns_workspaces(tool: str, where: list[str]) -> None:
    """By yarn's prefixes; where it gives none the runs are told apart by themselves."""
    found = output.read((RECORDED / f"workspace-{tool}.txt").read_bytes(), ROOT)
    assert sorted(f.where for f in found) == where
    assert sorted((f.runner, f.passed) for f in found) == [("node", 2), ("vitest", 0), ("vitest", 2)]


def test_what_looks_like_a_prefix_is_none() -> None:
    """An app's own words, and one package alone, make no workspace."""
    text = "\n> shop@1.0.0 test\n> jest\n\n[info]: starting\nerror: none\n> joe@example.com wrote\nroot@host ~$ ls\n"
    assert {f.where for f in output.read((text + JEST_ONE).encode(), ROOT)} == {""}


def test_pytest() -> None:
    """Errors count as failed; names and last words come from the short summary."""
    failures = [Failure("t/test_x.py::test_b", "assert 1 == 2"), Failure("t/test_y.py", "ImportError: no module")]
    assert pytest.parse(PYTEST) == [Found("pytest", 3, 2, 1, failures)]


@runner.mark.parametrize(
    ("text", "counts"),
    [
        ("3 passed in 0.01s\n", (3, 0, 0)),
        ("== 2 passed, 1 xfailed, 1 xpassed in 61.00s (0:01:01) ==\n", (4, 0, 0)),
        ("no tests ran in 0.00s\n", (0, 0, 0)),
        ("== test session starts ==\n== 1 passed in 0.1s ==\n== test session starts ==\n== 1 failed in 0.1s ==\n", (1, 1, 0)),
        (".   [100%]\n1 passed in 0.1s\n.F   [100%]\n1 failed, 1 passed in 0.1s\nno tests ran in 0.1s\n", (2, 1, 0)),
        ("5 deselected in 0.10s\n", (0, 0, 0)),
        ("== 2 passed, 3 subtests passed, 1 rerun in 0.10s ==\n", (2, 0, 0)),
    ],
)  # fmt: skip
def test_pytests_last_lines(text: str, counts: tuple[int, int, int]) -> None:
    """With and without frames, several runs together, nothing run."""
    assert counted(pytest.parse(text)) == counts


def test_unittest() -> None:
    """The exception's own line is the message."""
    failures = [
        Failure("test_e (test_x.T.test_e)", "ValueError: boom"),
        Failure("test_b (test_x.T.test_b)", "AssertionError: 1 != 2"),
    ]
    assert unittest.parse(UNITTEST) == [Found("unittest", 2, 2, 1, failures)]


@runner.mark.parametrize(
    ("text", "counts"),
    [
        ("Ran 0 tests in 0.000s\n\nOK\n", (0, 0, 0)),
        ("Ran 0 tests in 0.000s\n\nNO TESTS RAN\n", (0, 0, 0)),
        ("Ran 1 test in 0.000s\n\nOK (expected failures=1)\n", (1, 0, 0)),
        ("Ran 3 tests in 1.000s\n\nFAILED (unexpected successes=1)\n", (2, 1, 0)),
        ("Ran 2 tests in 0.1s\n\nOK\nRan 2 tests in 0.1s\n\nOK (skipped=2)\n", (2, 0, 2)),
        ("Ran 0 tests in 0.1s\n\nFAILED (errors=1)\n", (0, 1, 0)),
    ],
)
def test_unittests_last_lines(text: str, counts: tuple[int, int, int]) -> None:
    """`Ran 0 tests: OK` is nothing run."""
    found = unittest.parse(text)
    assert found
    assert counted(found) == counts


@runner.mark.parametrize(
    ("parser", "text", "counts"),
    [
        (jest, "No tests found, exiting with code 0\n", (0, 0, 0)),
        (jest, "No tests found related to files changed since last commit.\n", (0, 0, 0)),
        (vitest, "\n RUN  v4.1.12 /repo\n\nNo test files found, exiting with code 0\n", (0, 0, 0)),
        (vitest, VITEST_ONE.replace("3 passed (3)", "no tests").replace("1 passed", "1 failed"), (0, 1, 0)),
        (vitest, VITEST_ONE.replace("   Start", "     Errors  1 error\n   Start"), (3, 1, 0)),
        (mocha, "\n\n  0 passing (1ms)\n\n", (0, 0, 0)),
        (mocha, 'Error: No test files found: "test"\n', (0, 0, 0)),
        (node, f"{NODE}\n", (0, 0, 0)),
        (node, "TAP version 13\n1..0\n" + NODE.replace("ℹ", "#") + "\n", (0, 0, 0)),
        (bun, "bun test v1.4.5 (a7733435c)\nNo tests found!\n", (0, 0, 0)),
        (bun, "bun test v1.4.5\n\n 0 pass\n 7 filtered out\n 0 fail\nRan 0 tests across 1 file. [4.00ms]\n", (0, 0, 0)),
        (go, "?   \texample.com/shop\t[no test files]\n", (0, 0, 0)),
        (go, "ok  \texample.com/shop\t0.002s [no tests to run]\n", (0, 0, 0)),
        (go, "ok  \texample.com/shop\t(cached)\tcoverage: 80.0% of statements\n", (1, 0, 0)),
        (go, "--- FAIL: TestX (0.00s)\npanic: boom [recovered]\nFAIL\texample.com/shop\t0.002s\nFAIL\n", (0, 1, 0)),
        (cargo, f"running 0 tests\n\n{CARGO}", (0, 0, 0)),
        (rspec, "No examples found.\n\n\nFinished in 0.0002 seconds\n0 examples, 0 failures\n", (0, 0, 0)),
        (rspec, "\nFinished in 0.1 seconds\n0 examples, 0 failures, 1 error occurred outside of examples\n", (0, 1, 0)),
        (phpunit, f"{PHPUNIT}No tests executed!\n", (0, 0, 0)),
        (phpunit, f"{PHPUNIT}OK (5 tests, 6 assertions)\n", (5, 0, 0)),
        (phpunit, f"{PHPUNIT}OK, but there are issues!\nTests: 5, Assertions: 4, Warnings: 9, Skipped: 1.\n", (4, 0, 1)),
    ],
)  # fmt: skip
def test_last_lines(parser: ModuleType, text: str, counts: tuple[int, int, int]) -> None:
    """Nothing found is a result, unlike a runner that did not run; what keeps tests from running counts as failed."""
    found = output.read(text.encode(), ROOT)
    assert found == parser.parse(text)
    assert len(found) == 1
    assert counted(found) == counts


def test_runs_of_node_one_after_another() -> None:
    """Each has its own failures, in both forms; without a place the titles are the name."""
    text = (RECORDED / "node-20-spec.txt").read_text() * 2 + (RECORDED / "node-20-tap.txt").read_text()
    assert [len(f.failures) for f in node.parse(text)] == [3, 3, 3]
    tap = "    # Subtest: s\n    not ok 1 - x\n# Subtest: math\n    # Subtest: adds\n    not ok 1 - adds\n      ---\n      ...\n"
    (found,) = node.parse(tap + NODE.replace("ℹ", "#").replace("fail 0", "fail 1") + "\n")
    assert "math > adds" in [failure.name for failure in found.failures]


def test_file_that_does_not_load() -> None:
    """RSpec counts such files apart from examples."""
    text = "An error occurred while loading ./spec/a_spec.rb.\nFailure/Error: nothing()\n\nNoMethodError:\n  undefined method `nothing'\n"
    (found,) = rspec.parse(
        text + "\nFinished in 0.1 seconds\n0 examples, 0 failures, 1 error occurred outside of examples\n"
    )
    assert found.failures == [Failure("spec/a_spec.rb", "NoMethodError: undefined method `nothing'")]


def test_junit() -> None:
    """Cases are counted, not what the file says of itself; colours and HTML in messages do no harm."""
    failures = [Failure("t.x.b", "assert [31m1[0m == 2"), Failure("d", "cannot import <!DOCTYPE html>")]
    assert junit.parse(JUNIT) == Found("junit", 1, 2, 1, failures)


def test_junit_of_phpunit() -> None:
    """It repeats names in messages, and writes an error for a test without assertions that it has passed."""
    text = """<testsuites><testsuite name="x">
<testcase name="testA" classname="T"><failure type="F">T::testA\nFailed asserting that 2 is 3.\n\n/x.php:9</failure></testcase>
<testcase name="testB" classname="T"><error type="PHPUnit\\Framework\\RiskyTestError">T::testB\nRisky</error></testcase>
</testsuite></testsuites>"""
    assert junit.parse(text) == Found("junit", 1, 1, 0, [Failure("T.testA", "Failed asserting that 2 is 3.")])


@runner.mark.parametrize(
    "text",
    [
        "",
        "<html/>",
        "<testsuite",
        '<!DOCTYPE x [<!ENTITY a "b">]><testsuite/>',
        '<!-- <testsuite> --><!DOCTYPE x [<!ENTITY a "b">]><testsuite/>',
    ],
)
def test_what_is_no_junit_xml(text: str) -> None:
    """Other XML, broken XML and XML with entities are not read."""
    assert junit.parse(text) is None


@runner.mark.parametrize(
    "text",
    [
        "",
        "all fine",
        "3 tests passed",
        "Ran out of memory in 3s",
        "passed in 3s",
        "Found 0 errors. Watching for file changes.",
        "ok 1 - a TAP line\nFAIL: nothing\nTests: 3, of which none\n  5 passing cars\n",
        "src/a.ts(1,1): error TS2322: 1 failed, 2 passed in total\n",
        "✖ 3 problems (1 error, 2 warnings)\n",
    ],
)
def test_other_words_are_no_results(text: str) -> None:
    """A type checker's or a stranger's output is not taken for a test run."""
    assert output.read(text.encode(), ROOT) == []


@runner.mark.parametrize(
    ("fake", "real"),
    [
        ("5 passed in 0.01s", PYTEST),
        ("=== test session starts ===\n.\n=== 5 passed in 0.01s ===", "=== test session starts ===\nx.py F [100%]\n" + PYTEST[81:]),
        (VITEST_ONE, "\n RUN  v4.1.12 /repo\n\n{}\n" + VITEST_ONE.replace("3 passed (3)", "1 failed (1)")),
        ("OK (5 tests, 6 assertions)", PHPUNIT + "{}\nFAILURES!\nTests: 1, Assertions: 1, Failures: 1.\n"),
        (CARGO, "running 1 test\n{}\n" + CARGO.replace("ok. 0 passed; 0 failed", "FAILED. 0 passed; 1 failed")),
        (" 9 pass\nRan 9 tests across 1 file.", "bun test v1.4.5\n{}\n 0 pass\n 1 fail\nRan 1 test across 1 file. [1ms]\n"),
    ],
)  # fmt: skip
def test_what_an_app_prints_is_no_summary(fake: str, real: str) -> None:
    """Of one run the last summary is the real one, also where a test has run the runner itself."""
    text = real.replace("{}", fake) if "{}" in real else real.replace("t/test_x.py:4", f"{fake}\nt/test_x.py:4")
    assert fake in text
    found = output.read(text.encode(), ROOT)
    assert counted(found) == counted(output.read(real.replace("{}", "").encode(), ROOT))
    assert not verdict.of(found, 0).ok


@runner.mark.parametrize(
    ("fake", "real"),
    [
        (JEST_ONE, JEST_ONE.replace("3 passed", "1 failed")),
        (MOCHA_ONE, "\n  0 passing (5ms)\n  1 failing\n\n"),
        (NODE.replace("pass 0", "pass 9"), NODE.replace("fail 0", "fail 1")),
        ("Ran 9 tests in 0.1s\n\nOK", UNITTEST),
    ],
)
def test_what_an_app_prints_takes_no_failure_away(fake: str, real: str) -> None:
    """Where a runner announces no begin, what looks like a summary is added: a red run stays red."""
    for text in (f"{fake}\n{real}\n", f"{real}\n{fake}\n"):
        assert not verdict.of(output.read(text.encode(), ROOT), 0).ok


@runner.mark.parametrize(
    ("runs", "exit_code", "ok", "note"),
    [
        ([], 0, True, "no test results in its output: judged by its exit code alone"),
        ([], 2, False, "no test results in its output: judged by its exit code alone"),
        ([], 127, False, "a command was not found: what it needs is not installed"),
        ([Found("jest", 3, 0, 1, [])], 0, True, ""),
        ([Found("jest", 0, 0, 0, [])], 0, False, "it ran no test"),
        ([Found("jest", 0, 0, 4, [])], 0, False, "it ran no test (4 skipped)"),
        ([Found("jest", 2, 1, 0, [])], 1, False, ""),
        ([Found("jest", 2, 1, 0, [])], 0, False, "1 failed, though it ended with exit code 0"),
        ([Found("jest", 3, 0, 0, [])], 1, False, "every test that ran has passed, but it ended with exit code 1"),
        ([Found("jest", 3, 0, 0, []), Found("vitest", 0, 0, 0, [], "docs")], 0, True, "no test ran in docs (vitest)"),
    ],
)
def test_verdict(runs: list[Found], exit_code: int, ok: bool, note: str) -> None:
    """Green is: it ended well, nothing failed, something ran; a check is judged by its exit code."""
    assert verdict.of(runs, exit_code) == (ok, note)


@runner.mark.parametrize(
    "line", ["x", "1 passed, ", "= ", "\n", "not ok 1 - x\n", "  ● x\nFAIL x\n", "> a@1.0.0 b\n", "\t"]
)
def test_megabytes_of_anything_are_read_in_time(line: str) -> None:
    """An app may print what it likes: time grows with its length, not faster."""
    begun = time.process_time()
    output.read((line * (1_000_000 // len(line))).encode(), ROOT)
    assert time.process_time() - begun < 4


def test_lines_written_over() -> None:
    """Progress bars and Windows' ends of lines leave lines."""
    assert streams.plain(b"\x1b[2K10%\r100%\r\ndone\x1b]0;title\x07\n") == "\n10%\n100%\ndone\n"
