"""The evidence of one commit as data: what was run, what came out, and which files show it."""

import hashlib

import msgspec

from .errors import BadManifest

VERSION = 1


class File(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact that belongs to the evidence."""

    kind: str  # video, screenshot, trace, log …: the <kind> of its key
    name: str
    key: str
    sha256: str
    size: int  # bytes
    content_type: str


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    """One test suite of the repo's contract, as it ran at the commit."""

    name: str
    ok: bool
    passed: int
    failed: int
    skipped: int = 0
    ms: int = 0
    log: str = ""  # sha256 of its log among the files


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One browser scenario, as it was filmed at the commit."""

    name: str
    ok: bool
    criteria: list[str] = []  # c1 …
    error: str = ""  # the step that failed and why
    starts_ms: int = 0  # its chapter in the video
    ms: int = 0


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence of `head_sha`. Numbers are whole, times milliseconds, so that its JSON has one form."""

    job_id: str
    base_sha: str
    head_sha: str
    epoch: int  # the lease under which it was proved
    proved_in: str  # "agent-sandbox" until there is a clean room
    files: list[File] = []
    suites: list[Suite] = []
    scenarios: list[Scenario] = []
    version: int = VERSION

    def to_bytes(self) -> bytes:
        """Canonical JSON after RFC 8785: sorted keys, no white space, UTF-8. Lists are in the order of names.

        The same evidence gives the same bytes, whoever collected it in whatever order.
        """
        ordered = msgspec.structs.replace(
            self,
            files=sorted(self.files, key=lambda file: (file.kind, file.name, file.sha256)),
            suites=sorted(self.suites, key=lambda suite: suite.name),
            scenarios=sorted(self.scenarios, key=lambda scenario: scenario.name),
        )
        return msgspec.json.encode(ordered, order="sorted")

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Manifest":
        """Raises BadManifest for other JSON, an unknown version, or bytes that are not in canonical form."""
        try:
            manifest = msgspec.json.decode(data, type=cls)
        except msgspec.DecodeError as error:
            raise BadManifest(reason=str(error)) from error
        if manifest.version != VERSION:
            raise BadManifest(reason=f"version {manifest.version}, this reads {VERSION}")
        if manifest.to_bytes() != data:
            raise BadManifest(reason="not in canonical form, so its hash says nothing")
        return manifest
