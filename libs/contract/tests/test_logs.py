"""Log files: stamped, turned over, read again merged, followed."""

import os
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


def test_where_writing_goes_on_a_line_says_what_is_missing(tmp_path: Path) -> None:
    """A disk that was full for a while: what was there before stays whole, what came after is there again."""
    path = tmp_path / "a.log"
    log = logs.Log(path)
    log.feed(b"before\n")

    class Full:
        """Takes ten bytes more, as a disk that becomes full does, and then none."""

        room = 10

        def write(self, data: bytes) -> int:
            if not self.room:
                raise OSError(28, "No space left on device")
            with path.open("ab") as f:
                return f.write(data[: self.room])

        def close(self) -> None:
            pass

    writing, log._file = log._file, Full()  # pyright: ignore
    log.feed(b"half of this\n")
    Full.room = 0
    log.feed(b"none of this\n")
    lost = log.lost
    log._file = writing
    log.feed(b"after\n")
    texts = [line.text for line in logs.read(tmp_path, ["a"], logs.Wanted())]
    assert texts[0] == "before"
    assert texts[-2:] == [f"[factory] {lost} bytes are missing here: they could not be written", "after"]
    assert lost == 2 * len("2026-01-01T00:00:00.000Z half of this\n") - 10
    log.close()


def test_old_files_are_not_read_for_what_is_new(tmp_path: Path) -> None:
    """`--since` passes over files that were written last before that."""
    (tmp_path / "a.log.1").write_text("2999-01-01T00:00:00.000Z told by a file that nobody has touched since\n")
    os.utime(tmp_path / "a.log.1", (0, 0))
    (tmp_path / "a.log").write_text("2999-01-01T00:00:01.000Z new\n")
    assert [line.text for line in logs.read(tmp_path, ["a"], logs.wanted(None, None, "5m"))] == ["new"]


def test_following_misses_nothing_and_tells_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there is read, what comes is followed, whatever turned over between; a service that comes later is seen too."""
    monkeypatch.setattr(logs, "MAX_BYTES", 300)
    log = logs.Log(tmp_path / "a.log")
    numbers = iter(range(1000))

    def feed(lines: int) -> None:
        for _ in range(lines):
            log.feed(f"line {next(numbers)}\n".encode())

    feed(5)
    follower = logs.Follower(tmp_path, None, logs.Wanted())
    feed(15)  # the file turns over between the two looks
    before = logs.read(tmp_path, ["a"], logs.Wanted(), before=follower)
    assert [line.text for line in before] == [f"line {n}" for n in range(5)]
    batches = iter(
        [lambda: feed(1), lambda: feed(20), lambda: (tmp_path / "b.log").write_text("2026-01-01T00:00:02.000Z other\n")]
    )
    monkeypatch.setattr(logs.time, "sleep", lambda _: next(batches)())
    texts = [line.text for line in islice(follower.lines(), 15 + 1 + 20 + 1)]
    assert texts == [*(f"line {n}" for n in range(5, 41)), "other"]
    log.close()


def test_following_a_log_that_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `clean` and another start there is another file of the same name."""
    path = tmp_path / "a.log"
    path.write_text("2026-01-01T00:00:01.000Z old\n")
    follower = logs.Follower(tmp_path, ["a"], logs.Wanted())

    def anew(_: float) -> None:
        path.unlink()
        path.write_text("2026-01-01T00:00:02.000Z new\n")

    monkeypatch.setattr(logs.time, "sleep", anew)
    assert next(follower.lines()).text == "new"
