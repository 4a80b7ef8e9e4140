"""The audit of a model on videos: how often it changes its mind from one frame to the next."""

import hashlib
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from shiftable.auditing.asking import count_outputs
from shiftable.auditing.metrics import PM_K, choose_metrics
from shiftable.auditing.motions import FLAGS
from shiftable.auditing.predictions import positive_from
from shiftable.auditing.rechecking import VIEWS, rechecked
from shiftable.auditing.record import AUDIT, RUN, describe_model, start_run, write_json
from shiftable.auditing.results import Audit
from shiftable.auditing.videos.frames import Unusable, frames_of
from shiftable.auditing.videos.results import smoothing_table, sum_up_videos
from shiftable.auditing.videos.smoothing import SMOOTHINGS, setting_words
from shiftable.auditing.videos.tables import Plan, audit_one
from shiftable.data import Sample, check_labels, label_by_folder, label_by_table
from shiftable.data.video import Video, find_videos, probe, read_video_labels
from shiftable.engine import run_shards
from shiftable.errors import InputError
from shiftable.models import Model, open_model
from shiftable.models.crop_following import frame_viewer
from shiftable.models.outputs import check_background

SMOOTHING = "smoothing.json"


def audit_video(
    model: Model | str,
    videos: str | Path | Sequence[Video],
    *,
    labels: str | Path | Mapping[str, int] | None = None,
    threshold: float | None = None,
    metrics: Sequence[str] | None = None,
    controls: bool = True,
    pm_k: int = PM_K,
    smoothing: bool = True,
    count: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
    strict: bool = False,
    batch_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Show a model videos, frame by frame as it would be deployed, and count how often it changes its mind.

    Memory does not grow with the length of a video, but for the few hundred bytes that its table has for a frame. An
    audit that was stopped goes on with the first video that was not finished, and ends in the same ``audit.json``.

    Args:
        model: An open classifier, or a name for `open_model`.
        videos: A file, a folder of files, or videos.
        labels: A CSV with ``file,class_index``, with ``frame`` where frames have labels of their own; or a mapping of
            ids to classes. Most metrics need none.
        threshold: From which score on a class of a sigmoid model counts as named; None takes 0.5.
        metrics: The ones wanted; None takes all that are defined.
        controls: Also show, about once a second, what is no motion: the same view, one grey level more or less, JPEG
            quality 95. Pairs of frames that moved by less than 0.1 px are a control as well, ``unmoved``.
        pm_k: How many frames before and after one the metric `pm_k` looks at.
        smoothing: Also measure what smoothing over time would do, and how late it makes the answer; written to
            ``smoothing.json``.
        count: Only the first so many frames of each video.
        seed: Of everything drawn at random.
        out: The folder to write to; None writes to a temporary one, which goes when the result does.
        overwrite: Delete another audit that is in the folder.
        strict: Stop at a video that can't be used, instead of leaving it out.
        batch_size: Views at once; None takes the model's own.
        progress: Told (frames done, frames expected).

    Raises:
        InputError: If anything of this can't be used. Finished videos are kept, and not decoded again.
    """
    model = open_model(model) if isinstance(model, str) else model
    if model.task != "classify":
        raise InputError(f"videos are shown to classifiers so far, not for the task {model.task}", where=model.spec,
                         todo="give a classifier, or leave out --motion video")  # fmt: skip
    if pm_k < 0:
        raise InputError(f"pm_k can't be {pm_k}", todo="give 0 or more frames")
    if count is not None and count < 2:
        raise InputError(f"{count} frames hold no pair", where="--images", todo="give 2 or more")
    classes = count_outputs(model)
    found = find_videos(videos) if isinstance(videos, str | Path) else list(videos)
    source = str(videos) if isinstance(videos, str | Path) else None
    found, remarks = _labelled(found, labels, classes, source)
    labelled = any(_known(video) for video in found)
    if labelled:
        check_background(classes, getattr(model, "class_offset", 0), model.spec)
    plan = Plan(
        model, model.scores, classes, positive_from(threshold, model.scores), controls,
        SMOOTHINGS if smoothing else (), count, seed, strict,
    )  # fmt: skip
    names = choose_metrics("frames", labelled, metrics, model.scores)
    asked = _asked(plan, found, source, pm_k)
    watched = [dict(setting_words(one)) for one in plan.smoothings]
    options = {"controls": controls, "strict": strict, "metrics": names, "count": count, "smoothing": watched}

    folder = Path(out) if out else Path(tempfile.mkdtemp(prefix="shiftable-"))
    run = start_run(folder, {**asked, "options": options}, model, batch_size, overwrite)
    batch_size = int(run["settings"]["batch_size"])
    exact: Model | None = getattr(model, "exact", None)
    recheck = exact and rechecked(
        model, exact, _first_views(plan, found), top5=labelled, seed=seed, positive_from=plan.threshold
    )
    answering = recheck or model
    remarks = [*getattr(model, "remarks", ()), *(recheck.remarks if recheck else ()), *remarks]
    begin, answered = time.perf_counter(), [0]

    def ask(views: np.ndarray) -> np.ndarray:
        answered[0] += len(views)
        return answering(views)

    tick = _ticker(found, folder / "predictions", count, progress)
    run_shards(
        [[(number, video)] for number, video in enumerate(found)],
        folder / "predictions",
        load=lambda numbered: numbered,
        work=partial(audit_one, plan, ask, batch_size, tick),
        workers=1,
    )
    tick(None)
    result = sum_up_videos(folder, asked, names, remarks, controls)
    if smoothing:
        write_json(folder / SMOOTHING, {"schema": 1, "rows": smoothing_table(folder, plan.smoothings, pm_k, seed)})
    write_json(folder / AUDIT, result.to_json())
    if answered[0]:
        seconds = time.perf_counter() - begin
        pace = {"seconds": seconds, "views": answered[0], "views_per_second": answered[0] / seconds}
        write_json(folder / RUN, {**run, **pace, **({"recheck": recheck.summary()} if recheck else {})})
    if not out:
        weakref.finalize(result, shutil.rmtree, folder, ignore_errors=True)
    return result


def _known(video: Video) -> bool:
    return video.label is not None or bool(video.frame_labels)


def _labelled(
    videos: Sequence[Video], labels: str | Path | Mapping[str, int] | None, classes: int, source: str | None
) -> tuple[list[Video], list[str]]:
    """The videos with their labels, and what is to be said of these."""
    if not videos:
        raise InputError("there are no videos", todo="give at least one")
    samples = [Sample(video.id, video.label, partial(next, iter(()))) for video in videos]
    where, remark = labels if isinstance(labels, str | Path) else source or "labels", None
    of_frames: Mapping[str, Mapping[int, int]] = {}
    if labels is None:
        samples, remark = label_by_folder(samples, classes)
    else:
        table, of_frames = (dict(labels), {}) if isinstance(labels, Mapping) else read_video_labels(labels)
        # of labels of frames, any of a video's, to find the file by the same rules
        found = label_by_table(samples, table or {name: number for number, name in enumerate(of_frames)}, where)
        samples = found if table else samples
        of_frames = {sample.id: list(of_frames.values())[sample.label or 0] for sample in found} if of_frames else {}
    check_labels(samples, classes, where)
    for name, numbers in of_frames.items():
        check_labels([Sample(f"{name}, frame {at}", label, samples[0].read) for at, label in numbers.items()],
                     classes, where)  # fmt: skip
    labelled = [
        replace(video, label=sample.label, frame_labels=of_frames.get(video.id, video.frame_labels))
        for video, sample in zip(videos, samples, strict=True)
    ]
    return labelled, [remark] if remark else []


def _asked(plan: Plan, videos: Sequence[Video], source: str | None, pm_k: int) -> dict[str, Any]:
    """What the audit is a function of."""
    model = plan.model
    listing = "\n".join(f"{video.id}\t{video.label if video.frame_labels is None else dict(video.frame_labels)}"
                        for video in videos)  # fmt: skip
    score_step = getattr(model, "score_step", None)
    return {
        "model": describe_model(model, plan.classes, threshold=plan.threshold, score_step=score_step),
        "images": {
            "source": source,
            "listed": len(videos),
            "sha256": hashlib.sha256(listing.encode()).hexdigest(),
            "labelled": sum(map(_known, videos)),
        },
        "motion": {"name": "video", "where": "camera", "enlarged": 1.0, "pm_k": pm_k},
        "walk": {"shape": "frames"},
        "seed": plan.seed,
    }


def _first_views(plan: Plan, videos: Sequence[Video]) -> np.ndarray:
    """Views that the audit begins with, some of each video, to measure a fast model's error on."""
    each, views = max(8, -(-VIEWS // len(videos))), list[np.ndarray]()
    for video in videos[: -(-VIEWS // each)]:
        try:
            viewer = frame_viewer(plan.model.preprocessing, plan.model.view_size)
            views += [viewer(frame.picture)[0] for frame in frames_of(video.path, min(each, plan.count or each))]
        except Unusable:  # the audit itself will say so
            continue
    return np.stack(views) if views else np.empty((0, *plan.model.view_size, 3), np.uint8)


def _ticker(
    videos: Sequence[Video], folder: Path, count: int | None, progress: Callable[[int, int], None] | None
) -> Callable[[int | None], None]:
    """Called with frames done, tells progress; None says that all is done."""
    if progress is None:
        return lambda frames: None
    expected = [min(_expected(video), count or 2**62) for video in videos]
    finished = [(folder / f"part-{number:05d}.parquet").exists() for number in range(len(videos))]
    total, done = sum(expected), sum(frames for frames, there in zip(expected, finished, strict=True) if there)
    progress(done, total)

    def tick(frames: int | None) -> None:
        nonlocal done
        done = total if frames is None else min(done + frames, total)
        progress(done, total)

    return tick


def _expected(video: Video) -> int:
    try:
        return probe(video.path).frames or 1
    except InputError:
        return 1


def refuse_options(**given: object) -> None:
    """Raises InputError for what was asked of the frames of a video, and is for views of an image only."""
    for option, value in given.items():
        if value is not None:
            flag = FLAGS.get(option, f"--{option.replace('_', '-')}")
            raise InputError(f"the frames of a video have no {option}", where=flag, todo="leave it out")
