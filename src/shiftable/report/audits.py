"""The page of an audit, and what the command line prints of it, whatever the audit was of."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from shiftable.auditing import Audit
from shiftable.data import Sample
from shiftable.models import Model
from shiftable.report import audit_page, objects_page, terminal, video_page

if TYPE_CHECKING:
    from rich.console import Console

Kind = Literal["classes", "objects", "video"]


class Reported(NamedTuple):
    """How a kind of audit is reported: its page, and its lines on a terminal."""

    write: Callable[..., Path]
    show: Callable[..., None]


REPORTS: Mapping[Kind, Reported] = {
    "classes": Reported(audit_page.write_classes_report, terminal.show_classes),
    "objects": Reported(objects_page.write_objects_report, objects_page.show_objects),
    "video": Reported(video_page.write_video_report, video_page.show_video),
}


def kind_of(audit: Audit) -> Kind:
    """What an audit was of."""
    if audit.motion["name"] == "video":
        return "video"
    return "classes" if audit.model["task"] in ("classify", "embed") else "objects"


def write_report(
    audit: Audit,
    *,
    class_names: Sequence[str] | None = None,
    samples: Sequence[Sample] | None = None,
    model: Model | None = None,
) -> Path:
    """Write an audit's page, and its figures as PNG, into the audit's folder.

    The page is one file of at most 5 MB that needs no network.

    Args:
        audit: A finished audit.
        class_names: A name per class of the model; None says "class 7".
        samples: The images; None looks for them where the audit found them. Without them the page has no pictures, and
            says so. A video is looked for where it was.
        model: The model, which a segmenter's page asks again for the masks of the worst pairs; others don't need it.

    Returns:
        The page, ``report.html``. The figures are beside it in ``figures/``.

    Raises:
        InputError: If there are fewer or more names than classes, or the audit's table is gone.
    """
    kind = kind_of(audit)
    more: dict[str, Any] = {} if kind == "video" else {"samples": samples}
    more |= {"model": model} if kind == "objects" else {}
    return REPORTS[kind].write(audit, class_names=class_names, **more)


def show_audit(console: "Console", audit: Audit, page: Path) -> None:
    """Print an audit's numbers, its notes, and where its page is."""
    REPORTS[kind_of(audit)].show(console, audit, page)
