"""`factory-projects.yaml`: every mistake is told with its place; what a job keeps of an entry is the entry."""

import json
from pathlib import Path

import pytest
import yaml
from factory_chassis import projects
from factory_chassis.projects import Agent, BadProjects, Budget, Limits, Project

ENTRY = {"chats": [-1001, 7], "users": {5: "owner", 6: "member"}, "repo": "https://github.com/acme/shop.git"}


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "factory-projects.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(BadProjects) as caught:
        projects.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    return caught.value.problems


def test_a_file(tmp_path: Path) -> None:
    """Projects by name and by chat, with defaults for what is not said."""
    loaded = projects.load(written(tmp_path, {"projects": {"shop": ENTRY}}))
    shop = loaded.projects["shop"]
    assert (shop.rounds, shop.agent, shop.limits.jobs, shop.preview_hours, shop.gates) == (5, "claude", 4, 24, [])
    assert loaded.of_chat(-1001) == ("shop", shop) == loaded.of_chat(7)
    assert loaded.of_chat(8) is None
    assert shop.users == {5: "owner", 6: "member"}


BAD = {
    "name": ({"Shop!": ENTRY}, "projects.Shop!"),
    "long name": ({"s" * 41: ENTRY}, f"projects.{'s' * 41}"),
    "no chats": ({"shop": ENTRY | {"chats": []}}, "projects.shop.chats"),
    "chat": ({"shop": ENTRY | {"chats": [7, "team"]}}, "projects.shop.chats.1"),
    "no users": ({"shop": {k: v for k, v in ENTRY.items() if k != "users"}}, "projects.shop.users: Field required"),
    "role": ({"shop": ENTRY | {"users": {5: "boss"}}}, "projects.shop.users.5: Input should be 'owner' or 'member'"),
    "user": ({"shop": ENTRY | {"users": {"ann": "owner"}}}, "projects.shop.users.ann"),
    "repo is an option": ({"shop": ENTRY | {"repo": "--upload-pack=x"}}, "projects.shop.repo: not a repository's"),
    "repo runs a command": ({"shop": ENTRY | {"repo": "ext::sh -c x"}}, "projects.shop.repo: not a repository's"),
    "no repo": ({"shop": ENTRY | {"repo": " "}}, "projects.shop.repo: not a repository's"),
    "unknown key": ({"shop": ENTRY | {"colour": "red"}}, "projects.shop.colour: Extra inputs"),
    "gate": (
        {"shop": ENTRY | {"gates": ["plan", "deploy"]}},
        "projects.shop.gates.1: Input should be 'plan' or 'risk'",
    ),
    "rounds": ({"shop": ENTRY | {"rounds": 0}}, "projects.shop.rounds: Input should be greater than or equal to 1"),
    "many rounds": ({"shop": ENTRY | {"rounds": 21}}, "projects.shop.rounds"),
    "budget": ({"shop": ENTRY | {"budget": {"minutes": 0}}}, "projects.shop.budget.minutes: Input should be greater"),
    "limits": ({"shop": ENTRY | {"limits": {"jobs": 0}}}, "projects.shop.limits.jobs"),
    "preview": ({"shop": ENTRY | {"preview_hours": "long"}}, "projects.shop.preview_hours: Input should be a valid"),
    "agent": ({"shop": ENTRY | {"agent": {"command": []}}}, "projects.shop.agent.Agent.command"),
    "no entry": ({"shop": None}, "projects.shop: "),
    "nothing": ({}, "projects: Dictionary should have at least 1 item"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_entry_is_told_with_its_place(tmp_path: Path, what: str) -> None:
    """The path through the file, and what is wrong there."""
    content, says = BAD[what]
    assert any(p.startswith(says) for p in problems(written(tmp_path, {"projects": content})))


def test_every_mistake_at_once(tmp_path: Path) -> None:
    """Nobody mends a file one start at a time."""
    found = problems(written(tmp_path, {"projects": {"a": ENTRY | {"rounds": 0, "chats": []}, "b": {}}, "more": 1}))
    places = {p.split(": ")[0] for p in found}
    assert {"projects.a.rounds", "projects.a.chats", "projects.b.chats", "projects.b.repo", "more"} <= places


def test_one_project_a_chat(tmp_path: Path) -> None:
    """A chat in two projects would be anybody's guess; twice in one is no harm."""
    both = {"projects": {"shop": ENTRY, "blog": ENTRY | {"chats": [1, 7]}}}
    assert problems(written(tmp_path, both)) == ["projects: chat 7 is in two projects: shop and blog"]
    projects.load(written(tmp_path, {"projects": {"shop": ENTRY | {"chats": [7, 7]}}}))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("projects: [", "line 1, column 12: "),
        ("projects:\n  shop: 1\n  shop: 2\n", "line 3, column 3: 'shop' stands twice"),
        ("projects:\n  a:\n    repo: x\n    repo: y\n", "line 4, column 5: 'repo' stands twice"),
        ("!!python/object/apply:os.system [x]", "line 1, column 1: could not determine a constructor"),
        ("? [a]\n: b\n", "line 1, column 3: found unhashable key"),
        ("- shop", "holds no mapping; it begins with `projects:`"),
        ("", "holds no mapping; it begins with `projects:`"),
    ],
)
def test_what_is_no_such_file_at_all(tmp_path: Path, text: str, says: str) -> None:
    """By line and column."""
    (problem,) = problems(written(tmp_path, text))
    assert problem.startswith(says)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, a directory, no text."""
    assert problems(tmp_path / "missing.yaml") == ["cannot be read: No such file or directory"]
    assert problems(tmp_path) == ["cannot be read: Is a directory"]
    (tmp_path / "latin").write_bytes("projects: {caf\xe9: 1}".encode("latin-1"))
    assert problems(tmp_path / "latin") == ["is no text in UTF-8"]


def test_what_a_job_keeps_is_the_entry() -> None:
    """As JSON and back, with everything set; keys of an older or newer release are no harm."""
    entry = Project(
        **ENTRY,
        base="main",
        agent=Agent(command=["my-agent", "--acp"], env={"A": "b"}, label="Mine"),
        model="m",
        rounds=3,
        budget=Budget(minutes=30, usd=2.5),
        gates=["plan", "risk"],
        limits=Limits(jobs=2),
        preview_hours=1.5,
        labels=["bot"],
    )
    kept = projects.snapshot("shop", entry)
    assert kept["name"] == "shop"
    assert projects.of_snapshot(kept) == entry
    assert projects.of_snapshot(json.loads(json.dumps(kept)) | {"new_in_2031": True}) == entry
    assert projects.of_snapshot(projects.snapshot("shop", Project(**ENTRY))).agent == "claude"
