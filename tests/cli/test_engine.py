"""What runs the networks, as the command line takes it."""

import json

import pytest

from tests.cli.program import run
from tests.weights_for_tests import weights_folder

__all__ = ["weights_folder"]


@pytest.mark.parametrize("command", ["score", "watch"])
def test_an_engine_that_there_is_not_is_wrong_use(command, face_clip, weights_folder):
    done = run(command, face_clip, "--weights", weights_folder, "--engine", "tensorflow")
    assert done.returncode == 2
    assert "unknown engine 'tensorflow', expected one of onnxruntime, openvino, openvino-bf16" in done.stderr


def test_openvino_scores_the_same(face_clip, weights_folder):
    pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'stream-detect[openvino]'")
    scores = []
    for engine in ("onnxruntime", "openvino"):
        done = run("score", face_clip, "--weights", weights_folder, "--jsonl", "-", "--engine", engine)
        assert done.returncode == 0, done.stderr
        scores.append(json.loads(done.stdout)["fake_probability"])
    assert scores[0] == pytest.approx(scores[1], abs=2e-4)
