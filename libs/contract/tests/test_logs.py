"""Log files: stamped, turned over, read again merged, followed."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from factory_contract import logs
from factory_contract.errors import BadPattern, Usage


def test_lines_have_the_time_and_colours_are_kept_out_of_tails(tmp_path: Path) -> None:
    """Output comes in any pieces; a last line without an end is a line when the log is closed."""
    log = logs.Log(tmp_path / "a.log")
    log.feed(b"one\r\ntw")
    log.feed(b"o \x1b[31mred\x1b[0m\nrest")
    assert log.tail() == ["one", "two red", "rest"]
    log.close()
    found = logs.read(tmp_path, ["a"], logs.Wanted())
    assert [line.text for line in found] == ["one", "two red", "rest"]
    assert all(line.at.endswith("Z") and line.at[4] == "-" for line in found)


def test_files_turn_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most four files of the size, the newest lines in the last; reading goes over all of them in order."""
    monkeypatch.setattr(logs, "MAX_BYTES", 1000)
    log = logs.Log(tmp_path / "a.log")
    for n in range(200):
        log.feed(f"line {n}\n".encode())
    log.close()
    files = sorted(p.name for p in tmp_path.iterdir())
    assert files == ["a.log", "a.log.1", "a.log.2", "a.log.3"]
    assert all(p.stat().st_size <= 1000 for p in tmp_path.iterdir())
    numbers = [int(line.text.split()[1]) for line in logs.read(tmp_path, ["a"], logs.Wanted())]
    assert numbers == list(range(numbers[0], 200))
    assert logs.services(tmp_path) == ["a"]


def test_a_full_disk_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    """What could not be written is counted."""
    (tmp_path / "a.log").symlink_to("/dev/full")
    log = logs.Log(tmp_path / "a.log")
    log.feed(b"lost\n")
    assert log.lost > 0
    assert log.tail() == ["lost"]
    log.close()


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    """Memory stays bounded."""
    log = logs.Log(tmp_path / "a.log")
    log.feed(b"x" * (3 * logs.LONGEST + 10))
    log.close()
    assert [len(line.text) for line in logs.read(tmp_path, ["a"], logs.Wanted())] == [logs.LONGEST] * 3 + [10]


def test_reading_merges_and_chooses(tmp_path: Path) -> None:
    """Lines of several services by time; tail counts what matches."""
    (tmp_path / "a.log").write_text("2026-01-01T00:00:01.000Z one\n2026-01-01T00:00:03.000Z three\n")
    (tmp_path / "b.log").write_text("2026-01-01T00:00:02.000Z two\n2999-01-01T00:00:00.000Z later\n")
    assert [line.text for line in logs.read(tmp_path, ["a", "b"], logs.Wanted())] == ["one", "two", "three", "later"]
    assert [line.text for line in logs.read(tmp_path, ["a", "b"], logs.wanted(1, "^t", None))] == ["three"]
    assert [line.text for line in logs.read(tmp_path, ["a", "b"], logs.wanted(None, None, "5m"))] == ["later"]
    with pytest.raises(BadPattern):
        logs.wanted(None, "[", None)
    with pytest.raises(Usage):
        logs.wanted(None, None, "soon")


def test_following_goes_on_after_a_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are seen as they come, also when the file was turned over or only then appears."""
    monkeypatch.setattr(logs, "MAX_BYTES", 60)
    log = logs.Log(tmp_path / "a.log")
    log.feed(b"before\n")
    seen: Iterator[logs.Line] = logs.follow(tmp_path, ["a", "b"], logs.Wanted(), pause=0.01)
    (tmp_path / "b.log").touch()
    ends = islice(seen, 3)
    feeder = iter([b"first\n", b"second, which is long enough to turn the file over\n"])

    def feed_on(_: float) -> None:
        if (data := next(feeder, None)) is not None:
            log.feed(data)
        else:
            (tmp_path / "b.log").write_text("2026-01-01T00:00:02.000Z other\n")

    monkeypatch.setattr(logs.time, "sleep", feed_on)
    texts = [line.text for line in ends]
    assert texts[0] == "first"
    assert texts[1].startswith("second")
    assert texts[2] == "other"
    log.close()
