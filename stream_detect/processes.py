"""What a process costs, from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """One process at one moment."""

    resident_bytes: int  # shared pages too
    cpu_s: float  # user and system time so far, in seconds
    threads: int


def read_process(pid: int) -> ProcessFigures | None:
    """The figures of a process; None if there is none, or no /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    words = text.rpartition(")")[2].split()  # the name before it may hold anything
    cpu_s = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return ProcessFigures(int(words[21]) * os.sysconf("SC_PAGE_SIZE"), cpu_s, int(words[17]))
