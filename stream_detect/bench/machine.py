"""What a speed depends on besides the code: the processor, the GPU and its driver, and what else was going on."""

import os
import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

GPU_FIELDS = ("name", "driver_version", "memory.total", "clocks.sm", "power.limit")
QUERY_S = 10.0


def machine() -> dict[str, Any]:
    """Processor, cores, load before, operating system, GPU."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "load_average_before": load(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "gpu": gpu(),
    }


def load() -> list[float] | None:
    """The load averages of the last 1, 5 and 15 minutes; None where the system keeps none."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    known = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {name.strip(): value.strip() for name, value in known.items()}
    model = "/".join(fields.get(name, "?") for name in ("cpu family", "model"))
    return f"{fields.get('model name', 'unknown')} (family/model {model}, {fields.get('cpu MHz', '?')} MHz)"


def gpu() -> dict[str, str] | None:
    """Name, driver, memory and clocks of the first GPU, and torch's CUDA version; None where there is no GPU."""
    if (row := ask_nvidia_smi(GPU_FIELDS)) is None:
        return None
    import torch

    return dict(zip(GPU_FIELDS, row, strict=True)) | {"cuda_of_torch": str(torch.version.cuda)}


def gpu_use() -> tuple[float, float] | None:
    """How busy the first GPU and its video decoder are, in percent; None where that can't be told."""
    row = ask_nvidia_smi(("utilization.gpu", "utilization.decoder"))
    try:
        return (float(row[0]), float(row[1])) if row else None
    except ValueError:  # "[N/A]"
        return None


def ask_nvidia_smi(names: tuple[str, ...]) -> list[str] | None:
    """What the driver's own program says of the first GPU; None where there is no such program or no GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, f"--query-gpu={','.join(names)}", "--format=csv,noheader,nounits", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    values = [value.strip() for value in done.stdout.strip().split(",")]
    return values if len(values) == len(names) else None


class Usage:
    """Cores that this process and all others use, from when it was made."""

    def __init__(self) -> None:
        self._began_s, self._own_s, self._all_s = time.monotonic(), time.process_time(), busy_s()

    def cores(self) -> tuple[float, float | None]:
        """Of this process, and of everything else; None where the system doesn't say. 1 is one core fully used."""
        seconds = max(time.monotonic() - self._began_s, 1e-6)
        own_s, all_s = time.process_time() - self._own_s, busy_s()
        if all_s is None or self._all_s is None:
            return own_s / seconds, None
        return own_s / seconds, max(0.0, (all_s - self._all_s - own_s) / seconds)


def busy_s() -> float | None:
    """Processor time that the whole machine has used since it started, over all cores; None where it isn't told."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _waiting, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
