"""Reading a bare repository: commits, trees, files, diffs. Nothing of its configuration or hooks is run."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from . import diff as diffs
from .diff import Diff
from .errors import FileTooLarge, GitFailed, GitTooOld, MergeConflict, NoSuchFile, NoSuchRef, TooMuchOutput
from .runner import MIB, Output, git

_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NOT_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/.]|\.lock$|[/.]$")


class Entry(msgspec.Struct, frozen=True):
    """An entry of a tree: file (mode 100644, or 100755 when executable), symbolic link (120000), submodule (160000)."""

    path: str
    mode: str
    sha: str
    size: int  # bytes; of a link its target's length, of a submodule 0

    @property
    def is_file(self) -> bool:
        """Whether `read` gives it: links and submodules are no files."""
        return self.mode.startswith("100")


class Commit(msgspec.Struct, frozen=True):
    """A commit as written; its author is whatever was put there."""

    sha: str
    parents: list[str]
    author: str
    email: str
    at: str  # ISO 8601, the author's time zone
    subject: str
    body: str


class Merge(msgspec.Struct, frozen=True):
    """What git makes of two commits: a tree, in which the files in `conflicts` hold both sides between markers.

    The markers name the two commits. Of what has no lines (a deletion, a binary file) one side stands there alone.
    """

    ours: str
    theirs: str
    tree: str
    conflicts: tuple[str, ...]
    says: tuple[str, ...]  # a sentence for each conflict, in git's words


class Repository:
    """The reading side of a bare repository, whoever owns it: nothing of its configuration or hooks is run."""

    _heads = "refs/heads/"

    def __init__(self, path: Path) -> None:
        self.path = path

    async def resolve(self, ref: str) -> str:
        """The commit that a branch, a full ref name or a hash names. Raises NoSuchRef."""
        missing = NoSuchRef(ref=ref[:200], where=str(self.path))
        if not ref or _NOT_IN_REF.search(ref):
            raise missing
        names = [ref] if ref.startswith("refs/") else [self._heads + ref, f"refs/factory/{ref}"]
        if re.fullmatch(r"[0-9a-f]{7,64}", ref):
            names.append(ref)
        for name in names:
            found = await git(self.path, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", ok=(0, 1, 128))
            if found.status == 0:
                return found.stdout.decode().strip()
        raise missing

    async def tips(self) -> list[str]:
        """Every branch with its commit, as `<sha> <ref>`."""
        out = await git(self.path, "for-each-ref", "--format=%(objectname) %(refname)", self._heads)
        return out.stdout.decode(errors="replace").splitlines()

    async def default_branch(self) -> str:
        """The branch that HEAD names. Raises NoSuchRef where HEAD names none."""
        head = await git(self.path, "symbolic-ref", "--quiet", "--short", "HEAD", ok=(0, 1, 128))
        if head.status:
            raise NoSuchRef(ref="HEAD", where=str(self.path))
        return head.stdout.decode().strip()

    async def branches(self, prefix: str) -> dict[str, str]:
        """Branches whose name begins with `prefix`, which ends with a `/`, each with the commit at which it stands."""
        ref = self._heads + prefix
        out = await git(self.path, "for-each-ref", "--format=%(refname) %(objectname)", ref)
        found = (line.split(" ") for line in out.stdout.decode().splitlines())
        return {name.removeprefix(self._heads): sha for name, sha in found}

    async def files(self, sha: str) -> list[Entry]:
        """Every file at a commit, by path. Raises NoSuchRef."""
        out = await self._at([sha], "ls-tree", "-r", "-z", "-l", "--full-tree")
        return [_entry(record) for record in out.stdout.split(b"\0") if record]

    async def read(self, sha: str, path: str, max_bytes: int = MIB) -> bytes:
        """The content of a regular file at a commit. Raises NoSuchFile (also for a link), FileTooLarge, NoSuchRef."""
        missing = NoSuchFile(path=path[:200], sha=sha)
        if not path or "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
            raise missing
        await self.resolve(whole_hash(sha))
        out = await git(self.path, "ls-tree", "-z", "-l", "--full-tree", sha, path)
        entry = _entry(out.stdout.rstrip(b"\0")) if out.stdout else None
        if entry is None or not entry.is_file or entry.path != path:
            raise missing
        if entry.size > max_bytes:
            raise FileTooLarge(path=path, size=entry.size, max_bytes=max_bytes)
        return (await git(self.path, "cat-file", "blob", entry.sha, max_bytes=max_bytes)).stdout

    async def diff(self, base: str, head: str, max_bytes: int = 4 * MIB) -> Diff:
        """What differs from `base` to `head` (two commits; take `merge_base` first for a branch's own changes).

        All files are listed; of the patch the first `max_bytes`, then `truncated` is set. Attributes, drivers and
        converters of the repository have no say. Raises NoSuchRef.
        """
        command = ("diff-tree", "-r", "-M", "-l", "2000", "--no-ext-diff", "--no-textconv", "--no-color")
        listed = await self._at([base, head], *command, "-z", "--raw", "--numstat")
        truncated = False
        try:
            patch = (await git(self.path, *command, "-p", "--full-index", base, head, max_bytes=max_bytes)).stdout
        except TooMuchOutput as cut:
            truncated, patch = True, cut.printed[: cut.printed.rfind(b"\n") + 1]
        files = diffs.with_hunks(diffs.parse_files(listed.stdout), patch)
        text = patch.decode(errors="replace")
        return Diff(base=base, head=head, files=files, patch=text, truncated=truncated)

    async def merge_base(self, one: str, other: str) -> str:
        """The best common ancestor. Raises NoSuchRef where there is none."""
        found = await self._at([one, other], "merge-base", ok=(0, 1))
        if found.status:
            raise NoSuchRef(ref=f"merge base of {one} and {other}", where=str(self.path))
        return found.stdout.decode().strip()

    async def is_ancestor(self, ancestor: str, sha: str) -> bool:
        """Whether `sha` holds everything of `ancestor`; a commit is its own ancestor. Raises NoSuchRef."""
        found = await self._at([ancestor, sha], "merge-base", "--is-ancestor", ok=(0, 1))
        return found.status == 0

    async def log(self, base: str, head: str) -> list[Commit]:
        """The commits of `head` that `base` lacks, newest first. Raises NoSuchRef."""
        form = "--format=tformat:%H%x00%P%x00%an%x00%ae%x00%aI%x00%s%x00%b"
        command = ("log", "-z", "--topo-order", "--no-show-signature", "--no-color", "--no-ext-diff", form)
        for sha in (base, head):
            await self.resolve(whole_hash(sha))
        out = await git(self.path, *command, f"{base}..{head}")
        words = out.stdout.decode(errors="replace").split("\0")
        commits = zip(*[iter(words)] * 7, strict=False)
        return [Commit(sha, parents.split(), *rest) for sha, parents, *rest in commits]

    async def behind(self, sha: str, tip: str) -> int:
        """How many commits `tip` holds that `sha` lacks. Raises NoSuchRef."""
        for each in (sha, tip):
            await self.resolve(whole_hash(each))
        return int((await git(self.path, "rev-list", "--count", f"{sha}..{tip}")).stdout)

    async def try_merge(self, ours: str, theirs: str) -> Merge:
        """Merges two commits without a branch or a checkout; nothing but objects is written.

        No driver, filter or attribute of the repository has a say. Raises NoSuchRef, GitTooOld (before git 2.38).
        """
        for sha in (ours, theirs):
            await self.resolve(whole_hash(sha))  # of what is not there it says the same as of a conflict
        command = ("merge-tree", "--write-tree", "--allow-unrelated-histories", "--name-only", "-z")
        try:
            out = await git(self.path, *command, ours, theirs, ok=(0, 1))
        except GitFailed as error:
            if error.status == 129:  # it knows no such option
                raise GitTooOld(command=command[0]) from error
            raise
        tree, *rest = out.stdout.decode(errors="replace").split("\0")
        end = rest.index("")  # after the paths, or where nothing follows
        return Merge(ours, theirs, tree, tuple(rest[:end]), tuple(_conflicts(rest[end + 1 :])))

    async def commit_tree(self, tree: str, parents: Sequence[str], message: str, name: str, email: str) -> str:
        """Writes a commit that no ref names yet. Raises NoSuchRef."""
        above = [word for parent in parents for word in ("-p", await self.resolve(whole_hash(parent)))]
        who: dict[str, str] = {}
        for role in ("AUTHOR", "COMMITTER"):
            who |= {f"GIT_{role}_NAME": name, f"GIT_{role}_EMAIL": email}
        made = await git(self.path, "commit-tree", whole_hash(tree), *above, stdin=message.encode(), env=who)
        return made.stdout.decode().strip()

    async def merge(self, branch: str, sha: str, message: str, author: str) -> str:
        """Puts a merge commit of `branch` and `sha` on `branch` and returns it. Raises MergeConflict, NoSuchRef."""
        tip = await self.resolve(f"refs/heads/{branch}")
        tried = await self.try_merge(tip, sha)
        if tried.conflicts:
            raise MergeConflict(branch=branch, sha=sha, paths=", ".join(tried.conflicts))
        merged = await self.commit_tree(tried.tree, [tip, sha], message, author, f"{author}@localhost")
        await git(self.path, "update-ref", f"refs/heads/{branch}", merged, tip)
        return merged

    async def with_markers(self, sha: str, merge: Merge) -> list[str]:
        """The files at `sha` in which a marker of this merge is left, by path. Raises NoSuchRef."""
        await self.resolve(whole_hash(sha))
        markers = (f"^<<<<<<< {merge.ours}", f"^>>>>>>> {merge.theirs}")
        wanted = [word for marker in markers for word in ("-e", marker)]
        out = await git(self.path, "grep", "-l", "-z", "-I", "--full-name", *wanted, sha, ok=(0, 1))
        found = out.stdout.decode(errors="replace").split("\0")
        return [line.removeprefix(f"{sha}:") for line in found if line]

    async def _at(self, commits: Sequence[str], *args: str, ok: Sequence[int] = (0,)) -> Output:
        """A call about commits, whole hashes, which follow `args`. Raises NoSuchRef for one that is not there."""
        for sha in commits:
            whole_hash(sha)
        try:
            return await git(self.path, *args, *commits, ok=ok)
        except GitFailed:
            for sha in commits:
                await self.resolve(sha)
            raise


def whole_hash(value: str) -> str:
    """`value` itself where it is a whole hash, so that it can be nothing else to git. Raises NoSuchRef."""
    if not _SHA.fullmatch(value):
        raise NoSuchRef(ref=value[:200], where="full commit hashes")
    return value


def _conflicts(fields: Sequence[str]) -> Iterator[str]:
    """Reads the messages of `git merge-tree -z` (git-merge-tree(1)): a count, as many paths, a kind, a sentence."""
    left = iter(fields)
    for count in left:
        if not count.isdigit():
            return
        for _ in range(int(count)):
            next(left)
        kind, sentence = next(left), next(left)
        if kind.startswith("CONFLICT"):
            yield sentence.strip()


def _entry(record: bytes) -> Entry:
    facts, path = record.split(b"\t", 1)
    mode, _kind, sha, size = facts.decode().split()
    return Entry(path.decode(errors="replace"), mode, sha, 0 if size == "-" else int(size))
