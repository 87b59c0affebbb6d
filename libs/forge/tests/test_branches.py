"""Branch names come from one generator and hold nothing that git, a shell or a host label could take for more."""

import re

import pytest
from factory_forge.branches import branch_name, check_branch
from factory_forge.errors import BadBranchName

JOB = "jabcdefghi2"


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Add a dark mode!", "add-a-dark-mode"),
        ("  Größe & Farbe — don't  ", "grosse-farbe-dont"),
        ("Добавь тёмную тему", "change"),
        ("", "change"),
        ("$(touch /tmp/x); `id` ../../etc", "touch-tmp-x-id-etc"),
        ("-x --force @{1} a..b .lock", "x-force-1-a-b-lock"),
        ("\u202eevil\u200b\u3000name", "evil-name"),
        ("one two three four five six seven eight nine ten", "one-two-three-four-five-six-seven-eight"),
        ("w" * 300, "w" * 40),
        ("a\nb\tc\0d", "a-b-c-d"),
    ],
)
def test_branch_name(text: str, slug: str) -> None:
    """At most 40 characters of ASCII words; where none are left, a word of ours."""
    name = branch_name(JOB, text)
    assert name == f"factory/{JOB}-{slug}"
    assert re.fullmatch(r"[a-z0-9/-]{1,100}", name)
    assert check_branch(name) == name


@pytest.mark.parametrize("job_id", ["", "-x", "J1", "j1/../x", "j 1", "j" * 40])
def test_odd_ids(job_id: str) -> None:
    """An id that is none is refused."""
    with pytest.raises(BadBranchName):
        branch_name(job_id, "x")


NOT_OURS = [
    "main",
    "factory/",
    "factory/x",
    "factory/{}",
    "factory/{}-a..b",
    "x/factory/{}-a",
    "factory/{}-a\n",
    "factory/{}--",
]


@pytest.mark.parametrize("branch", [name.format(JOB) for name in NOT_OURS])
def test_what_the_generator_cannot_have_made(branch: str) -> None:
    """Names from elsewhere are refused."""
    with pytest.raises(BadBranchName):
        check_branch(branch)
