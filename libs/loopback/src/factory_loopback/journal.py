"""A file of records by key, a line a change, last write wins: a killed process loses nothing that it has answered."""

import json
from pathlib import Path
from typing import IO, Any


class Journal:
    """Keeps records in `path`, or nowhere when that is None; every record must be JSON."""

    def __init__(self, path: Path | None) -> None:
        self.records: dict[str, Any] = {}
        self._file: IO[str] | None = None
        if path:
            self.records = _read(path)
            _rewrite(path, self.records)
            self._file = path.open("a", encoding="utf-8")

    def put(self, key: str, value: Any) -> None:
        """Keeps `value` under `key`; None removes it. In the hands of the kernel when this returns."""
        if self._file:
            self._file.write(json.dumps([key, value], ensure_ascii=False) + "\n")
            self._file.flush()

    def under(self, prefix: str) -> dict[str, Any]:
        """What was found at start, by the rest of the key behind `prefix`."""
        return {key.removeprefix(prefix): value for key, value in self.records.items() if key.startswith(prefix)}

    def close(self) -> None:
        if self._file:
            self._file.close()


def _read(path: Path) -> dict[str, Any]:
    records: dict[str, Any] = {}
    if not path.exists():
        return records
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            key, value = json.loads(line)
        except ValueError:
            break  # the writer was killed in the middle of its last line
        if value is None:
            records.pop(key, None)
        else:
            records[key] = value
    return records


def _rewrite(path: Path, records: dict[str, Any]) -> None:
    """Drops what was overwritten since the last start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text("".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in records.items()), encoding="utf-8")
    fresh.replace(path)
