"""Untrained weights, written once a run: they judge nothing, but everything that needs weights runs with them."""

from pathlib import Path

import pytest


def write_random_weights(folder: Path) -> Path:
    from stream_detect.weights import random_weights, save_weights

    save_weights(random_weights(), folder)
    return folder


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of untrained weights."""
    return write_random_weights(tmp_path_factory.mktemp("weights") / "random")
