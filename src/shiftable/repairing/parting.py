"""Which images serve for what: choosing, proving and tuning, each image for one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shiftable.auditing.asking import count_outputs
from shiftable.auditing.preparing import Labels
from shiftable.data import Sample, label_by_folder, label_by_table, read_labels
from shiftable.models import Model

FEWEST = 64
"""From how many images on what is chosen on some of them is proved on others."""


@dataclass(frozen=True)
class Parts:
    """What the images serve for.

    Args:
        choosing: Candidates are measured on these.
        proving: The repair is audited on these.
        tuning: A fine-tune looks at these.
    """

    choosing: Sequence[Sample]
    proving: Sequence[Sample]
    tuning: Sequence[Sample]


def split(samples: Sequence[Sample], tuning: Sequence[Sample], finetune: int) -> tuple[Parts, list[str]]:
    """Parts images by turns, so that every class is in each part; and what is to be said of it.

    Args:
        samples: The images.
        tuning: Others, for a fine-tune; a third of the images if there are none.
        finetune: Its steps.
    """
    remarks = []
    if finetune and not tuning:
        tuning, samples = samples[2::3], [sample for at, sample in enumerate(samples) if at % 3 < 2]
        remarks.append(
            f"a third of the images, {len(tuning)}, serve for tuning alone; --tune-images gives others for that"
        )
    if len(samples) < FEWEST:
        remarks.append(
            f"with {len(samples)} images, fewer than {FEWEST}, the repair was proved on those it was chosen by, which "
            "flatters it"
        )
        return Parts(samples, samples, tuning), remarks
    return Parts(samples[::2], samples[1::2], tuning), remarks


def labelled(samples: Sequence[Sample], labels: Labels, model: Model) -> list[Sample]:
    """The images with what is known of their classes, before they are parted."""
    if labels is None:
        return label_by_folder(samples, count_outputs(model))[0]
    where = labels if isinstance(labels, str | Path) else "labels"
    return label_by_table(samples, labels if isinstance(labels, Mapping) else read_labels(labels), where)
