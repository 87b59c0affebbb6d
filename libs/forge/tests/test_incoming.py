"""The rules for what a sandbox hands out, one by one."""

import io

import pytest
from factory_forge.errors import LinkEscapes, NotABundle, PathRefused, SubmoduleAdded
from factory_forge.incoming import Change, check_change, check_link, read_changes, read_header

A, B = "a" * 40, "b" * 40


def test_header() -> None:
    """What a bundle needs and brings is read, and reading stops at the pack's first byte."""
    file = io.BytesIO(f"# v3 git bundle\n@object-format=sha1\n-{A} a subject\n{B} refs/heads/x y\n\nPACK".encode())
    header = read_header(file)
    assert (header.needs, header.heads) == ([A], {"refs/heads/x y": B})
    assert file.read() == b"PACK"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PACK",
        b"# v4 git bundle\n\n",
        b"# v2 git bundle\n",
        b"# v2 git bundle\n" + A.encode(),
        b"# v2 git bundle\nshort refs/heads/x\n\n",
        b"# v3 git bundle\n@object-format=sha256\n\n",
        b"# v3 git bundle\n@filter=blob:none\n\n",
        b"# v2 git bundle\n" + b"x" * 100_000,
        b"# v2 git bundle\n" + f"{A} refs/heads/x\n".encode() * 3000 + b"\n",
    ],
)
def test_no_header(data: bytes) -> None:
    """Everything else is no bundle, however long it is."""
    with pytest.raises(NotABundle):
        read_header(io.BytesIO(data))


def test_changes() -> None:
    """Plain and merge entries are read: mode and blob are the result's."""
    raw = f":100644 100755 {A} {B} M\0a b\0::100644 100644 120000 {A} {A} {B} MM\0c\nd\0".encode()
    assert list(read_changes(raw)) == [Change("100755", B, b"a b"), Change("120000", B, b"c\nd")]


@pytest.mark.parametrize(
    "path", ["a", "src/a.py", ".github/workflows/x.yml", ".gitignore", "a/.gitkeep", "git", "ä/ß", "..."]
)
def test_paths_that_pass(path: str) -> None:
    """Ordinary names, also those that begin like .git."""
    check_change(Change("100644", A, path.encode()))


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        "a/.GIT/hooks/x",
        "a/.git",
        "git~1/x",
        "GIT~1",
        ".git./x",
        ".git /x",
        ".git::$INDEX_ALLOCATION/config",
        ".gi\u200ct/x",
        ".\ufeffgit/x",
        "a/../b",
        "./a",
        "a//b",
        "/a",
        "a/",
        "a\\..\\b",
        "a\nb",
        "a\x7f",
        "x" * 1025,
        ".gitmodules",
        ".GitModules",
    ],
)
def test_paths_that_do_not(path: str) -> None:
    """Names that reach .git, climb, or cannot be shown, whatever the file system."""
    with pytest.raises(PathRefused) as caught:
        check_change(Change("100644", A, path.encode()))
    assert caught.value.reason


def test_modes() -> None:
    """Files, links and deletions pass; a submodule and odd modes do not; deleting a bad name is welcome."""
    for mode in ("100644", "100755", "120000"):
        check_change(Change(mode, A, b"a"))
    check_change(Change("000000", A, b".git/config"))
    with pytest.raises(SubmoduleAdded):
        check_change(Change("160000", A, b"vendor/x"))
    for mode in ("100664", "040000", "010644"):
        with pytest.raises(PathRefused):
            check_change(Change(mode, A, b"a"))
    with pytest.raises(PathRefused, match="UTF-8"):
        check_change(Change("100644", A, b"\xff"))


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("l", "a"),
        ("l", "./a//b"),
        ("a/l", "../b"),
        ("a/b/l", "../../c"),
        ("a/l", ".."),
        ("l", "..."),
        ("l", "a/.github"),
    ],
)
def test_links_that_stay(path: str, target: str) -> None:
    """Down from where they lie, or up no further than the root."""
    check_link(path, target)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("l", ""),
        ("l", "/etc/passwd"),
        ("l", ".."),
        ("l", "../x"),
        ("a/l", "../../x"),
        ("a/l", "./../../x"),
        ("l", "a/../../x"),
        ("a/b/c/l", "d/../../y"),
        ("l", ".git/config"),
        ("a/l", "../.GIT/config"),
        ("l", "a\\..\\..\\x"),
    ],
)
def test_links_that_leave(path: str, target: str) -> None:
    """Out, possibly out through another link, or into .git."""
    with pytest.raises(LinkEscapes):
        check_link(path, target)
