"""An X display without a screen (Xvfb), with a picture on it where OpenCV or a test puts one."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.requirements import require_program

START_TIMEOUT_S = 15.0


@contextmanager
def virtual_display(width: int = 640, height: int = 480) -> Iterator[str]:
    """Start Xvfb on a free display; gives its name (":N"). Skips the test where Xvfb is missing."""
    program = require_program("Xvfb")
    read_end, write_end = os.pipe()
    command = [program, "-displayfd", str(write_end), "-screen", "0", f"{width}x{height}x24", "-nolisten", "tcp"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command, "-br"], pass_fds=[write_end], **quiet)
    os.close(write_end)
    try:
        with os.fdopen(read_end) as said:
            number = said.readline().strip()
        assert number, "Xvfb did not start"
        yield f":{number}"
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_S)
