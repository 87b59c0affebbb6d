"""The evidence of a commit has one form, so that its hash means something."""

import hashlib
import json

import pytest
from factory_artifacts.errors import BadManifest
from factory_artifacts.manifest import File, Manifest, Scenario, Suite


def file(kind: str, name: str) -> File:
    return File(kind=kind, name=name, key=f"k/{name}", sha256="ab" * 32, size=7, content_type="text/plain")


FILES = [file("video", "a.mp4"), file("log", "b.log"), file("log", "a.log")]
SUITES = [Suite(name="unit", ok=True, passed=3, failed=0, ms=1200), Suite(name="e2e", ok=False, passed=1, failed=1)]
SCENARIOS = [Scenario(name="Søk", ok=True, criteria=["c1", "c2"], starts_ms=10, ms=900)]


def manifest(**changes: object) -> Manifest:
    facts = {
        "job_id": "jabcdefghi2",
        "base_sha": "a" * 40,
        "head_sha": "b" * 40,
        "epoch": 4,
        "proved_in": "agent-sandbox",
        "files": FILES,
        "suites": SUITES,
        "scenarios": SCENARIOS,
    }
    return Manifest(**{**facts, **changes})  # pyright: ignore[reportArgumentType]


def test_canonical() -> None:
    """The bytes are sorted, unspaced UTF-8 JSON, and the order of collecting does not show."""
    data = manifest().to_bytes()
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert manifest(files=FILES[::-1], suites=SUITES[::-1]).to_bytes() == data
    assert manifest().sha256 == hashlib.sha256(data).hexdigest()


def test_what_differs_hashes_differently() -> None:
    """Another head, result or file is another manifest."""
    hashes = {
        manifest().sha256,
        manifest(head_sha="c" * 40).sha256,
        manifest(suites=SUITES[:1]).sha256,
        manifest(files=FILES[:2]).sha256,
    }
    assert len(hashes) == 4


def test_round_trip() -> None:
    """Read back it is the same evidence."""
    again = Manifest.from_bytes(manifest().to_bytes())
    assert again.to_bytes() == manifest().to_bytes()
    assert again.scenarios[0].name == "Søk"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        manifest().to_bytes() + b"\n",
        manifest().to_bytes().replace(b'"version":1', b'"version":2'),
        manifest().to_bytes().replace(b'"size":7', b'"size":7.5'),
        manifest().to_bytes().replace(b'{"base_sha"', b'{"zzz":1,"base_sha"'),
    ],
    ids=["nothing", "empty", "no-utf8", "not-canonical", "other-version", "fraction", "unknown-key"],
)
def test_what_is_no_manifest(data: bytes) -> None:
    """Anything else is refused with the reason."""
    with pytest.raises(BadManifest) as caught:
        Manifest.from_bytes(data)
    assert caught.value.reason
