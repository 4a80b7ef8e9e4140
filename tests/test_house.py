"""The house stands: each part imports only from those above it, and the core needs no extra."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "shiftable"
ORDER = [
    *("errors", "models", "data", "layers", "surgery", "training", "engine", "auditing", "explaining", "repairing"),
    *("bias", "studies", "report", "gating", "pytest_plugin", "explorer", "cli"),
]
"""From the ground up: a part may import from itself and from those named before it."""


def _part(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            names |= {f"{module}.{alias.name}" for alias in node.names} if module == "shiftable" else {module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("shiftable.")}


MODULES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_upwards(path):
    part = _part(path)
    assert part in ORDER, f"{part} has no place in the house"
    lower = {name for name in _imports(path) if name in ORDER and ORDER.index(name) > ORDER.index(part)}
    assert not lower, f"{part} imports from {lower}, which stand below it"


def test_import_pulls_in_no_extra_and_nothing_slow():
    code = (
        "import sys, shiftable; "
        "print(*sorted({'torch', 'torchvision', 'timm', 'transformers', 'onnxruntime', 'scipy', 'matplotlib', 'rich', "
        "'polars', 'duckdb'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == []


def test_public_names_exist():
    import shiftable

    assert set(shiftable.__all__) <= set(dir(shiftable))
    assert list(shiftable.__all__) == sorted(shiftable.__all__)
