"""The benchmark of the overlay runs and says what it promises."""

import json

import pytest

from benchmarks import overlay
from tests.requirements import require_gstreamer


@pytest.mark.slow
@pytest.mark.services
def test_what_a_frame_costs_is_measured_against_nothing(tmp_path):
    require_gstreamer()
    path = overlay.main(["--quick", "--frames", "20", "--out", str(tmp_path)])
    result = json.loads(path.read_text())
    assert set(result["subjects"]) == {overlay.NOTHING, overlay.SERVER, overlay.AWAY, overlay.FILE}
    assert all(one["rounds"] == 20 and len(one["iqr_ms"]) == 2 for one in result["subjects"].values())
    assert result["process"]["encoder"] == "libx264"
    assert [one["asked"] for one in result["targets"]] == ["<= 1", "<= 1", ">= 0.95"]
