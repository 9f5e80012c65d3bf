"""The public names: there, sorted, lazy, and enough for a program."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import stream_detect


def test_every_public_name_is_there_and_sorted():
    assert stream_detect.__all__ == sorted(stream_detect.__all__)
    for name in stream_detect.__all__:
        assert getattr(stream_detect, name) is not None
        assert name in dir(stream_detect)


def test_every_public_error_is_ours():
    errors = [name for name in stream_detect.__all__ if name.endswith("Error") or name.startswith("Source")]
    kinds = [getattr(stream_detect, name) for name in errors if name != "SourceOptions"]
    assert all(issubclass(kind, stream_detect.StreamDetectError) for kind in kinds)


def test_names_for_type_checkers_and_at_run_time_agree():
    tree = ast.parse(Path(stream_detect.__file__).read_text(encoding="utf-8"))
    declared = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(stream_detect.__all__) <= declared


def test_an_unknown_name_fails():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        stream_detect.nothing  # noqa: B018


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, json, stream_detect; print(json.dumps(sorted(sys.modules)))"
    modules = json.loads(
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    )
    assert not {"torch", "cv2", "numpy", "scipy", "onnxruntime", "rich"} & set(modules)


def test_idle_threads_are_told_to_sleep_before_torch_comes():
    code = "import os, stream_detect; print(os.environ['OMP_WAIT_POLICY'])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, env={"PATH": ""})
    assert said.stdout.strip() == "PASSIVE"
