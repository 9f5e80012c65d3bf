"""What the tests of explanations share."""

from tests.weights_for_tests import weights_folder

__all__ = ["weights_folder"]
