"""Fixtures and rules for all tests: shapes are checked, slow and GPU tests run where they are meant to."""

import os
import tempfile
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

from tests import clips
from tests.places import PLACES, Place
from tests.requirements import has_gpu, missing

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads starve a busy machine
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("MPLCONFIGDIR", str(Path(tempfile.gettempdir()) / "stream-detect-matplotlib"))  # its font list
# Signatures' shapes and types are checked in tests; a whole number may stand for a float, as for mypy.
hook = install_import_hook("stream_detect", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="run the soaks, loops and replays too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--run-slow") or "slow" in config.getoption("-m"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not has_gpu():
        missing("no CUDA GPU", "REQUIRE_GPU")


@pytest.fixture(params=PLACES, ids=lambda place: place.name)
def place(request: pytest.FixtureRequest) -> Place:
    """Each array namespace and device at hand, NumPy first: `place.put(numpy_array)`, `place.get(array)`."""
    request.param.require()
    return request.param


@pytest.fixture
def xp(place: Place):
    """The array namespace of `place`."""
    return place.xp


@pytest.fixture(scope="session")
def face_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames of 480 x 360 H.264 with one face about 120 pixels high."""
    return clips.write_clip(tmp_path_factory.mktemp("clips") / "face.mp4", clips.talking_head())


@pytest.fixture(scope="session")
def empty_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames of 160 x 120 H.264 without a face."""
    return clips.write_clip(tmp_path_factory.mktemp("clips") / "no_face.mp4", clips.scenery())


@pytest.fixture(autouse=True)
def home_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the cache and the state of the person who runs it."""
    home = tmp_path_factory.getbasetemp() / "home"
    for variable in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(home / variable.lower()))
