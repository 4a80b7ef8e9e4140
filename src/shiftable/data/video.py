"""Videos, a frame at a time: decoded in order, with every frame kept no longer than whoever reads it keeps it.

Decoded by FFmpeg, through PyAV (the extra ``video``). Colours are converted as FFmpeg does by default, which is what
OpenCV and PyAV give as well: a file that does not name its matrix is taken for BT.601, whatever its size.
"""

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from shiftable.data.decoding import Picture
from shiftable.data.images import read_labels
from shiftable.errors import InputError, missing_extra

VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m2v", ".ts", ".m2ts", ".mts"),
        *(".wmv", ".flv", ".ogv", ".3gp", ".mxf", ".h264", ".h265", ".hevc", ".y4m"),
    )
)

TODO = "give a video that plays, as .mp4 or .mkv"
REPAIR = "encode it anew, or leave it out"

NO_VIDEO = ("image2", "tty")
"""What FFmpeg would play too: single pictures, and text as a terminal shows it."""

SHORT_BY = 3
"""By how many frames a file may be shorter than it says, before it counts as cut short."""

BY_PLANES = frozenset(("yuv444p", "yuvj444p", "yuv444p10le"))
"""What FFmpeg converts to planes of red, green and blue in half to a sixth of the time that it needs for pixels. The
levels are the same."""


class Frame(NamedTuple):
    """One frame of a video."""

    number: int
    """From 0, in the order in which they are shown."""
    time_s: float
    """When it is shown, in s after the first."""
    picture: Picture
    """RGB, uint8, upright."""


@dataclass(frozen=True)
class Video:
    """One video of a data set.

    Args:
        id: Its name, unique in the data set and the same on every machine.
        path: The file.
        label: The index of its class, or None where it is not known.
        frame_labels: The classes of single frames, by their numbers, where they have labels of their own.
    """

    id: str
    path: Path
    label: int | None = None
    frame_labels: Mapping[int, int] | None = None

    def label_at(self, frame: int) -> int | None:
        """The class of one frame."""
        return self.label if self.frame_labels is None else self.frame_labels.get(frame)


@dataclass(frozen=True)
class Probe:
    """What a file says about its video, before it is decoded.

    Args:
        fps: Frames per second in the mean, or None.
        size: (height, width) in px, as stored.
        frames: How many there should be, or None.
    """

    fps: float | None
    size: tuple[int, int]
    frames: int | None


def find_videos(source: str | Path) -> list[Video]:
    """The videos that ``source`` names, in a fixed order, none of them opened.

    Args:
        source: A file, or a folder, searched to the bottom but for what is hidden.

    Raises:
        InputError: If there is nothing there, or nothing that looks like a video.
    """
    root = Path(source)
    if not root.exists():
        raise InputError("no such file or folder", where=source, todo="give a video, or a folder of videos")
    if not root.is_dir():
        return [Video(root.name, root)]
    within = [(path.relative_to(root), path) for path in root.rglob("*") if path.is_file()]
    seen = [(name, path) for name, path in within if not any(part.startswith(".") for part in name.parts)]
    found = sorted((name.as_posix(), path) for name, path in seen if path.suffix.lower() in VIDEO_SUFFIXES)
    if not found:
        raise InputError(f"no videos among {len(seen)} files", where=root, todo="give a folder that holds .mp4 files")
    return [Video(name, path) for name, path in found]


def probe(path: str | Path) -> Probe:
    """What a file says about its video.

    Raises:
        InputError: If it can't be read, or holds no video.
    """
    with _opened(path) as (container, stream):
        fps, seconds = _fps(stream), _seconds(container, stream)
        frames = stream.frames or (round(seconds * fps) if seconds and fps else None)
        return Probe(fps, (stream.height, stream.width), frames)


def read_frames(path: str | Path) -> Iterator[Frame]:
    """The frames of a video, in the order in which they are shown; one is in memory at a time.

    They are turned as the file says a player should. FFmpeg decodes in as many threads as it likes; the pixels do not
    depend on that.

    Raises:
        InputError: If the file can't be read, holds no video or no frame of it, changes its size midway, or is damaged
            or cut short: then all whole frames before that have been given.
    """
    number, size, start, last = 0, None, None, 0.0
    with _opened(path) as (container, stream):
        from av.video.reformatter import VideoReformatter

        stream.thread_type = "AUTO"
        reformatter, fps = VideoReformatter(), _fps(stream) or 25.0  # one for all: it keeps what it has set up
        for frame in _decoded(path, container, stream):
            if size not in (None, (frame.height, frame.width)):
                was, now = (f"{width}×{height}" for height, width in (size or (), (frame.height, frame.width)))
                raise InputError(f"frame {number} is {now} px, those before are {was} px", where=path, todo=REPAIR)
            size = frame.height, frame.width
            start = frame.time if start is None else start
            seconds = number / fps if frame.time is None else float(frame.time - start)
            last = max(last, seconds)
            shape = "gbrp" if frame.format.name in BY_PLANES else "rgb24"
            picture = reformatter.reformat(frame, format=shape).to_ndarray()  # pixels, of either
            yield Frame(number, last, _upright(picture, frame.rotation))
            number += 1
    if not number:
        raise InputError("the video has no frames", where=path, todo=TODO)


def read_video_labels(path: str | Path) -> tuple[dict[str, int], dict[str, dict[int, int]]]:
    """A table of labels of videos, as `read_labels`, or of their frames: with a column ``frame``, a line for each.

    Returns:
        The classes of videos, and those of single frames; one of the two is empty.

    Raises:
        InputError: As `read_labels`; and for a frame that is no whole number, or is there twice.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            columns = set(rows.fieldnames or [])
            if not {"file", "class_index", "frame"} <= columns:
                return read_labels(path), {}
            found: dict[str, dict[int, int]] = {}
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                try:
                    frame, label = int(row["frame"]), int(row["class_index"])
                except (TypeError, ValueError):
                    pair = f"frame {row['frame']!r}, class_index {row['class_index']!r}"
                    raise InputError(f"{pair}: no whole numbers", where=where, todo="count both from 0") from None
                if frame in found.setdefault(row["file"], {}):
                    raise InputError(f"frame {frame} of {row['file']} is there twice", where=where, todo="leave one")
                found[row["file"]][frame] = label
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"can't be read ({error})", where=path, todo="give a CSV with file,class_index") from None
    if not found:
        raise InputError("the table has no rows", where=path, todo="give a CSV with file,frame,class_index")
    return {}, found


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Any, Any]]:
    """The container and its video stream, closed afterwards."""
    try:
        import av
    except ImportError:
        raise missing_extra("av", "video") from None

    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        if not Path(path).is_file():
            raise InputError("no such file", where=path, todo="give a video") from None
        raise InputError(f"no readable video ({_words(error)})", where=path, todo=TODO) from None
    with container:
        if container.format.name in NO_VIDEO or container.format.name.endswith("_pipe"):
            raise InputError("a picture or text, no video", where=path, todo=TODO)
        if not container.streams.video:
            raise InputError("no video in it (sound only)", where=path, todo=TODO)
        yield container, container.streams.video[0]


def _decoded(path: str | Path, container: Any, stream: Any) -> Iterator[Any]:
    """The decoder's frames. At damage, first the whole frames that are still on their way in it, then the error."""
    import av

    number, end = 0, 0
    damage: str | None = None
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:
                damage = "incomplete data"
                break
            if packet.pts is not None:
                end = max(end, packet.pts + (packet.duration or 0))
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise _damaged(path, number, "incomplete data")
                yield frame
                number += 1
    except av.error.FFmpegError as error:
        damage = _words(error)
    if damage:
        try:
            for frame in stream.codec_context.decode(None):
                yield frame
                number += 1
        except av.error.FFmpegError:
            pass
        raise _damaged(path, number, damage)
    seconds, fps = _seconds(container, stream), _fps(stream)
    if stream.duration is None and seconds and fps and number:
        # Matroska's demuxer says nothing where the file ends too early
        missing = seconds - float((end - (stream.start_time or 0)) * stream.time_base)
        if missing > SHORT_BY / fps:
            raise _damaged(path, number, f"{missing:.1f} of {seconds:.1f} s are missing")


def _damaged(path: str | Path, number: int, why: str) -> InputError:
    return InputError(f"damaged or cut short at frame {number} ({why})", where=path, todo=REPAIR)


def _fps(stream: Any) -> float | None:
    """Frames per second in the mean; of a bare stream without times, what its encoder noted."""
    rate = (stream.average_rate if stream.duration is not None else None) or stream.guessed_rate or stream.average_rate
    return float(rate) if rate else None


def _seconds(container: Any, stream: Any) -> float | None:
    """How long the video should be, where the file says so."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if "DURATION" in stream.metadata:  # Matroska, 00:00:03.000000000
        try:
            hours, minutes, seconds = map(float, stream.metadata["DURATION"].split(":"))
        except ValueError:
            return None
        return 3600 * hours + 60 * minutes + seconds
    alone = len(container.streams) == 1  # else it may be the sound that is as long
    return container.duration / 1e6 if container.duration and alone else None


def _upright(picture: UInt8[np.ndarray, "stored_height stored_width 3"], degrees: int) -> Picture:
    """The picture turned as a player would; players ignore what is no quarter turn, or do as they like."""
    turns = round(degrees / 90) % 4 if degrees % 90 == 0 else 0
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def _words(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
