"""Job ids: `j` and ten characters of lower-case base32, the same in subject, branch, host label, path and S3 key."""

import base64
import re
import secrets

PATTERN = re.compile(r"j[a-z2-7]{10}")


def new_job_id() -> str:
    return "j" + base64.b32encode(secrets.token_bytes(7)).decode().lower()[:10]


def is_job_id(text: str) -> bool:
    return PATTERN.fullmatch(text) is not None
