"""Which scenarios are about a feature that somebody names in their own words."""

import re
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

# Words that say nothing about which feature it is, the people who use it among them.
EMPTY = frozenset(
    """a an and are as at be by can could do for from has have i if in into is it its may my of on one or should so that the
    their then there they this to we when who will with you your user users visitor visitors person people someone somebody
    customer customers""".split()
)


class Told(Protocol):
    """A scenario, as far as it says what it is about."""

    @property
    def name(self) -> str: ...

    @property
    def criteria(self) -> Sequence[str]: ...

    @property
    def steps(self) -> Sequence[object]: ...


S = TypeVar("S", bound=Told)


def about(feature: str, scenarios: Iterable[S]) -> list[S]:
    """The scenarios with all words of `feature` in their name and criteria; where there are none, in their steps too.

    Endings and order do not matter: "user can create project" finds "A project is created".
    """
    wanted = _words(feature)
    known = [(scenario, _words(" ".join([scenario.name, *scenario.criteria]))) for scenario in scenarios]
    if not wanted:
        return [scenario for scenario, _ in known if feature.strip().casefold() in scenario.name.casefold()]
    named = [scenario for scenario, words in known if wanted <= words]
    return named or [
        scenario for scenario, words in known if wanted <= words | _words(" ".join(map(str, scenario.steps)))
    ]


def _words(text: str) -> set[str]:
    return {_stem(word) for word in re.findall(r"\w+", text.casefold()) if word not in EMPTY}


def _stem(word: str) -> str:
    """Without the endings of English that tell number and time: creates, created, creating → creat."""
    for ending in ("ing", "ies", "ed", "es", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if word[-1:] == word[-2:-1] else word  # run, running
