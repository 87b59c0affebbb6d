"""People and the base move under a job: real git, a real local forge, an agent that does what it likes."""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from factory_builder import checkpoint, feedback, merging
from factory_forge.errors import CheckoutBroken
from factory_forge.git import Mirror
from factory_forge.inside import GitInside
from factory_forge.local import LocalForge
from factory_jobs import events as ev
from factory_jobs.job import Pull

NOW = datetime.now(UTC)


def git(directory: Path, *args: str) -> str:
    command = ["git", "-C", str(directory), "-c", "user.name=Ada", "-c", "user.email=ada@example.com", *args]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{args}: {done.stderr}"
    return done.stdout.strip()


@pytest.fixture
async def mirror(tmp_path: Path, remote: Path) -> Mirror:
    mirror = await Mirror.open(tmp_path / "mirror.git", str(remote))
    await mirror.fetch()
    return mirror


@pytest.fixture
def forge(remote: Path, work: Any) -> LocalForge:
    work.job = msgspec.structs.replace(work.job, repo=str(remote))
    return LocalForge(remote, "software-factory", "http://factory:8080")


@pytest.fixture
async def first(work: Any, clone: Path, inside: GitInside) -> str:
    """What a first round has made and what held: app.py says 2."""
    (clone / "app.py").write_text("2\n")
    made = await inside.commit(work.job.base_sha, "Add a page")
    key = await checkpoint.save(work, inside, made.sha)
    await work.put_round(work.job, commit=made.sha, parent=work.job.base_sha, bundle=key)
    work.job = msgspec.structs.replace(work.job, work_sha=made.sha, state="video_recorded")
    return made.sha


@pytest.fixture
def pushes(person: Path, work: Any) -> Callable[..., str]:
    """A person's commit on a branch, made of what the branch holds there, else of the base."""

    def push(files: dict[str, str], *, branch: str = "", force: bool = False) -> str:
        branch = branch or work.job.branch
        there = git(person, "ls-remote", "origin", f"refs/heads/{branch}").split("\t")[0]
        if there:
            git(person, "fetch", "-q", "origin", branch)
        git(person, "checkout", "-q", "--detach", (there if not force else "") or work.job.base_sha)
        for name, text in files.items():
            (person / name).write_text(text)
        git(person, "add", "-A")
        git(person, "commit", "-q", "-m", "by hand")
        git(person, "push", "-q", *(["-f"] if force else []), "origin", f"HEAD:refs/heads/{branch}")
        return git(person, "rev-parse", "HEAD")

    return push


def decide(work: Any, sha: str, answer: str = "mine") -> None:
    """As intake and the machine write the answer down."""
    work.decided.append({"kind": "question:push", "sha": sha, "answer": answer})
    work.job = msgspec.structs.replace(work.job, state="implementation_in_progress", round=work.job.round + 1)


def next_round(work: Any, event: ev.Event) -> None:
    assert isinstance(event, ev.FellBack), event
    facts = {**event.facts, "state": "implementation_in_progress", "round": work.job.round + 1}
    work.job = msgspec.structs.replace(work.job, **facts)


def recorded(work: Any, event: ev.Event) -> str:
    """The round's commit, which tests and browser then let through."""
    assert isinstance(event, ev.Done), event
    work.job = msgspec.structs.replace(work.job, **event.facts, state="video_recorded")
    return work.job.work_sha


def parents(mirror: Mirror, sha: str) -> list[str]:
    return git(mirror.path, "--git-dir=.", "log", "-1", "--format=%P", sha).split()


def at(repository: Path, ref: str, path: str) -> str:
    return git(repository, "--git-dir=.", "show", f"{ref}:{path}")


# ── mine on top ───────────────────────────────────────────────────────────────


async def test_a_push_in_mid_round_is_asked_about(
    work: Any, here: Any, forge: LocalForge, first: str, pushes: Callable[..., str]
) -> None:
    """Nothing is pushed over it, and no pull request is opened before somebody has said what shall stand."""
    theirs = pushes({"notes.txt": "x\n"})
    asked = await here().video_recorded(work)
    assert isinstance(asked, ev.Asked)
    assert (asked.ask, asked.sha) == ("question:push", theirs)
    assert [answer for answer, _ in asked.options] == ["mine", "theirs"]
    assert await forge.tip(work.job.branch) == theirs
    assert await forge.pulls() == []


async def test_mine_on_top_without_a_conflict(
    work: Any, here: Any, mirror: Mirror, clone: Path, remote: Path, forge: LocalForge, first: str, pushes: Any
) -> None:
    """No agent's turn is wasted on it: the merge is the round, is proved again and pushed forward."""
    theirs = pushes({"notes.txt": "by hand\n"})
    decide(work, theirs)
    handlers = here()
    both = recorded(work, await handlers.implementation_in_progress(work))
    assert handlers.turns == 0
    assert parents(mirror, both) == [first, theirs]
    assert ((clone / "app.py").read_text(), (clone / "notes.txt").read_text()) == ("2\n", "by hand\n")
    (_, made) = await work.rounds("")
    assert (made.commit, made.parent, made.merges, made.outcome) == (both, first, theirs, "merged")
    git(remote, "--git-dir=.", "config", "receive.denyNonFastForwards", "true")
    done = await handlers.video_recorded(work)
    assert isinstance(done, ev.Done)
    assert await forge.tip(work.job.branch) == both
    (pull,) = await forge.pulls()
    assert pull.head_sha == both


async def test_the_merge_is_found_again(work: Any, here: Any, mirror: Mirror, first: str, pushes: Any) -> None:
    """Whoever goes on from its commit makes no second one, and a place that is made anew gets it as a checkpoint."""
    decide(work, pushes({"notes.txt": "x\n"}))
    handlers = here()
    both = recorded(work, await handlers.implementation_in_progress(work))
    again = await handlers.implementation_in_progress(work)
    assert isinstance(again, ev.Done)
    assert again.facts == {"work_sha": both}
    assert await checkpoint.key_of(work, both) in work.kept


async def test_a_message_meanwhile_is_given_to_the_agent(
    work: Any, here: Any, mirror: Mirror, clone: Path, first: str, pushes: Any
) -> None:
    """Together with what was merged in; its change and the merge are one commit."""
    theirs = pushes({"notes.txt": "x\n"})
    decide(work, theirs)
    work.said = [SimpleNamespace(read_by=None, text="Make it blue.")]
    handlers, told = here(), []

    def agent(merge: str) -> None:
        told.append(merge)
        (clone / "blue.py").write_text("x\n")

    handlers.agent = agent
    both = recorded(work, await handlers.implementation_in_progress(work))
    assert "without a conflict" in told[0]
    assert parents(mirror, both) == [first, theirs]
    assert at(mirror.path, both, "blue.py") == "x"


async def test_mine_on_top_with_a_conflict(
    work: Any, here: Any, mirror: Mirror, clone: Path, forge: LocalForge, first: str, pushes: Any
) -> None:
    """The agent gets the tree with the markers and the files by name; one that is left is sent back, and the next round
    goes on where the tree stands."""
    theirs = pushes({"app.py": "3\n", "notes.txt": "x\n"})
    decide(work, theirs)
    handlers, seen = here(), []

    def half(merge: str) -> None:
        seen.append((merge, (clone / "app.py").read_text()))
        (clone / "mine.py").write_text("x\n")

    handlers.agent = half
    back = await handlers.implementation_in_progress(work)
    merge, text = seen[0]
    assert "somebody has pushed" in merge
    assert "- app.py" in merge
    assert "notes.txt" not in merge
    assert text == f"<<<<<<< {first}\n2\n=======\n3\n>>>>>>> {theirs}\n"
    assert "Conflict markers are left" in back.feedback
    assert "- app.py" in back.feedback
    assert back.facts == {}, "the work is what it was"
    next_round(work, back)

    def whole(merge: str) -> None:
        assert "- app.py" in merge
        assert (clone / "mine.py").exists(), "what the last round has done is not lost"
        (clone / "app.py").write_text("2 and 3\n")

    handlers.agent = whole
    both = recorded(work, await handlers.implementation_in_progress(work))
    assert parents(mirror, both) == [first, theirs]
    assert (at(mirror.path, both, "app.py"), at(mirror.path, both, "notes.txt")) == ("2 and 3", "x")
    assert len(await mirror.log(first, both)) == 2, "theirs and the merge: no commit with markers is in the past"
    assert isinstance(await handlers.video_recorded(work), ev.Done)
    assert await forge.tip(work.job.branch) == both


@pytest.mark.parametrize("way", ["abort", "commit", "orphan", "reset", "checkout theirs"])
async def test_whatever_the_agent_does_with_git(
    work: Any, here: Any, mirror: Mirror, clone: Path, first: str, pushes: Any, way: str
) -> None:
    """The round's commit holds both, ours first."""
    theirs = pushes({"app.py": "3\n"})
    decide(work, theirs)
    handlers = here()

    def agent(merge: str) -> None:
        match way:
            case "abort":
                git(clone, "reset", "-q", "--hard", first)
            case "commit":
                git(clone, "commit", "-q", "-a", "--amend", "-m", "mine alone")
            case "orphan":
                git(clone, "checkout", "-q", "--orphan", "fresh")
                git(clone, "branch", "-D", work.job.branch)
            case "reset":
                git(clone, "update-ref", f"refs/heads/{work.job.branch}", work.job.base_sha)
            case "checkout theirs":
                git(clone, "checkout", "-q", theirs)
        (clone / "app.py").write_text("both\n")

    handlers.agent = agent
    both = recorded(work, await handlers.implementation_in_progress(work))
    assert parents(mirror, both) == [first, theirs]
    assert at(mirror.path, both, "app.py") == "both"


async def test_a_merge_that_is_interrupted(
    work: Any, here: Any, mirror: Mirror, clone: Path, inside: GitInside, first: str, pushes: Any
) -> None:
    """What was resolved by then is saved with both parents; whoever goes on resolves the rest, as one commit."""
    theirs = pushes({"app.py": "3\n", "other.py": "3\n"})
    (clone / "other.py").write_text("2\n")
    second = (await inside.commit(first, "second")).sha
    work.job = msgspec.structs.replace(work.job, round=2)
    await work.put_round(work.job, commit=second, parent=first, bundle=await checkpoint.save(work, inside, second))
    work.job = msgspec.structs.replace(work.job, work_sha=second)
    decide(work, theirs)
    handlers, work.facts = here(), {}
    merge = await merging.begin(work, inside, mirror, second, await work.rounds(""))
    (clone / "app.py").write_text("2 and 3\n")
    await handlers._save_unproved(work, second, merge)
    half = work.facts["work_sha"]
    work.job = msgspec.structs.replace(work.job, work_sha=half)
    seen = []

    def agent(merge: str) -> None:
        seen.append((clone / "app.py").read_text())
        (clone / "other.py").write_text("2 and 3\n")

    handlers.agent = agent
    both = recorded(work, await handlers.implementation_in_progress(work))
    assert seen == ["2 and 3\n"]
    assert parents(mirror, both) == [second, theirs]
    assert (at(mirror.path, both, "app.py"), at(mirror.path, both, "other.py")) == ("2 and 3", "2 and 3")


async def test_theirs_moves_again(
    work: Any, here: Any, forge: LocalForge, first: str, pushes: Callable[..., str]
) -> None:
    """The question comes again, about the new commit; the answer to it is what counts then."""
    handlers = here()
    decide(work, pushes({"notes.txt": "x\n"}))
    recorded(work, await handlers.implementation_in_progress(work))
    newer = pushes({"more.txt": "x\n"})
    asked = await handlers.video_recorded(work)
    assert isinstance(asked, ev.Asked)
    assert asked.sha == newer
    decide(work, newer)
    both = recorded(work, await handlers.implementation_in_progress(work))
    assert isinstance(await handlers.video_recorded(work), ev.Done)
    assert await forge.tip(work.job.branch) == both
    assert handlers.turns == 0


async def test_a_push_that_was_taken_back_before_anybody_saw_it(
    work: Any, here: Any, remote: Path, forge: LocalForge, first: str, pushes: Any
) -> None:
    """There is nothing to merge any more: the work goes out as it is, after another proof."""
    theirs = pushes({"notes.txt": "x\n"})
    decide(work, theirs)
    git(remote, "--git-dir=.", "update-ref", "-d", f"refs/heads/{work.job.branch}")
    git(remote, "--git-dir=.", "prune", "--expire=now")
    assert recorded(work, await here().implementation_in_progress(work)) == first
    assert isinstance(await here().video_recorded(work), ev.Done)
    assert await forge.tip(work.job.branch) == first


# ── theirs ────────────────────────────────────────────────────────────────────


def proving(work: Any, sha: str, **facts: Any) -> None:
    work.job = msgspec.structs.replace(work.job, work_sha=sha, verify=True, state="dev_environment_ready", **facts)


async def test_theirs_is_proved_without_an_agent(
    work: Any, here: Any, clone: Path, forge: LocalForge, first: str, pushes: Any
) -> None:
    """The sandbox stands at their commit, which is on the branch already; then the pull request is opened for it."""
    theirs = pushes({"notes.txt": "x\n"})
    proving(work, theirs)
    handlers = here()
    assert isinstance(await handlers.dev_environment_ready(work), ev.Done)
    assert (clone / "notes.txt").exists()
    assert (clone / "app.py").read_text() == "1\n"
    assert recorded(work, await handlers.implementation_in_progress(work)) == theirs
    assert isinstance(await handlers.video_recorded(work), ev.Done)
    (pull,) = await forge.pulls()
    assert pull.head_sha == theirs


async def test_a_newer_push_while_theirs_is_proved(
    work: Any, here: Any, forge: LocalForge, first: str, pushes: Any
) -> None:
    """Is what is proved next, and nobody is asked; what was taken off the branch is not put back."""
    older = pushes({"notes.txt": "x\n"})
    newer = pushes({"notes.txt": "y\n"}, force=True)
    proving(work, older)
    handlers = here()
    for state in (handlers.dev_environment_ready, handlers.video_recorded):
        assert await state(work) == ev.PersonPushed(head=newer)
    assert await forge.tip(work.job.branch) == newer


async def test_mending_builds_on_the_persons_commit(
    work: Any, here: Any, mirror: Mirror, clone: Path, person: Path, forge: LocalForge, first: str
) -> None:
    """On whatever history it lies: here somebody has begun the branch anew, without the base."""
    git(person, "checkout", "-q", "--orphan", "fresh")
    git(person, "mv", "app.py", "fresh.py")
    git(person, "commit", "-q", "-a", "-m", "from nothing")
    git(person, "push", "-q", "origin", f"HEAD:refs/heads/{work.job.branch}")
    theirs = git(person, "rev-parse", "HEAD")
    proving(work, theirs)
    handlers = here()
    await handlers.dev_environment_ready(work)
    await work.put_round(work.job, feedback="Suite `unit` failed.")
    work.job = msgspec.structs.replace(work.job, verify=False, round=2)
    handlers.agent = lambda merge: (clone / "fresh.py").write_text("mended\n") and None
    mended = recorded(work, await handlers.implementation_in_progress(work))
    assert parents(mirror, mended) == [theirs]


# ── the base moves ────────────────────────────────────────────────────────────


async def test_a_base_that_moved_without_a_conflict(
    work: Any, here: Any, forge: LocalForge, first: str, pushes: Any
) -> None:
    """Nothing is done but to say so."""
    pushes({"other.txt": "x\n"}, branch="main")
    assert isinstance(await here().video_recorded(work), ev.Done)
    (pull,) = await forge.pulls()
    assert pull.head_sha == first
    assert "`main` has moved by 1 commit that this was not proved with; git merges them" in pull.body
    assert "other.txt" not in pull.body


async def test_a_base_that_conflicts_is_brought_in(
    work: Any, here: Any, mirror: Mirror, clone: Path, forge: LocalForge, first: str, pushes: Any
) -> None:
    """Before the push, in a round of its own; then a person can merge the pull request, and it shows this job's change
    alone."""
    tip = pushes({"app.py": "3\n", "other.txt": "x\n"}, branch="main")
    handlers, told = here(), []
    back = await handlers.video_recorded(work)
    assert isinstance(back, ev.FellBack)
    assert "main has moved" in back.feedback
    assert "app.py" in back.feedback
    assert await forge.pulls() == []
    next_round(work, back)

    def agent(merge: str) -> None:
        told.append(merge)
        (clone / "app.py").write_text("2 and 3\n")

    handlers.agent = agent
    both = recorded(work, await handlers.implementation_in_progress(work))
    assert told[0].startswith("The base branch, which has moved,")
    assert parents(mirror, both) == [first, tip]
    assert isinstance(await handlers.video_recorded(work), ev.Done)
    (pull,) = await forge.pulls()
    assert pull.head_sha == both
    assert "other.txt" not in pull.body
    assert "moved" not in pull.body
    await forge.mark_ready(pull.number)
    assert (await forge.merge_pull(pull.number)).state == "merged"


async def test_a_base_that_conflicts_when_the_rounds_are_used_up(
    work: Any, here: Any, forge: LocalForge, first: str, pushes: Any
) -> None:
    """What was proved is not thrown away: the pull request says where it conflicts."""
    pushes({"app.py": "3\n"}, branch="main")
    work.job = msgspec.structs.replace(work.job, rounds_max=work.job.round)
    assert isinstance(await here().video_recorded(work), ev.Done)
    (pull,) = await forge.pulls()
    assert "It conflicts with `main`, which has moved on, in `app.py`" in pull.body


async def test_a_follow_up_begins_with_a_base_that_conflicts(
    work: Any, here: Any, mirror: Mirror, clone: Path, first: str, pushes: Any
) -> None:
    """Its first round gets the request and the conflict together."""
    tip = pushes({"app.py": "3\n"}, branch="main")
    work.job = msgspec.structs.replace(work.job, request_no=2, round=1, proved_sha=first)
    handlers = here()

    def agent(merge: str) -> None:
        assert "- app.py" in merge
        (clone / "app.py").write_text("2, 3 and more\n")

    handlers.agent = agent
    both = recorded(work, await handlers.implementation_in_progress(work))
    assert parents(mirror, both) == [first, tip]


async def test_a_base_that_does_not_conflict_any_more(
    work: Any, here: Any, forge: LocalForge, first: str, pushes: Any
) -> None:
    """Between the look at the push and the round somebody has mended it: the work is proved again, by no agent."""
    pushes({"app.py": "3\n"}, branch="main")
    handlers = here()
    next_round(work, await handlers.video_recorded(work))
    pushes({"app.py": "1\n"}, branch="main")
    assert recorded(work, await handlers.implementation_in_progress(work)) == first
    assert handlers.turns == 0


# ── the rest ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["merged", "closed"])
async def test_a_pull_request_that_is_over(
    work: Any, here: Any, mirror: Mirror, clone: Path, inside: GitInside, forge: LocalForge, first: str, how: str
) -> None:
    """Nothing is pushed to its branch any more, and no second one is opened: the job hears what has happened."""
    await mirror.fetch()
    done = await here().video_recorded(work)
    assert isinstance(done, ev.Done)
    pull = await forge.mark_ready(1)
    work.job = msgspec.structs.replace(work.job, pr=Pull(**done.facts["pr"]), round=2)
    (clone / "app.py").write_text("4\n")
    later = (await inside.commit(first, "later")).sha
    await work.put_round(work.job, commit=later, parent=first, bundle=await checkpoint.save(work, inside, later))
    work.job = msgspec.structs.replace(work.job, work_sha=later)
    await (forge.merge_pull(1) if how == "merged" else forge.close_pull(1))
    event = await here().video_recorded(work)
    assert event.kind == how
    assert await forge.tip(work.job.branch) == pull.head_sha
    assert len(await forge.pulls()) == 1


async def test_an_agent_that_breaks_its_repository(work: Any, here: Any, clone: Path, first: str) -> None:
    """The place is lost, not the round: in the next place the agent is told what became of its work."""
    work.job = msgspec.structs.replace(work.job, round=2)
    work.said = [SimpleNamespace(read_by=None, text="More.")]
    handlers = here()
    handlers.agent = lambda merge: subprocess.run(["rm", "-rf", str(clone / ".git")], check=True) and None
    with pytest.raises(CheckoutBroken) as e:
        await handlers.implementation_in_progress(work)
    assert e.value.code == "sandbox-lost"
    assert feedback.before(await work.rounds(""), 1, 2) == feedback.NO_REPOSITORY
