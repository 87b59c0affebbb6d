"""`--feature`: which scenarios are about it, in whatever words."""

from dataclasses import dataclass

import pytest
from factory_contract import features


@dataclass
class Scenario:
    name: str
    criteria: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()


KNOWN = [
    Scenario("A project is created", ("c1",)),
    Scenario("Projects can be deleted", ("c2",)),
    Scenario("The visitor is greeted", ("greeting",)),
    Scenario("Cities are listed", (), ("Open /cities", "See “Export to CSV”")),
    Scenario("I run what you add", (), ()),
    Scenario("Ein Auftrag wird angelegt"),
]


@pytest.mark.parametrize(
    ("feature", "found"),
    [
        ("user can create project", ["A project is created"]),
        ("PROJECT", ["A project is created", "Projects can be deleted"]),
        ("deleting projects", ["Projects can be deleted"]),
        ("greeting", ["The visitor is greeted"]),
        ("the visitor", ["The visitor is greeted"]),
        ("city list", ["Cities are listed"]),
        ("export csv", ["Cities are listed"]),
        ("running", ["I run what you add"]),
        ("auftrag angelegt", ["Ein Auftrag wird angelegt"]),
        ("create an invoice", []),
        ("delete everything", []),
        ("c2", ["Projects can be deleted"]),
        ("", [scenario.name for scenario in KNOWN]),
    ],
)
def test_which_scenarios_are_about_it(feature: str, found: list[str]) -> None:
    """All its words, whatever their endings and order; in steps only where no name has them; half of them is no match."""
    assert [scenario.name for scenario in features.about(feature, KNOWN)] == found
