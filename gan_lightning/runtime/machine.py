"""What a run is computed on, in words that name neither a host nor a path."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

import lightning
import torch


def machine(gpu: bool) -> dict[str, Any]:
    """The processor, its cores, torch's threads, versions, and the GPU's name where a run used one."""
    found = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
    }
    if gpu:
        found["gpu"] = torch.cuda.get_device_name()
    return found


def processor() -> str:
    """The processor's name, else its kind."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE) if info.exists() else []
    return names[0].strip() if names else platform.processor() or platform.machine()
