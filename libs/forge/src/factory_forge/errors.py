"""What can go wrong with a repository or a forge: the class docstring is the message, the data is in attributes.

Blame comes from `factory_jobs.errors` (ours, outside, the user's repo, the agent's work, the request) and decides
between retry, report and offer; `code` is stable.
"""

from typing import Any, ClassVar

from factory_jobs.errors import FactoryError, JobError, OutsideError, RepoError, WorkError


class _Said:
    """Fills the class docstring with the facts and keeps them as attributes."""

    CODE: ClassVar[str]
    HINT: ClassVar[str] = ""

    def __init__(self, **facts: Any) -> None:
        if not isinstance(self, JobError):
            raise TypeError(f"{type(self).__name__} needs one of the five blames as its second base")
        shape = " ".join((type(self).__doc__ or self.CODE).split())
        JobError.__init__(self, shape.format_map(facts), code=self.CODE, hint=self.HINT, log_tail=facts.get("log", ""))
        for name, value in facts.items():
            setattr(self, name, value)


class GitFailed(_Said, FactoryError):
    """git {command} failed with status {status}: {log}"""

    CODE = "git_failed"
    command: str
    status: int  # of the process; negative: ended by this signal
    log: str


class GitTimeout(_Said, FactoryError):
    """git {command} took longer than {seconds} s and was ended"""

    CODE = "git_timeout"
    command: str
    seconds: float


class GitTooOld(_Said, FactoryError):
    """the git on this machine knows no {command} --write-tree: commits cannot be merged without a checkout"""

    CODE = "git_too_old"
    HINT = "Install git 2.38 or newer where builder and reviewer run."
    command: str


class TooMuchOutput(_Said, FactoryError):
    """git {command} printed more than {max_bytes} bytes and was ended"""

    CODE = "git_output"
    command: str
    max_bytes: int
    printed: bytes  # the first of it


class MirrorBusy(_Said, FactoryError):
    """the mirror {path} was locked by another process for {seconds} s"""

    CODE = "mirror_busy"
    path: str
    seconds: float


# The user's repository


class BadRepoUrl(_Said, RepoError):
    """{url!r} cannot be a repository's URL: {reason}"""

    CODE = "bad_repo_url"
    HINT = (
        "Use https://…, ssh://…, git@host:path, file:///… or an absolute path; keep user names and passwords out of it."
    )
    url: str
    reason: str


class OtherUrl(_Said, FactoryError):
    """the mirror {path} holds {found}, not {url}"""

    CODE = "mirror_of_other"
    HINT = "One mirror holds one repository; give each its own directory."
    path: str
    found: str
    url: str


class CannotClone(_Said, RepoError):
    """{url} cannot be cloned: {reason}"""

    CODE = "cannot_clone"
    HINT = "Check the URL, that the repository exists, and that the factory's account may read it."
    url: str
    reason: str


class RemoteUnreachable(_Said, OutsideError):
    """{url} does not answer: {reason}"""

    CODE = "remote_unreachable"
    url: str
    reason: str


class EmptyRepository(_Said, RepoError):
    """{url} has no commit yet, so there is nothing to start from"""

    CODE = "empty_repository"
    HINT = "Push a first commit to its default branch."
    url: str


class NoSuchRef(_Said, RepoError):
    """{ref!r} names no commit in {where}"""

    CODE = "no_such_ref"
    ref: str
    where: str


class NoSuchFile(_Said, RepoError):
    """{path} is no regular file at {sha}"""

    CODE = "no_such_file"
    path: str
    sha: str


class FileTooLarge(_Said, RepoError):
    """{path} has {size} bytes, more than the {max_bytes} that are read here"""

    CODE = "file_too_large"
    path: str
    size: int
    max_bytes: int


class PathTaken(_Said, FactoryError):
    """{path} exists already; a clone for a job is made where nothing is"""

    CODE = "path_taken"
    path: str


# What comes out of a sandbox


class BundleRefused(_Said, WorkError):
    """what came out of the sandbox is refused: {reason}"""

    CODE = "bundle_refused"
    reason: str


class NotABundle(BundleRefused):
    """the sandbox's bundle cannot be read: {reason}"""

    CODE = "not_a_bundle"


class BundleTooLarge(BundleRefused):
    """the sandbox's bundle has {size} bytes, {limit} are allowed"""

    CODE = "bundle_too_large"
    size: int
    limit: int


class NotThatCommit(BundleRefused):
    """the sandbox's bundle does not hold the commit {expect}"""

    CODE = "not_that_commit"
    expect: str


class BaseNotAncestor(BundleRefused):
    """the commit {sha} does not build on {base}"""

    CODE = "base_not_ancestor"
    sha: str
    base: str


class BrokenObjects(BundleRefused):
    """the sandbox's commits fail git's own check: {reason}"""

    CODE = "broken_objects"


class SubmoduleAdded(BundleRefused):
    """{path} would become a submodule: a repository within the repository, whose content nobody here has seen"""

    CODE = "submodule_added"
    HINT = "Remove the nested .git directory, or the change to .gitmodules."
    path: str


class PathRefused(BundleRefused):
    """the path {path} is refused: {reason}"""

    CODE = "path_refused"
    path: str


class LinkEscapes(BundleRefused):
    """the symbolic link {path} → {target} leads, or may lead, out of the repository"""

    CODE = "link_escapes"
    path: str
    target: str


class CommitTooLarge(BundleRefused):
    """{path} has {size} bytes, {limit} are allowed for one file"""

    CODE = "file_over_limit"
    path: str
    size: int
    limit: int


class TooManyFiles(BundleRefused):
    """the commits touch more than {limit} files"""

    CODE = "too_many_files"
    HINT = "Are installed packages or build results among them? They belong into .gitignore."
    limit: int


class OwnSecret(BundleRefused):
    """{path} holds one of the factory's own secrets, which a push would give away"""

    CODE = "own_secret"
    HINT = "Take it out, in whatever spelling it stands there: nothing in the repository needs it."
    path: str
    commit: str  # the first that brings it
    before: str  # its first parent


class CheckoutBroken(Exception):
    """The `.git` of a job's checkout is gone, or lacks what it was made with: nothing in it can be trusted or mended.

    It has the code of a sandbox that is lost, for so it is treated: the job is placed anew, from its checkpoint.
    """

    code = "sandbox-lost"


# Pushing


class BadBranchName(_Said, FactoryError):
    """{branch!r} is no branch name of the factory's; branch_name() makes them"""

    CODE = "bad_branch_name"
    branch: str


class ProtectedBranch(_Said, FactoryError):
    """{branch} is protected; the factory never pushes to it"""

    CODE = "protected_branch"
    branch: str


class NotFastForward(_Said, WorkError):
    """somebody pushed {theirs} to {branch}; pushing {ours} would lose it"""

    CODE = "not_fast_forward"
    branch: str
    ours: str
    theirs: str


class PushRefused(_Said, RepoError):
    """{url} refused {branch}: {reason}"""

    CODE = "push_refused"
    HINT = "Check that the factory's account may push branches named factory/… (on GitHub: Contents: write)."
    url: str
    branch: str
    reason: str


# Forges


class UnknownForge(_Said, RepoError):
    """no forge is known for {url}: {reason}"""

    CODE = "unknown_forge"
    url: str
    reason: str


class NotABareRepository(_Said, RepoError):
    """{path} is no bare git repository"""

    CODE = "not_a_bare_repository"
    HINT = "Make one with: git clone --bare <your repository> <path>.git"
    path: str


class NoIdentity(_Said, RepoError):
    """{repo} lies on {host}, where the factory has no {role}: {missing} is not set"""

    CODE = "no_identity"
    HINT = "Give it a token, or an App's id and private key; the README says which permissions they need."
    repo: str
    host: str
    role: str  # account, or reviewer
    missing: str


class SameIdentity(_Said, RepoError):
    """the reviewer is {login}, who opens the pull requests too: nobody may approve their own work"""

    CODE = "same_identity"
    HINT = "Give the reviewer a second account's token, or a second App."
    login: str


class TokenRefused(_Said, RepoError):
    """{host} does not accept {variable}: {reason}"""

    CODE = "token_refused"
    HINT = "It may have expired or been revoked: make a new one, set it, and retry the job."
    host: str
    variable: str
    reason: str


class AppNotInstalled(_Said, RepoError):
    """the App of {variable} is not installed on {repo}"""

    CODE = "app_not_installed"
    HINT = "Install it there, by its page's Install App; then retry the job."
    variable: str
    repo: str


class NotPermitted(_Said, RepoError):
    """{host} does not let {variable} {does} on {repo}: {reason}. That needs the permission {needs}"""

    CODE = "not_permitted"
    HINT = "Give the token or App that permission for this repository, and retry the job."
    host: str
    repo: str
    variable: str
    does: str
    needs: str
    reason: str


class NotThere(_Said, RepoError):
    """{host} cannot {does} on {repo}: not found, or no permission to see it. {variable} needs {needs}"""

    CODE = "not_there"
    HINT = "Check the repository's name, that the account may see it, and the permission named."
    host: str
    repo: str
    variable: str
    does: str
    needs: str


class RateLimited(_Said, OutsideError):
    """{host} takes no calls of {variable} for {retry_after:.0f} s: {reason}"""

    CODE = "rate_limited"
    host: str
    variable: str
    reason: str
    retry_after: float


class ForgeAway(_Said, OutsideError):
    """{host} did not say whether it could {does} on {repo}: {reason}"""

    CODE = "forge_away"
    host: str
    repo: str
    does: str
    reason: str
    retry_after: float


class ForgeRefused(_Said, FactoryError):
    """{host} refuses to {does} on {repo}: {reason}"""

    CODE = "forge_refused"
    host: str
    repo: str
    does: str
    reason: str


class NoSuchPull(_Said, FactoryError):
    """{repo} has no pull request #{number}"""

    CODE = "no_such_pull"
    HINT = "Or the factory's account may not see it: on GitHub that needs Pull requests (read)."
    repo: str
    number: int


class NoSuchBranch(_Said, RepoError):
    """{repo} has no branch {branch}"""

    CODE = "no_such_branch"
    repo: str
    branch: str


class NothingToPull(_Said, WorkError):
    """{branch} holds no commit that {base} lacks, so there is nothing to open a pull request for"""

    CODE = "nothing_to_pull"
    branch: str
    base: str


class PullState(_Said, FactoryError):
    """pull request #{number} is {state}: it cannot be {wanted}"""

    CODE = "pull_state"
    number: int
    state: str
    wanted: str


class SelfReview(_Said, FactoryError):
    """{author} opened #{number} and cannot {verdict} it"""

    CODE = "self_review"
    HINT = "The reviewer needs an identity of its own."
    author: str
    number: int
    verdict: str


class LineNotInDiff(_Said, FactoryError):
    """#{number} does not show line {line} of {path}, so it cannot be commented on"""

    CODE = "line_not_in_diff"
    number: int
    path: str
    line: int


class BadField(_Said, FactoryError):
    """{field} cannot be {value!r}: {reason}"""

    CODE = "bad_field"
    field: str
    value: str
    reason: str


class MergeConflict(_Said, WorkError):
    """{sha} cannot be merged into {branch} without a person: both changed {paths}"""

    CODE = "merge_conflict"
    sha: str
    branch: str
    paths: str


class RecordsBroken(_Said, FactoryError):
    """the records of pull requests in {path} cannot be used: {reason}"""

    CODE = "records_broken"
    path: str
    reason: str
