"""What the tests of training share."""

import pytest

from tests.weights_for_tests import weights_folder

__all__ = ["weights_folder"]


@pytest.fixture(scope="session")
def finder():
    """The face detector."""
    from stream_detect.faces import load_detector

    return load_detector()
