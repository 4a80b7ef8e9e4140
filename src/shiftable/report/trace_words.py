"""Plain words for a trace: what one step is, what it does to the answer, where a view was taken."""

import shlex
from collections.abc import Sequence
from textwrap import wrap

from shiftable.auditing.motions import FLAGS
from shiftable.auditing.tracing.trace import Panel, Trace
from shiftable.report.wording import count, shorten

MOTION_WORDS = {
    "crop": "The view slides over the picture",
    "camera": "The camera moves",
    "canvas": "The picture moves on a canvas",
    "roll": "The view is rolled round",
    "subpixel": "The picture moves by fractions of a pixel",
    "scale": "The picture grows",
    "rotate": "The picture turns",
    "video": "The clip, frame by frame",
}

OPTION_FLAGS = {**FLAGS, "start_s": "--start"}
LONGEST_NAME = 40


def leading_panel(trace: Trace) -> Panel:
    """The panel with the largest jump that changes the answer; with the largest jump, if none does."""
    return max(trace.panels, key=lambda panel: (bool(panel.flips), panel.jumps[panel.at - 1]))


def headline(panel: Panel, named: bool) -> str:
    """What the largest jump does, in one sentence.

    Args:
        panel: Whose.
        named: Whether the classes have names; their numbers need no quotation marks.
    """
    at, before, after = panel.at, *(quoted(panel, panel.at + side, named) for side in (-1, 0))
    said = percents(float(panel.top1_p[at - 1]), float(panel.first_p[at]))
    fall = "\xa0→\xa0".join(said)
    step = step_words(panel, at)
    if panel.flips:
        return f"{step},{' and' if panel.frames is None else ''} {before} becomes {after}: {fall}"
    if said[0] == said[1]:
        return f"No answer changes, and the probability of {before} stays at {percent(panel.top1_p[at - 1])}"
    return f"No answer changes; {step[0].lower()}{step[1:]}, the probability of {before} goes {fall} at most"


def summary(panel: Panel) -> str:
    """Where it leads, and how often that changes.

    Args:
        panel: Whose.
    """
    pairs = len(panel.jumps)
    times = f"changes {count(len(panel.flips), 'time')}" if panel.flips else "never changes"
    return (
        f"Over {count(pairs, 'step')} the answer {times}; from one step to the next the probability of the first "
        f"choice moves by {100 * panel.jumps.mean():.1f} points on average, {100 * panel.jumps.max():.1f} at most."
    )


def step_words(panel: Panel, at: int) -> str:
    """What was done to the picture between step ``at − 1`` and step ``at``."""
    before, after = float(panel.offsets[at - 1]), float(panel.offsets[at])
    if panel.frames is not None:
        gap = panel.frames[at] - panel.frames[at - 1]
        return f"One frame later, at {after:.2f} s" if gap == 1 else f"{gap} frames later, at {after:.2f} s"
    if panel.axis == "times as large":
        share = 100 * (after / before - 1)
        return f"{abs(share):.2g} % {'larger' if share > 0 else 'smaller'}"
    if panel.axis.startswith("degrees"):
        turn = "counter-clockwise" if after > before else "clockwise"
        return f"{_number(abs(after - before), 'degree')} {turn}"
    amount = abs(after - before)
    if panel.axis.endswith("and to the right"):
        return "One pixel down and one to the right" if amount == 1 else f"{amount:g} pixels down and to the right"
    return f"{_number(amount, 'pixel')} {panel.axis.removeprefix('px ')}"


def place_words(panel: Panel, step: int) -> str:
    """Where the view of a step was taken, as a short label."""
    offset = float(panel.offsets[step])
    if panel.frames is not None:
        return f"{offset:.2f} s"
    if step == panel.home:
        return "unmoved"
    if panel.axis == "times as large":
        return f"× {offset:.3f}"
    return f"{signed(offset)} {'°' if panel.axis.startswith('degrees') else 'px'}".replace(" °", "°")


def signed(offset: float | int) -> str:
    """An offset with its sign, as it is printed.

    Example:
        >>> signed(3.0), signed(-0.25), signed(0)
        ('+3', '−0.25', '0')
    """
    return f"{offset:+g}".replace("-", "−") if offset else "0"


def axis_words(panel: Panel) -> str:
    """What the axis below the curves shows."""
    if panel.frames is not None:
        return "time, s"
    kinds = {"times as large": "size, times that of the deployed view", "px down and to the right": "px down and right"}
    unmoved = "" if panel.home is None else f"; {panel.offsets[panel.home]:g} is unmoved"
    return kinds.get(panel.axis, panel.axis) + unmoved


def percent(p: float | int) -> str:
    """A probability.

    Example:
        >>> percent(0.712), percent(0.004), percent(1e-5)
        ('71\\xa0%', '0.4\\xa0%', '0\\xa0%')
    """
    return (f"{100 * p:.1f} %" if 0.0005 <= p < 0.01 else f"{100 * p:.0f} %").replace(" ", "\xa0")


def percents(before: float | int, after: float | int) -> tuple[str, str]:
    """Two probabilities, with as many decimals as tell them apart, three at most.

    Example:
        >>> percents(0.71, 0.2), percents(0.9996, 0.9981)
        (('71\\xa0%', '20\\xa0%'), ('100.0\\xa0%', '99.8\\xa0%'))
    """
    said = percent(before), percent(after)
    for digits in (1, 2, 3):
        if said[0] == said[1]:
            said = f"{100 * before:.{digits}f}\xa0%", f"{100 * after:.{digits}f}\xa0%"
    return said


def quoted(panel: Panel, step: int, named: bool) -> str:
    """The answer at a step."""
    name = short_name(panel, int(panel.top1[step]))
    return f"“{name}”" if named else name


def short_name(panel: Panel, number: int) -> str:
    """A class's name without its synonyms, unless that of another one is the same then.

    ImageNet's names are lists: "sulphur-crested cockatoo, Kakatoe galerita, Cacatua galerita".
    """
    name: str = panel.names[number]
    first = name.partition(", ")[0]
    alike = [other for other in panel.names.values() if other.partition(", ")[0] == first]
    return shorten(first if len(alike) == 1 and first else name, LONGEST_NAME)


def line_styles(panels: Sequence[Panel]) -> dict[int, int]:
    """The number of each class's line: the same in every panel.

    Args:
        panels: Of one trace.
    """
    return {number: at for at, number in enumerate(dict.fromkeys(each for panel in panels for each in panel.classes))}


def name_lines(panel: Panel, step: int, most: int) -> list[str]:
    """The answer at a step in up to three lines of so many letters."""
    return wrap(short_name(panel, int(panel.top1[step])), most, max_lines=3, placeholder="…")


def motion_words(panel: Panel) -> str:
    """What moves."""
    if panel.motion["name"] == "scale" and panel.motion["where"] == "canvas":
        return "The picture grows on a canvas"
    name: str = panel.motion["name"]
    return MOTION_WORDS.get(name, name)


def chosen_steps(panel: Panel, most: int) -> list[int]:
    """The steps whose views are shown: evenly spaced, those on both sides of the largest jump among them."""
    steps = len(panel.top1)
    if steps <= most:
        return list(range(steps))
    chosen = [round(at * (steps - 1) / (most - 1)) for at in range(most)]
    sides = (panel.at - 1, panel.at)
    for wanted in sides:
        if wanted not in chosen:
            others = [step for step in chosen if step not in sides]
            plain = [step for step in others if step not in (0, steps - 1, panel.home)] or others
            chosen.remove(min(plain, key=lambda step: abs(step - wanted)))
            chosen.append(wanted)
    return sorted(chosen)


def command(trace: Trace) -> str | None:
    """The command line that makes it again; None for what was handed over as pixels."""
    if trace.source is None:
        return None
    words: list[object] = ["shiftable", "trace", trace.model["spec"], trace.source]
    for option, value in trace.asked.items():
        if option == "enlarge":
            words += [] if value else ["--no-enlarge"]
            continue
        for each in value if isinstance(value, Sequence) and not isinstance(value, str) else [value]:
            words += [OPTION_FLAGS.get(option, f"--{option.removesuffix('_px')}"), each]
    if trace.label is not None:
        words += ["--label", trace.label]
    return shlex.join(str(word) for word in words)


def _number(amount: float, noun: str) -> str:
    return f"One {noun}" if amount == 1 else f"{amount:g} {noun}s"
