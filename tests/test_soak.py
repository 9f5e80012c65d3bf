"""Two minutes of everything: two feeds that suffer every fault in turn, watched by the program as a whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.services
@pytest.mark.timeout(600)
def test_two_minutes_of_faults(tmp_path: Path):
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "2", "--feeds", "2", "--faults", "--hurried"]
    subprocess.run([*command, "--out", str(tmp_path)], cwd=ROOT, check=True, timeout=500, stdout=subprocess.DEVNULL)
    result = json.loads((tmp_path / "soak.json").read_text())
    assert result["exit_code"] == 0
    assert sum(row["times"] for row in result["faults"].values()) >= 5
    assert not any(row["never_back"] for row in result["faults"].values()), result["faults"]
    assert result["alerts"]["stretches"] >= 2
    assert (result["alerts"]["lost"], result["alerts"]["duplicated"], result["alerts"]["false"]) == (0, 0, 0)
    for held in ("files", "threads", "processes"):
        assert result[held]["most"] <= result[held]["first"] + 12, (held, result[held])
    print({key: result[key] for key in ("frame_age_ms", "faults", "alerts")})
