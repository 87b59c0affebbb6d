"""What runners print, understood: recorded outputs, as they came out of the real programs."""

import pytest as runner
from factory_contract.results import junit, pytest, unittest
from factory_contract.results.found import Failure, Found

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
<testsuites><testsuite name="x" tests="4">
<testcase classname="t.x" name="a" time="0.1"/>
<testcase classname="t.x" name="b"><failure message="assert 1 == 2&#10;more">trace</failure></testcase>
<testcase classname="t.x" name="c"><skipped/></testcase>
<testcase name="d"><error>
cannot import</error></testcase>
</testsuite></testsuites>
"""


def test_pytest() -> None:
    """Errors count as failed; names and last words come from the short summary."""
    failures = [Failure("t/test_x.py::test_b", "assert 1 == 2"), Failure("t/test_y.py", "ImportError: no module")]
    assert pytest.parse(PYTEST) == Found("pytest", 3, 2, 1, failures)


@runner.mark.parametrize(
    ("text", "counts"),
    [
        ("3 passed in 0.01s\n", (3, 0, 0)),
        ("== 2 passed, 1 xfailed, 1 xpassed in 61.00s (0:01:01) ==\n", (4, 0, 0)),
        ("no tests ran in 0.00s\n", (0, 0, 0)),
        ("== 1 passed in 0.1s ==\n== 2 passed, 1 failed in 0.1s ==\n", (3, 1, 0)),
        ("5 deselected in 0.10s\n", (0, 0, 0)),
    ],
)
def test_pytests_last_lines(text: str, counts: tuple[int, int, int]) -> None:
    """With and without frames, several runs together, nothing run."""
    found = pytest.parse(text)
    assert found is not None
    assert (found.passed, found.failed, found.skipped) == counts


def test_unittest() -> None:
    """The exception's own line is the message."""
    failures = [
        Failure("test_e (test_x.T.test_e)", "ValueError: boom"),
        Failure("test_b (test_x.T.test_b)", "AssertionError: 1 != 2"),
    ]
    assert unittest.parse(UNITTEST) == Found("unittest", 2, 2, 1, failures)


@runner.mark.parametrize(
    ("text", "counts"),
    [
        ("Ran 0 tests in 0.000s\n\nOK\n", (0, 0, 0)),
        ("Ran 0 tests in 0.000s\n\nNO TESTS RAN\n", (0, 0, 0)),
        ("Ran 1 test in 0.000s\n\nOK (expected failures=1)\n", (1, 0, 0)),
        ("Ran 3 tests in 1.000s\n\nFAILED (unexpected successes=1)\n", (2, 1, 0)),
        ("Ran 2 tests in 0.1s\n\nOK\nRan 2 tests in 0.1s\n\nOK (skipped=2)\n", (2, 0, 2)),
    ],
)
def test_unittests_last_lines(text: str, counts: tuple[int, int, int]) -> None:
    """`Ran 0 tests: OK` is nothing run."""
    found = unittest.parse(text)
    assert found is not None
    assert (found.passed, found.failed, found.skipped) == counts


def test_junit() -> None:
    """Cases are counted, not what the file says of itself."""
    failures = [Failure("t.x.b", "assert 1 == 2"), Failure("d", "cannot import")]
    assert junit.parse(JUNIT) == Found("junit", 1, 2, 1, failures)


@runner.mark.parametrize("text", ["", "<html/>", "<testsuite", '<!DOCTYPE x [<!ENTITY a "b">]><testsuite/>'])
def test_what_is_no_junit_xml(text: str) -> None:
    """Other XML, broken XML and XML with entities are not read."""
    assert junit.parse(text) is None


@runner.mark.parametrize("text", ["", "all fine", "3 tests passed", "Ran out of memory in 3s", "passed in 3s"])
def test_other_words_are_no_results(text: str) -> None:
    """A type checker's or a stranger's output is not taken for a test run."""
    assert pytest.parse(text) is None
    assert unittest.parse(text) is None
