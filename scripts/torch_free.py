"""The package without torch: installed afresh under several Pythons, tested, and an ONNX and a TFLite file audited.

    python scripts/torch_free.py [3.11 3.12 3.13] [--tests tests/test_onnx_model.py …]

For each Python that is here (on the PATH or in pyenv; the others are named and left out) a new virtual environment in a
temporary folder gets ``.[onnx,litert,http]`` and the test tools, without torch; the tests run, those that need torch
skipping themselves, all under the first Python and those of ``DIFFERING`` under the others; then ``shiftable audit``
and ``shiftable explain`` run from the command line. The first failure ends the script with 1.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("SHIFTABLE_SHARED", ROOT.parent / "shared"))

PYTHONS = ("3.11", "3.12", "3.13")
PINNED = "3.11"
"""The Python that ``constraints.txt`` is for; others take the newest that their pip finds."""

EXTRAS = "onnx,litert,http"
TOOLS = ("beartype>=0.20", "duckdb>=1.2", "hypothesis>=6.130", "polars>=1.25", "pytest>=8.3", "pytest-xdist>=3.6")
"""What the tests need of the extra ``test``, without the browser, whose tests skip themselves."""

DIFFERING = ("onnx_model", "tflite_model", "http_model", "house", "engine", "audit", "cli", "images")
"""The tests of what may differ from Python to Python: runtimes, threads, files, packages."""

TORCHLESS = "import importlib.util as u, sys; sys.exit('torch is installed' if u.find_spec('torch') else 0)"

ONNX = """
import sys
import numpy as np
from onnx import helper, numpy_helper, save
rng = np.random.default_rng(0)
weights = {"w": rng.normal(size=(16, 3, 5, 5)), "v": rng.normal(size=(16, 10))}
nodes = [
    helper.make_node("Conv", ["x", "w"], ["maps"], strides=[4, 4]), helper.make_node("Relu", ["maps"], ["r"]),
    helper.make_node("GlobalAveragePool", ["r"], ["p"]), helper.make_node("Flatten", ["p"], ["f"]),
    helper.make_node("MatMul", ["f", "v"], ["z"]), helper.make_node("Softmax", ["z"], ["y"], axis=1),
]
ends = [[helper.make_tensor_value_info("x", 1, ["n", 3, 48, 64])], [helper.make_tensor_value_info("y", 1, ["n", 10])]]
arrays = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
save(helper.make_model(helper.make_graph(nodes, "g", *ends, arrays), opset_imports=[helper.make_opsetid("", 17)],
                       ir_version=8), sys.argv[1])
"""
"""A small net with weights drawn at random."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="*", default=PYTHONS, help="versions; default: %(default)s")
    parser.add_argument("--tests", nargs="*", help="files or folders of tests, under every Python")
    arguments = parser.parse_args()
    tried, some = 0, [f"tests/test_{name}.py" for name in DIFFERING]
    for version in arguments.pythons:
        python = find_python(version)
        if python is None:
            print(f"Python {version}: not here, left out")
            continue
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="torch-free-") as folder:
            try:
                check(version, python, Path(folder), arguments.tests or (some if tried else ["tests"]))
            except subprocess.CalledProcessError as error:
                print(f"Python {version}: failed: {' '.join(map(str, error.cmd))[:300]}")
                return 1
        print(f"Python {version}: done in {time.monotonic() - begin:.0f} s", flush=True)
        tried += 1
    if not tried:
        print("none of these Pythons is here")
    return 0 if tried else 1


def find_python(version: str) -> str | None:
    """The interpreter of a version like 3.12; None where there is none that starts."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [sys.executable] + [str(path) for path in sorted(pyenv.glob(f"versions/{version}.*/bin/python"))]
    if found := shutil.which(f"python{version}"):
        candidates.append(found)  # last: pyenv's own are there, too, but do not start where no version is chosen
    return next((each for each in candidates if starts(each, version)), None)


def starts(python: str, version: str) -> bool:
    """Whether this is an interpreter of that version, with what virtual environments need."""
    code = "import ensurepip, sys, venv; print(*sys.version_info[:2], sep='.')"
    ran = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return ran.returncode == 0 and ran.stdout.strip() == version


def check(version: str, python: str, folder: Path, tests: list[str]) -> None:
    """Install, test, audit.

    Raises:
        subprocess.CalledProcessError: At the first step that fails.
    """
    run([python, "-m", "venv", folder / "venv"])
    here = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    pins = ["-c", str(ROOT / "constraints.txt")] if version == PINNED else []
    pip = [str(here / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run([*pip, "install", *pins, f"{ROOT}[{EXTRAS}]", *TOOLS])
    run([here / "python", "-c", TORCHLESS])
    run([here / "python", "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider", *tests])
    onnx = folder / "net.onnx"
    run([here / "python", "-c", ONNX, onnx])
    audit = [str(here / "shiftable"), "audit"]
    run([*audit, onnx, "shapes", "--images", "8", "--out", folder / "onnx"], folder)
    run([audit[0], "explain", onnx, "shapes", "--images", "8", "--out", folder / "explained"], folder)
    tflite, images = SHARED / "models" / "mobilenet_v1_0.25_128_quant.tflite", SHARED / "data" / "imagenet_samples"
    if tflite.is_file():
        options = ["--images", "8", "--steps", "9", "--class-offset", "1", "--labels", str(images / "labels.csv")]
        run([*audit, tflite, images, *options, "--out", folder / "tflite"], folder)
    else:
        print(f"{tflite}: not here, no TFLite file audited")


def run(command: Sequence[str | Path], folder: Path = ROOT) -> None:
    """Raises CalledProcessError if the command fails."""
    print("$", *(str(part) if "\n" not in str(part) else "…" for part in command), flush=True)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "SHIFTABLE_SHARED": str(SHARED)}
    subprocess.run(list(map(str, command)), cwd=folder, env=environment, check=True)


if __name__ == "__main__":
    sys.exit(main())
