"""How much of what a server can do an audit through HTTP takes from it.

    python benchmarks/http_speed.py             # prints a table, writes benchmarks/results/http_speed.json

What a server "can do": the views it answers per second when 8 threads of this process do nothing but POST prepared
requests, of the same views and the same size as the audit's, each on one open connection, and read the answers
(``http.client``, nothing parsed). The audit decodes, moves and cuts the pictures, has 8 requests under way, and writes
the tables; its views are those in the tables, padding not counted, and its time is the whole call's. Both run in the
same round, in turns; the ratio is taken within the round; the median is given with the smallest and the largest.

Servers, each a process of its own: one that sleeps 20 ms per request in 8 slots, so that its speed is known (400
requests/s at most) and costs little CPU; and SqueezeNet 1.1 in examples/http_server.py, with random weights (speed does
not depend on them). With 8 views per request the sleeping server could answer 3200 views/s, beyond what one audit makes
whatever answers; the row "no server" tells how many that are. The load of the machine is recorded: where
other programs take its cores, client, server and decoding wait for them, and the shares mean little.
"""

import argparse
import http.client
import http.server
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from audit_speed import spread, write_images

import shiftable as sh
from shiftable.auditing import show_again
from shiftable.data import list_samples
from shiftable.engine import keep_freed_memory
from shiftable.models.wire import as_npy

HERE = Path(__file__).resolve()
AT_ONCE, SLEEP_S, CLASSES = 8, 0.02, 1000


class Sleeping(http.server.BaseHTTPRequestHandler):
    """Answers every request after 20 ms, 8 at once, with scores that mean nothing."""

    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True
    slots = threading.Semaphore(AT_ONCE)

    def do_GET(self) -> None:
        """The description."""
        self.reply(json.dumps({"shiftable": 1, "view_size": [224, 224], "scores": "logits"}).encode())

    def do_POST(self) -> None:
        """Scores of as many views as came."""
        body = bytearray(int(self.headers["Content-Length"]))
        self.rfile.readinto(body)
        with self.slots:
            time.sleep(SLEEP_S)
        scores = np.tile(np.arange(CLASSES, dtype="<f4"), (len(body) // (224 * 224 * 3), 1))
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {scores.shape}, }}".ljust(117) + "\n"
        self.reply(b"\x93NUMPY\x01\x00\x76\x00" + header.encode() + scores.tobytes())

    def reply(self, body: bytes) -> None:
        """Send a body."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def sleep_and_answer() -> None:
    """The sleeping server's process."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sleeping)
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()


@contextmanager
def serving(arguments: Sequence[str]) -> Iterator[str]:
    """A server's process; its address."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate()


def views_per_second(url: str, bodies: Sequence[bytes], views: int) -> float:
    """What the server can do: all bodies, from 8 threads."""
    waiting = iter(bodies)
    lock = threading.Lock()

    def ask() -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        while True:
            with lock:
                body = next(waiting, None)
            if body is None:
                break
            connection.request("POST", "/", body, {"Content-Type": "application/x-npy"})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(AT_ONCE)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return views / (time.perf_counter() - begin)


def measure(url: str, per_request: int, folder: Path, rounds: int, scratch: Path) -> dict[str, list[float]]:
    """Views per second of both, their ratio, and the machine's load: median, smallest, largest."""
    model: Any = sh.open_model(url, model_args={"requests": AT_ONCE, "views_per_request": per_request})

    def audit() -> sh.Audit:
        return sh.audit(model, folder, out=scratch, overwrite=True)

    show = show_again(audit())
    views = [view for number, sample in enumerate(list_samples(folder)) for view in show(number, sample).views]
    whole = len(views) // per_request * per_request
    bodies = [as_npy(np.stack(views[at : at + per_request])) for at in range(0, whole, per_request)]
    timings = []
    for _ in range(rounds):
        can = views_per_second(url, bodies, whole)
        begin = time.perf_counter()
        audit()
        does = len(views) / (time.perf_counter() - begin)
        timings.append((can, does, does / can, os.getloadavg()[0]))
    names = ("server_can", "audit_does", "share", "load")
    return {name: spread(column) for name, column in zip(names, zip(*timings, strict=True), strict=True)}


def without_server(url: str, folder: Path, rounds: int, scratch: Path) -> list[float]:
    """Views per second of an audit whose model answers at once."""

    class AtOnce(type(sh.open_model(url))):  # type: ignore[misc]
        def __call__(self, views: np.ndarray) -> np.ndarray:
            return np.tile(np.arange(CLASSES, dtype=np.float32), (len(views), 1))

    opened: Any = sh.open_model(url)
    model = AtOnce(**{name: getattr(opened, name) for name in opened.__dataclass_fields__})
    found = []
    for _ in range(rounds):
        begin = time.perf_counter()
        audit = sh.audit(replace(model), folder, out=scratch, overwrite=True)
        found.append(audit.images["count"] * show_again(audit).views_per_image / (time.perf_counter() - begin))
    return spread(found)


def main() -> None:
    """Measure all, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sleeping-server", action="store_true", help="be the server that sleeps")
    options = parser.parse_args()
    if options.sleeping_server:
        return sleep_and_answer()
    keep_freed_memory()
    squeezenet = [str(HERE.parents[1] / "examples" / "http_server.py"), "torchvision/squeezenet1_1", "--port", "0"]
    sleeping = [str(HERE), "--sleeping-server"]
    servers = {
        "sleeping 20 ms, 1 view a request": (sleeping, 1),
        "sleeping 20 ms, 8 views a request": (sleeping, 8),
        "SqueezeNet 1.1, 8 views a request": ([*squeezenet, "--model-arg", "pretrained=false"], 8),
    }
    results: dict[str, Any] = {}
    print("| server | can do, views/s | audit does, views/s | share | load |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "images")
        folder.mkdir()
        write_images(folder, options.images)
        for name, (arguments, per_request) in servers.items():
            with serving(arguments) as url:
                found = measure(url, per_request, folder, options.rounds, Path(scratch, "audit"))
                if per_request == 8 and arguments is sleeping:
                    results["no server"] = without_server(url, folder, options.rounds, Path(scratch, "audit"))
            results[name] = found
            cells = [f"{m:.3g} [{low:.3g}, {high:.3g}]" for m, low, high in found.values()]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
    m, low, high = results["no server"]
    print(f"| no server | – | {m:.3g} [{low:.3g}, {high:.3g}] | – | – |")
    results["setting"] = {"machine": platform.machine(), "images": options.images, "rounds": options.rounds}
    target = HERE.parent / "results" / "http_speed.json"
    target.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
