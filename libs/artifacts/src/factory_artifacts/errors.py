"""What can go wrong with an artifact: the class docstring is the message, the data is in attributes.

ArtifactError
├── StorageDown        nobody answers, or answers 5xx: try again later
├── StorageRefused     answered, with a refusal: credentials, bucket, policy
├── BadEndpoint        the setting cannot be an endpoint
├── NoSuchArtifact     no object has this key
├── NotStored          after the upload the storage holds something else
├── TooLarge           more bytes than the caller accepts
├── BadRange           the range begins after the end
├── BadFile            not a regular file, or it changed while it was read
├── BadKey             a part of a key that could name another object
└── BadManifest        bytes that are no evidence manifest
"""

from typing import Any, ClassVar


class ArtifactError(Exception):
    """Artifact storage failed: {reason}."""

    code: ClassVar[str] = "artifact_error"
    retry: ClassVar[bool] = False  # is the same call worth repeating later

    def __init__(self, **facts: Any) -> None:
        for name, value in facts.items():
            setattr(self, name, value)
        super().__init__((type(self).__doc__ or self.code).format_map(facts))


class StorageDown(ArtifactError):
    """Artifact storage at {endpoint} does not answer ({reason}). Check that it runs, and FACTORY_S3_ENDPOINT."""

    code = "storage_down"
    retry = True
    endpoint: str
    reason: str


class StorageRefused(ArtifactError):
    """Artifact storage at {endpoint} refused ({reason}). Check the bucket, the keys and what they may do."""

    code = "storage_refused"
    endpoint: str
    reason: str


class BadEndpoint(ArtifactError):
    """{endpoint!r} is no storage endpoint; write http://host:port or https://host, without path or user."""

    code = "bad_endpoint"
    endpoint: str


class NoSuchArtifact(ArtifactError):
    """No artifact is stored under {key!r}."""

    code = "no_such_artifact"
    key: str


class NotStored(ArtifactError):
    """{key!r}: {size} bytes were sent, the storage holds {found}. Upload it again."""

    code = "not_stored"
    retry = True
    key: str
    size: int
    found: int


class TooLarge(ArtifactError):
    """{key!r} is larger than the {max_bytes} bytes accepted here; read it with get_file or stream."""

    code = "artifact_too_large"
    key: str
    max_bytes: int


class BadRange(ArtifactError):
    """{key!r} has no byte {offset}: the range begins after its end."""

    code = "bad_range"
    key: str
    offset: int


class BadFile(ArtifactError):
    """{path} cannot be stored: {reason}."""

    code = "bad_file"
    path: str
    reason: str


class BadKey(ArtifactError):
    """{value!r} cannot be the {part} of an artifact's key; it has to match {pattern}."""

    code = "bad_key"
    part: str
    value: str
    pattern: str


class BadManifest(ArtifactError):
    """These bytes are no evidence manifest: {reason}."""

    code = "bad_manifest"
    reason: str
