"""Stop an audit by SIGKILL at random moments, start it again, and see whether it ends in the same file.

    python scripts/kill_and_resume.py --times 20

Whenever an audit gets through before the kills are used up, it is compared and begun anew. Prints one line per kill,
and at the end how many kills there were and whether every audit ended in the same bytes, with no row lost or doubled.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

COMMAND = ("audit", "demo", "shapes", "--batch-size", "8", "--threads", "1", "--seed", "3")


def start(out: Path, images: int) -> "subprocess.Popen[bytes]":
    """The audit, in a process of its own."""
    run = "import sys; from shiftable.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", run, *COMMAND, "--images", str(images), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def parts(out: Path) -> int:
    """How many shards are done."""
    return len(list(out.glob("predictions/part-*.parquet")))


def rows(out: Path) -> list[tuple[object, ...]]:
    """The key of every row, sorted."""
    table = pq.read_table(out / "predictions", columns=["image", "control", "walk", "step"])
    return sorted(tuple(map(str, row.values())) for row in table.to_pylist())


def kill_and_resume(times: int, images: int, seed: int = 0) -> bool:
    """Whether audits that were killed ``times`` times ended as one that was left alone."""
    rng, same, kills, survived = random.Random(seed), True, 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch, "whole")
        begin = time.monotonic()
        if start(whole, images).wait() != 0:
            raise SystemExit(f"the undisturbed audit failed: shiftable {' '.join(COMMAND)}")
        seconds = time.monotonic() - begin
        audit, keys = (whole / "audit.json").read_bytes(), rows(whole)
        same &= len(keys) == len(set(keys))
        while kills < times:
            out = Path(scratch, f"killed-{survived}")
            while True:
                process = start(out, images)
                try:
                    code = process.wait(timeout=rng.uniform(0.3, 1) * seconds if kills < times else None)
                    same &= code == 0
                    break
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    kills += 1
                    print(f"kill {kills}: {parts(out)} of {parts(whole)} shards done", flush=True)
            survived += 1
            same &= (out / "audit.json").read_bytes() == audit and rows(out) == keys
    verdict = "all the same" if same else "NOT the same"
    print(f"{kills} kills, {survived} audits finished, {verdict}: {len(keys)} rows each")
    return same


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sys.exit(not kill_and_resume(options.times, options.images, options.seed))
