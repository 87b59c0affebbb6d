"""A film holds what was shown, as long as it was shown, and says its chapters."""

import asyncio
import struct
import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest
from factory_browser.errors import FilmFailed
from factory_browser.film import FPS, Chapter, Film, probe

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def jpeg(colour: str, width: int = 640, height: int = 432) -> bytes:
    picture = ["-f", "lavfi", "-i", f"color={colour}:s={width}x{height}", "-frames:v", "1", "-f", "mjpeg", "-"]
    return subprocess.run([FFMPEG, "-v", "error", *picture], capture_output=True, check=True).stdout


def colours(path: Path, at: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(stage, strip): the RGB of a pixel of each at a time."""
    raw = ["-ss", str(at), "-i", str(path), "-frames:v", "1", "-vf", "format=rgb24", "-f", "rawvideo", "-"]
    pixels = subprocess.run([FFMPEG, "-v", "error", *raw], capture_output=True, check=True).stdout
    assert len(pixels) == 640 * 480 * 3
    return tuple(pixels[640 * 3 * 100 : 640 * 3 * 100 + 3]), tuple(pixels[-3:])


def near(found: tuple[int, ...], wanted: tuple[int, int, int]) -> bool:
    return all(abs(a - b) < 12 for a, b in zip(found, wanted, strict=True))


async def test_pictures_stand_until_the_next_and_cuts_take_no_time(tmp_path: Path) -> None:
    """Red a second, blue a second, and nothing of the half second that was cut; H.264, yuv420p, constant rate."""
    red, blue, grey, white = jpeg("0xff0000"), jpeg("0x0000ff"), jpeg("0x808080", 640, 48), jpeg("0xffffff", 640, 48)
    async with Film(tmp_path / "video.mp4", (640, 480), strip=48) as film:
        film.caption(grey)
        film.stage(red)
        film.roll()
        await asyncio.sleep(1)
        film.cut()
        middle = film.position
        film.stage(blue)
        film.caption(white)
        await asyncio.sleep(0.5)
        film.roll()
        await asyncio.sleep(1)
        film.cut()
        end = film.position
        chapters = [
            Chapter("a=b; #1", "c1", "s", 0, middle),
            Chapter("two", "c2", "s", 0, middle),
            Chapter("end", None, "t", middle, end),
        ]
        video = await film.finish(chapters)
    assert (video.codec, video.width, video.height) == ("h264", 640, 480)
    assert abs(video.seconds - end) < 3 / FPS and abs(video.frames - end * FPS) < 3
    stage, strip = colours(video.path, middle / 2)
    assert near(stage, (255, 0, 0)) and near(strip, (128, 128, 128))
    stage, strip = colours(video.path, (middle + end) / 2)
    assert near(stage, (0, 0, 255)) and near(strip, (255, 255, 255))
    said = subprocess.run([FFMPEG, "-i", str(video.path)], capture_output=True, text=True, check=False).stderr
    assert [line.split(":", 1)[1].strip() for line in said.splitlines() if line.strip().startswith("title")] == [
        "a=b; #1",
        "end",
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["video.mp4"]


async def test_the_index_stands_first(tmp_path: Path) -> None:
    """`moov` before `mdat`, so that a browser plays the film while it loads."""
    async with Film(tmp_path / "video.mp4", (640, 480), strip=48) as film:
        film.caption(jpeg("black", 640, 48))
        film.stage(jpeg("white"))
        film.roll()
        await asyncio.sleep(0.3)
        content = (await film.finish([])).path.read_bytes()
    boxes, at = [], 0
    while at < len(content):
        size, name = struct.unpack(">I4s", content[at : at + 8])
        boxes.append(name)
        at += size
    assert boxes.index(b"moov") < boxes.index(b"mdat")


async def test_pictures_of_another_size_are_fitted_in(tmp_path: Path) -> None:
    """A popup's smaller picture changes neither the film's size nor its proportions."""
    async with Film(tmp_path / "video.mp4", (640, 480), strip=48) as film:
        film.caption(jpeg("black", 640, 48))
        film.stage(jpeg("white"))
        film.roll()
        await asyncio.sleep(0.3)
        film.stage(jpeg("white", 300, 301))
        await asyncio.sleep(0.3)
        video = await film.finish([])
    assert (video.width, video.height) == (640, 480)


async def test_a_film_that_is_left_is_thrown_away(tmp_path: Path) -> None:
    """Leaving without `finish` ends the encoder and leaves no file."""
    with pytest.raises(RuntimeError, match="in the middle"):
        async with Film(tmp_path / "video.mp4", (640, 480), strip=48) as film:
            film.caption(jpeg("black", 640, 48))
            film.stage(jpeg("white"))
            film.roll()
            await asyncio.sleep(0.2)
            raise RuntimeError("in the middle")
    assert list(tmp_path.iterdir()) == []


async def test_what_goes_wrong_is_said(tmp_path: Path) -> None:
    """No pictures, broken pictures and a file that is no film are FilmFailed."""
    with pytest.raises(FilmFailed, match="nothing was shown"):
        async with Film(tmp_path / "a.mp4", (640, 480), strip=48) as film:
            await film.finish([])
    with pytest.raises(FilmFailed):
        async with Film(tmp_path / "b.mp4", (640, 480), strip=48) as film:
            film.caption(b"no picture")
            film.stage(b"no picture")
            film.roll()
            await asyncio.sleep(0.2)
            await film.finish([])
    (tmp_path / "c.mp4").write_text("<html>")
    with pytest.raises(FilmFailed):
        await probe(tmp_path / "c.mp4")
