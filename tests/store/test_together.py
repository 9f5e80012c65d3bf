"""Two processes on one store: both open it while it isn't there yet, both write, neither loses anything."""

import subprocess
import sys
from pathlib import Path

from stream_detect.store import open_store
from tests.store.lines import alert, ids

ROOT = Path(__file__).resolve().parents[2]
ALERTS = 40
CODE = """
import sys
from stream_detect.store import open_store
from tests.store.lines import alert, frame
print("ready", flush=True)
sys.stdin.readline()
with open_store(sys.argv[1]) as store:
    for number in range({alerts}):
        store.take(alert(f"{{sys.argv[2]}}{{number}}", run=sys.argv[2]))
        store.take(frame(f"2026-11-22T13:00:{{number:02d}}.000Z", 0.5))
    print(store.failures.get("lost_alerts", 0))
"""


def test_two_processes_share_a_store(tmp_path):
    path = tmp_path / "store.db"
    command = [sys.executable, "-c", CODE.format(alerts=ALERTS), str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    writers = [subprocess.Popen([*command, name], cwd=ROOT, text=True, **pipes) for name in "ab"]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.communicate(timeout=120)[0] for writer in writers] == ["0\n", "0\n"]
    with open_store(path, create=False) as store:
        assert ids(store) == {f"{name}{number}" for name in "ab" for number in range(ALERTS)}
        seconds = store.scores("cam1")
    assert [second.judged for second in seconds] == [2] * ALERTS


def test_one_reads_while_another_one_writes(tmp_path):
    with open_store(tmp_path / "store.db") as writer, open_store(tmp_path / "store.db", create=False) as reader:
        for number in range(20):
            writer.take(alert(f"a{number}"))
            assert len(reader.alerts()) == number + 1
        reader.mark("a3", "false_alarm")
        assert writer.alert("a3").marked == "false_alarm"
