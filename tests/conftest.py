"""Fixtures that several test files use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("steady", deadline=None)  # a busy machine is no reason to fail
settings.load_profile("steady")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and images, beside the repository or where SHIFTABLE_SHARED says."""
    folder = Path(os.environ.get("SHIFTABLE_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("the shared folder with real models and images is not here (SHIFTABLE_SHARED names it)")
    return folder
