"""Scenarios are read whole or refused with every problem in its place."""

import pytest
from factory_browser import scenarios
from factory_browser.errors import ScenarioErrors

EVERYTHING = """
scenarios:
  - name: An urgent ticket stands first
    criteria: [c1, c2]
    allow_status: [422]
    steps:
      - goto: /tickets
      - goto: {service: api, path: /health, timeout: 3}
      - goto: {service: api}
      - goto: https://example.com/x
        timeout: 0.5
      - fill: {label: Email, value: ada@example.com}
      - fill: {placeholder: Search, exact: true, value: ""}
      - click: {role: button, name: Sign in, within: {css: form, nth: -1}}
      - press: {label: Title, key: Enter}
      - press: {key: Control+A}
      - select: {testid: priority, value: urgent}
      - upload: {label: Attachment, path: fixtures/a.txt}
      - expect: {text: Welcome}
      - expect: {role: heading, name: Error, visible: false}
      - expect: {role: row, count: 3, timeout: 9}
      - expect: {css: p.note, contains: yes}
      - expect: {label: Code, value: 007}
      - expect: {url: /tickets}
      - expect: {title: Tickets, exact: true}
"""


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(ScenarioErrors) as caught:
        scenarios.load(text, "s.yaml")
    assert str(caught.value) == "\n".join(str(p) for p in caught.value.problems)
    return [str(p) for p in caught.value.problems]


def test_every_form_is_read() -> None:
    """Each kind of step, locator and expectation keeps what is written, numbers and `yes` as text."""
    (scenario,) = scenarios.load(EVERYTHING)
    assert (scenario.name, scenario.criteria) == ("An urgent ticket stands first", ("c1", "c2"))
    assert scenario.has_expect and scenario.allow_status == (422,)
    steps = scenario.steps
    assert [(s.value, s.service, s.timeout) for s in steps[:4]] == [
        ("/tickets", None, None),
        ("/health", "api", 3),
        ("", "api", None),
        ("https://example.com/x", None, 0.5),
    ]
    assert steps[6].target and steps[6].target.within == scenarios.Locator("css", "form", nth=-1)
    assert [s.expect.wanted for s in steps if s.expect] == [True, False, 3, "yes", "007", "/tickets", "Tickets"]


def test_what_is_written_is_read_back() -> None:
    """`dump` and `load` are each other's inverse, so a plan can be handed on."""
    read = scenarios.load(EVERYTHING)
    assert scenarios.load(scenarios.dump(read)) == read


def test_steps_say_what_they_do_and_keep_a_value_to_themselves() -> None:
    """The words for people name the element; what is filled in may be a password."""
    told = [str(s) for s in scenarios.load(EVERYTHING)[0].steps]
    assert told[4] == "Fill in “Email”"
    assert told[6] == "Click button “Sign in” in CSS “form” (last)"
    assert told[13] == "See 3 × row"
    assert not any("ada@example.com" in words for words in told)


def test_all_problems_at_once_in_their_places() -> None:
    """File, line, column, what was expected and the nearest valid word, for every problem in the file."""
    assert problems(
        "scenarios:\n"
        "  - name: A\n"
        "    stps: []\n"
        "    criteria: c1\n"
        "  - name: A\n"
        "    steps:\n"
        "      - clik: {text: x}\n"
        "      - click: {role: buton, nth: first}\n"
        "      - press: {key: Entr}\n"
        "      - goto: tickets\n"
        "      - upload: {label: File, path: ../etc/passwd}\n"
        "      - expect: {text: a, count: 1, contains: b}\n"
        "      - click: {label: a, css: b}\n"
        "      - fill: {label: Email}\n"
    ) == [
        "s.yaml:2:5: scenario 1 has no steps; expected a key “steps”",
        "s.yaml:3:5: scenario 1 has an unknown key “stps”; expected name, criteria, allow_status or steps; "
        "did you mean “steps”?",
        "s.yaml:4:15: criteria is “c1”; expected a list of criterion ids, like [c1]",
        "s.yaml:5:11: another scenario is named “A”; expected a name of its own",
        "s.yaml:7:9: a step has an unknown key “clik”; expected goto, fill, click, press, select, upload, expect or "
        "timeout; did you mean “click”?",
        "s.yaml:8:23: role is “buton”; expected one of alert, alertdialog, application, article, banner, blockquote, "
        "button, caption, cell, checkbox, code, columnheader …; did you mean “button”?",
        "s.yaml:8:35: nth is “first”; expected a whole number from -1 to 1000",
        "s.yaml:9:22: key is “Entr”; expected a key like Enter, a or Control+A; did you mean “Enter”?",
        "s.yaml:10:15: the place to go to is “tickets”; expected a path like /tickets or a URL that begins with "
        "http:// or https://",
        "s.yaml:11:37: path is “../etc/passwd”; expected a file of the repo, like fixtures/a.txt",
        "s.yaml:12:47: expect has count and contains; expected one of them: two expect steps",
        "s.yaml:13:32: click has label and css; expected one of role, label, text, placeholder, testid, css",
        "s.yaml:14:15: fill has no value; expected a key “value”",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "s.yaml:1:1: the file is nothing; expected a mapping with scenarios"),
        ("scenarios: []", "s.yaml:1:12: no scenarios; expected at least one scenario"),
        ("- a\n- b", "s.yaml:1:1: the file is a list; expected a mapping with scenarios"),
        ("scenarios:\n  - name: [", "s.yaml:2:12: not valid YAML: expected the node content, but found '<stream end>'"),
        ("a: 1\n---\nb: 2", "s.yaml:2:1: not valid YAML: but found another document"),
        (
            "a: !!python/object:os.system x",
            "s.yaml:1:4: tag tag:yaml.org,2002:python/object:os.system; expected no tag",
        ),
        ("a: b\nc: \x00", "s.yaml:2:4: a control character"),
        (b"a: \xff", "s.yaml:1:1: byte 3 is not UTF-8"),
        ("a: " + "x" * 70_000, "s.yaml:1:1: the file has 70003 bytes; expected at most 65536"),
        ("[" * 60_000, "nested deeper than 12 levels"),
        ("scenarios:\n- name: A\n  steps: [{click: {text: a}}]", "s.yaml:3:11: the first step is click; expected goto"),
        (
            "scenarios:\n- name: A\n  steps: [{goto: /, timeout: 900}]",
            "timeout is 900; expected a number from 0.1 to 60",
        ),
        ("scenarios:\n- name: A\n  steps: [{goto: 'file:///etc/passwd'}]", "expected a path like /tickets or a URL"),
        (
            "scenarios:\n- name: A\n  allow_status: [500]\n  steps: [{goto: /}]",
            "expected a whole number from 400 to 499",
        ),
    ],
)
def test_what_is_no_scenario_file_is_said(text: str | bytes, problem: str) -> None:
    """Broken, foreign, oversized and hostile files end in one clear line."""
    assert any(problem in line for line in problems(text))


def test_an_alias_bomb_is_refused_unread() -> None:
    """Anchors and aliases are problems, so nothing can be multiplied."""
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [{f'*{a},' * 9}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
    )
    found = problems(bomb)
    assert found[0].startswith("s.yaml:1:4: anchor &a") and "s.yaml:2:8: alias *a" in found[2]


def test_a_criterion_needs_an_expect() -> None:
    """A scenario that only clicks shows nothing, so its criterion is missing."""
    steps = "[{goto: /}, {expect: {text: Hi}}]"
    found = scenarios.load(
        f"scenarios:\n- {{name: A, criteria: [c1], steps: {steps}}}\n- {{name: B, criteria: [c2], steps: [{{goto: /}}]}}"
    )
    assert scenarios.missing(found, ["c3", "c1", "c2"]) == ["c3", "c2"]


def test_a_login_is_a_bare_list() -> None:
    """`load_steps` reads what a `login` has, with the same problems."""
    assert [s.action for s in scenarios.load_steps("[{goto: /}, {click: {text: Go}}]")] == ["goto", "click"]
    with pytest.raises(ScenarioErrors, match=r"login:1:3: a step has an unknown key “gote”.*did you mean “goto”"):
        scenarios.load_steps("[{gote: /}]")


def test_uploads_are_named_for_whoever_fetches_them() -> None:
    """Each file once, as it is written."""
    assert scenarios.uploads(scenarios.load(EVERYTHING)) == ["fixtures/a.txt"]
