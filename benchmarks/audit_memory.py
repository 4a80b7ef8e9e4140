"""Does an audit's memory grow with the number of images? Peak of 2,000 images × 33 steps over that of 200.

    python benchmarks/audit_memory.py           # prints a table, writes benchmarks/results/audit_memory.json

Each audit runs in a process of its own, on 500 × 375 JPEGs, with the embedded model; the median of some is taken, for
an allocator never does quite the same twice.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from audit_speed import write_images


def peak_mib(folder: Path, count: int) -> float:
    """The largest resident memory, in MiB, of a process that audits ``count`` images."""
    code = (
        "import resource, sys; from shiftable.cli import main; assert main(sys.argv[1:]) == 0; "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    out = folder.parent / "out"
    arguments = f"audit demo {folder} --images {count} --out {out} --overwrite".split()
    command = [sys.executable, "-c", code, *arguments]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(printed.split()[-1]) / (1024 if sys.platform != "darwin" else 2**20)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--few", type=int, default=200)
    parser.add_argument("--many", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "images")
        folder.mkdir()
        write_images(folder, options.many)
        peaks = [
            median(peak_mib(folder, count) for _ in range(options.repeats)) for count in (options.few, options.many)
        ]
    few, many = peaks
    print(f"| images × 33 | peak MiB | ratio |\n|---|---|---|\n| {options.few} | {few:.0f} | 1 |")
    print(f"| {options.many} | {many:.0f} | {many / few:.3f} |")
    target = Path(__file__).parent / "results" / "audit_memory.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(
        json.dumps({"few_mib": few, "many_mib": many, "ratio": many / few, **vars(options)}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
