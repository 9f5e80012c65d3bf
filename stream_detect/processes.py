"""What a process costs, from /proc, and what it gives back to the system."""

import contextlib
import ctypes
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """One process at one moment."""

    resident_bytes: int  # shared pages too
    proportional_bytes: int | None  # of shared pages its share: the sum over processes is what they take together
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
    resident = int(words[21]) * os.sysconf("SC_PAGE_SIZE")
    return ProcessFigures(resident, proportional_bytes(pid), cpu_s, int(words[17]))


def proportional_bytes(pid: int) -> int | None:
    """The proportional set size (PSS) of a process; None where the kernel does not tell."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    sizes = [int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")]
    return sizes[0] if sizes else None


def give_memory_back() -> None:
    """Return what is free in the heap to the system; costs well under a millisecond, and nothing where glibc is not."""
    with contextlib.suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
