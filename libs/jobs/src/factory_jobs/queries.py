"""The named queries of `sql/queries.sql`."""

import re
from importlib.resources import files


def _load() -> dict[str, str]:
    text = files("factory_jobs").joinpath("sql/queries.sql").read_text()
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


QUERIES = _load()
