"""The images of a repair; of a video some of its frames, so that it is chosen by what a camera really saw."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from shiftable.data import Sample, find_samples
from shiftable.data.video import VIDEO_SUFFIXES, probe, read_frames
from shiftable.errors import InputError

MOST = 64
"""How many frames are taken: more of one video say little more."""


def is_video(source: object) -> bool:
    """Whether this names a video file."""
    return isinstance(source, str | Path) and Path(source).suffix.lower() in VIDEO_SUFFIXES


def find_images(source: str | Path | Sequence[Sample], folder: Path | None, count: int | None) -> list[Sample]:
    """The images that a source names.

    Args:
        source: As `find_samples` takes it, samples, or a video file.
        folder: Where frames of a video go; None takes no video.
        count: Only the first so many.

    Raises:
        InputError: If there are none.
    """
    if not isinstance(source, str | Path):
        return list(source)[:count]
    return frames_of(source, folder, count) if folder and is_video(source) else find_samples(source, count)


def frames_of(video: str | Path, folder: Path, count: int | None) -> list[Sample]:
    """Frames of a video, equally far apart, written as PNG once.

    Args:
        video: The file.
        folder: Where they go.
        count: How many at most, if fewer than ``MOST``.

    Raises:
        InputError: If it can't be read, or has no frame.
    """
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        wanted = min(count or MOST, MOST)
        every = max(1, (probe(video).frames or wanted) // wanted)
        taken = 0
        for frame in read_frames(video):
            if taken == wanted:
                break
            if frame.number % every == 0:
                Image.fromarray(frame.picture).save(folder / f"{frame.number:07d}.png")
                taken += 1
        if not taken:
            raise InputError("has no frame", where=video, todo="give another video")
        (folder / "done").touch()
    return find_samples(folder)
