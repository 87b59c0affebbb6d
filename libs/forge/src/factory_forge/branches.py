"""The names of the factory's branches: made here, from a job's id and the request's words, and nowhere else."""

import re
import unicodedata

from .errors import BadBranchName

_ID = re.compile(r"[a-z][a-z0-9]{2,31}")
_BRANCH = re.compile(r"factory/[a-z][a-z0-9]{2,31}-[a-z0-9]+(?:-[a-z0-9]+)*")
_SLUG_MAX = 40


def branch_name(job_id: str, text: str) -> str:
    """`factory/<id>-<slug>`: at most 40 characters of `text` as lower-case ASCII words, `change` where none are left.

    Raises BadBranchName where the id is none.
    """
    if not _ID.fullmatch(job_id):
        raise BadBranchName(branch=f"factory/{job_id}")
    plain = unicodedata.normalize("NFKD", text[:400].casefold()).encode("ascii", "ignore").decode()
    slug = ""
    for word in re.findall(r"[a-z0-9]+", plain.replace("'", "")):
        if len(slug) + len(word) >= _SLUG_MAX:
            slug = slug or word[:_SLUG_MAX]
            break
        slug = f"{slug}-{word}" if slug else word
    return check_branch(f"factory/{job_id}-{slug or 'change'}")


def check_branch(branch: str) -> str:
    """`branch` itself. Raises BadBranchName for what `branch_name` cannot have made."""
    if not _BRANCH.fullmatch(branch) or len(branch) > 100:
        raise BadBranchName(branch=branch[:100])
    return branch
