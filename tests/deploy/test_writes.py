"""A run writes to what it was told to write to, and otherwise to /tmp alone: its root may be read-only."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.requirements import require_program

PROGRAM = Path(sys.executable).with_name("stream-detect")
OPENING = re.compile(r'\b(?:open|openat|creat)\((?:[^,"]+, )?"([^"]+)"(.*)= \d+$')
CHANGING = re.compile(r"\b(mkdir|mknod|unlink|rmdir|rename|link|symlink|truncate|chmod|chown|utime)\w*\(.*= 0$")
PATHS = re.compile(r'"([^"]+)"')
TRACED = (
    "trace=open,openat,creat,mkdir,mkdirat,mknod,mknodat,unlink,unlinkat,rmdir,rename,renameat,renameat2,link,linkat,"
)
TRACED += "symlink,symlinkat,truncate,chmod,fchmodat,chown,fchownat,utimensat"
NO_FILES = ("/dev/null", "/proc/self/")


@pytest.mark.services
def test_a_run_writes_its_lines_and_nothing_else(tmp_path: Path):
    """The kernel's own account of it, with a home that there isn't, as in a container."""
    strace, calls, lines = require_program("strace"), tmp_path / "calls", tmp_path / "lines.jsonl"
    tracing = [strace, "-f", "-qq", "-s", "4096", "-e", TRACED, "-o", str(calls)]
    command = [*tracing, str(PROGRAM), "watch", "synthetic", "--duration", "2", "--metrics-port", "0"]
    alone = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([*command, "--jsonl", str(lines)], env=alone, timeout=120, check=True, capture_output=True)
    written = written_in(calls.read_text(errors="replace"))
    assert str(lines) in written
    folders = (str(tmp_path) + "/", tempfile.gettempdir() + "/", *NO_FILES)
    assert [path for path in sorted(written) if not path.startswith(folders)] == []


def written_in(calls: str) -> set[str]:
    """Every path that a call opened for writing or changed."""
    written: set[str] = set()
    for line in calls.splitlines():
        if (opened := OPENING.search(line)) and re.search("O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|creat", line):
            written.add(opened[1])
        elif CHANGING.search(line):
            written |= set(PATHS.findall(line))
    return written


def test_what_is_written_is_seen_in_what_the_kernel_tells():
    calls = (
        '7 openat(AT_FDCWD, "/etc/hosts", O_RDONLY|O_CLOEXEC) = 3\n'
        '7 openat(AT_FDCWD, "/a", O_WRONLY|O_CREAT|O_APPEND, 0666) = 3\n'
        '7 openat(AT_FDCWD, "/b", O_WRONLY|O_CREAT, 0666) = -1 EROFS (Read-only file system)\n'
        '7 mkdir("/c", 0777) = 0\n'
        '7 rename("/d", "/e") = 0\n'
        '7 mkdir("/f", 0777) = -1 EEXIST (File exists)\n'
    )
    assert written_in(calls) == {"/a", "/c", "/d", "/e"}
