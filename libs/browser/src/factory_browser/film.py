"""One film: pictures as they come, at constant rate, into ffmpeg while it happens; H.264 MP4 with chapters at the end.

A picture stands until the next one. The film's clock runs between `roll` and `cut` only, so that loading and clearing up
are not in it. A film has two areas: the stage (the page, or a card) and under it a strip for captions; ffmpeg stacks
them from two pipes, so that a caption never covers the app nor touches its page.
"""

import asyncio
import os
import queue
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import imageio_ffmpeg

from factory_browser.errors import FilmFailed

FPS = 20
BACKLOG = 10 * FPS  # pictures that wait for a slow encoder before new ones are left out


@dataclass(slots=True)
class Chapter:
    """A stretch of the film, in seconds. One for each criterion; those of one scenario share theirs."""

    title: str
    criterion: str | None
    scenario: str
    start: float = 0.0
    end: float = 0.0

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "title": self.title,
            "criterion": self.criterion,
            "scenario": self.scenario,
            "start": round(self.start, 2),
            "end": round(self.end, 2),
        }


@dataclass(slots=True)
class Video:
    """A finished film, as ffmpeg reads it back from the file."""

    path: Path
    seconds: float
    codec: str
    width: int
    height: int
    frames: int
    chapters: list[Chapter] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "path": str(self.path),
            "seconds": self.seconds,
            "codec": self.codec,
            "width": self.width,
            "height": self.height,
            "frames": self.frames,
            "chapters": [c.as_dict() for c in self.chapters],
        }


class Pipe:
    """One of ffmpeg's inputs, fed by a thread of its own: ffmpeg reads them in an order that only it knows."""

    def __init__(self) -> None:
        self.end, self._mine = os.pipe()
        self._shots: queue.SimpleQueue[tuple[bytes, int] | None] = queue.SimpleQueue()
        self.done: asyncio.Task[None] | None = None

    def start(self) -> None:
        """After ffmpeg has got its `end`."""
        os.close(self.end)
        self.done = asyncio.create_task(asyncio.to_thread(self._feed))

    @property
    def waiting(self) -> int:
        """Pictures that ffmpeg did not take yet."""
        return self._shots.qsize()

    def put(self, picture: bytes, frames: int) -> None:
        """This picture, for so many frames."""
        self._shots.put((picture, frames))

    def close(self) -> None:
        """No more pictures come."""
        self._shots.put(None)

    def _feed(self) -> None:
        with os.fdopen(self._mine, "wb", buffering=0) as pipe:
            try:
                while shot := self._shots.get():
                    for _ in range(shot[1]):
                        left = memoryview(shot[0])
                        while left:
                            left = left[pipe.write(left) :]
            except BrokenPipeError:
                return  # an encoder that is gone is told by its exit code


class Film:
    """`async with Film(path, (1280, 720), strip=48) as film: film.caption(jpeg); film.stage(jpeg); film.roll(); …`.

    `size` is the whole picture, both numbers even; `strip` the height of the captions, even, at its foot. JPEGs of other
    sizes are fitted in. `finish` ends the film and raises FilmFailed; leaving without it throws the film away.
    """

    def __init__(self, path: Path, size: tuple[int, int], strip: int) -> None:
        self.path = path
        self._size, self._strip_height = size, strip
        self._raw = path.with_suffix(".raw.mp4")
        self._stage: bytes | None = None
        self._strip: bytes | None = None
        self._rolling_since: float | None = None
        self._before = 0.0  # seconds of film before the last `roll`
        self._frames = 0  # counted so far
        self._owed = 0  # counted, but their pictures were left out: the next shot is longer by them

    async def __aenter__(self) -> Self:
        self._stages, self._strips = Pipe(), Pipe()
        width, height = self._size
        self._ffmpeg = await asyncio.create_subprocess_exec(
            imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y",
            *_jpegs(self._stages.end), *_jpegs(self._strips.end),
            "-filter_complex",
            f"[0:v]{_fit(width, height - self._strip_height)}[s];[1:v]{_fit(width, self._strip_height)}[c];[s][c]vstack",
            "-c:v", "libx264", "-preset", "veryfast", "-threads", "2", "-g", str(2 * FPS), "-an", str(self._raw),
            stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, pass_fds=(self._stages.end, self._strips.end),
        )  # fmt: skip
        self._stages.start()
        self._strips.start()
        self._complaints = asyncio.create_task(_read(self._ffmpeg))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stages.close()
        self._strips.close()
        if self._ffmpeg.returncode is None:
            self._ffmpeg.kill()
        await asyncio.gather(self._ended(), self._complaints, self._ffmpeg.wait(), return_exceptions=True)
        self._raw.unlink(missing_ok=True)

    @property
    def position(self) -> float:
        """Seconds of film so far."""
        return self._at(time.time())

    def stage(self, jpeg: bytes, at: float | None = None) -> None:
        """Shows a picture from the time `at` (seconds since 1970; None: now) on."""
        self._fill(time.time() if at is None else at)
        self._stage = jpeg

    def caption(self, jpeg: bytes) -> None:
        """Shows a picture in the strip from now on."""
        self._fill(time.time())
        self._strip = jpeg

    def roll(self) -> None:
        """The clock runs."""
        if self._rolling_since is None:
            self._rolling_since = time.time()

    def cut(self) -> None:
        """The clock stands; what was shown last has at least one frame."""
        now = time.time()
        self._fill(now)
        self._before, self._rolling_since = self._at(now), None

    async def finish(self, chapters: list[Chapter]) -> Video:
        """Writes the film with its chapters, the index first so that it plays while it loads."""
        self.cut()
        if not self._frames:
            raise FilmFailed("nothing was shown")
        self._fill_owed()
        self._stages.close()
        self._strips.close()
        await self._ended()
        code, complaints = await self._ffmpeg.wait(), await self._complaints
        if code:
            raise FilmFailed(complaints or f"ffmpeg ended with {code}")
        metadata = self.path.with_suffix(".chapters")
        metadata.write_text(_metadata(chapters))
        try:
            await _ffmpeg(
                "-y", "-i", str(self._raw), "-f", "ffmetadata", "-i", str(metadata), "-map", "0:v", "-map_metadata", "1",
                "-map_chapters", "1", "-c", "copy", "-movflags", "+faststart", str(self.path),
            )  # fmt: skip
        finally:
            metadata.unlink()
        video = await probe(self.path)
        video.chapters = chapters
        return video

    async def _ended(self) -> None:
        for pipe in (self._stages, self._strips):
            if pipe.done:
                await pipe.done

    def _at(self, now: float) -> float:
        return self._before + (max(0.0, now - self._rolling_since) if self._rolling_since is not None else 0.0)

    def _fill(self, until: float) -> None:
        """Hands what is shown to the writer, for each frame that is due."""
        due = int(self._at(until) * FPS) - self._frames
        if due <= 0 or self._stage is None or self._strip is None:
            return
        self._frames += due
        self._owed += due
        if self._stages.waiting < BACKLOG:
            self._fill_owed()

    def _fill_owed(self) -> None:
        if self._owed and self._stage and self._strip:
            self._stages.put(self._stage, self._owed)
            self._strips.put(self._strip, self._owed)
            self._owed = 0


async def probe(path: Path) -> Video:
    """What ffmpeg says of a film (without its chapters). Raises FilmFailed where that is no H.264 in yuv420p."""
    said = await _ffmpeg("-i", str(path), "-map", "0:v", "-c", "copy", "-f", "null", "-", level="info")
    duration = re.search(r"Duration: (\d+):(\d\d):(\d\d\.\d+)", said)
    stream = re.search(r"Video: (\w+).*?, (yuv\w+).*?, (\d+)x(\d+)", said)
    frames = re.findall(r"frame=\s*(\d+)", said)
    if not (duration and stream and frames) or stream[1] != "h264" or stream[2] != "yuv420p":
        raise FilmFailed(f"{path.name} is not the film it should be: {said[-1000:]}")
    seconds = int(duration[1]) * 3600 + int(duration[2]) * 60 + float(duration[3])
    return Video(path, seconds, stream[1], int(stream[3]), int(stream[4]), int(frames[-1]))


def _jpegs(fd: int) -> list[str]:
    at_once = ["-probesize", "32", "-analyzeduration", "0"]  # a first look at some seconds of pictures is not needed
    return ["-f", "image2pipe", *at_once, "-c:v", "mjpeg", "-framerate", str(FPS), "-i", f"pipe:{fd}"]


def _fit(width: int, height: int) -> str:
    fitted = f"scale={width}:{height}:force_original_aspect_ratio=decrease:out_range=tv"
    return f"{fitted},pad={width}:{height}:-1:-1,setsar=1,format=yuv420p"


async def _read(process: asyncio.subprocess.Process) -> str:
    assert process.stderr
    return (await process.stderr.read()).decode(errors="replace")[-2000:]


async def _ffmpeg(*arguments: str, level: str = "error") -> str:
    """Runs ffmpeg to its end; what it said. Raises FilmFailed."""
    process = await asyncio.create_subprocess_exec(
        imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", level, "-nostdin", *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        said = (await process.communicate())[1].decode(errors="replace")
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise FilmFailed(said[-2000:] or f"ffmpeg ended with {process.returncode}")
    return said


def _metadata(chapters: list[Chapter]) -> str:
    """ffmetadata (https://ffmpeg.org/ffmpeg-formats.html#Metadata-2): one chapter for each stretch."""
    lines = [";FFMETADATA1"]
    for chapter in {(c.start, c.end): c for c in reversed(chapters)}.values():
        title = re.sub(r"([=;#\\])", r"\\\1", " ".join(chapter.title.split()))
        times = f"START={round(chapter.start * 1000)}\nEND={round(chapter.end * 1000)}"
        lines.append(f"[CHAPTER]\nTIMEBASE=1/1000\n{times}\ntitle={title}")
    return "\n".join([*lines[:1], *reversed(lines[1:])]) + "\n"
