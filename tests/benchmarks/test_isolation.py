"""What a process of its own costs a feed is measured against a thread."""

import json
from pathlib import Path

import pytest

from benchmarks import isolation
from tests.requirements import require_gstreamer


@pytest.mark.services
def test_threads_and_processes_are_compared_and_workers_killed(tmp_path: Path):
    require_gstreamer()
    said = json.loads(isolation.main(["--quick", "--out", str(tmp_path)]).read_text())
    assert set(said["modes"]) == {"thread", "process"}
    assert all(mode["frames"] == isolation.FPS for mode in said["modes"].values())
    assert 0 < said["killed_ms"]["noticed"]["median"] < said["killed_ms"]["next_frame"]["median"]
    assert said["memory_mib"]["worker"]["times"] == isolation.WORKERS
    assert len(said["targets"]) == 4
