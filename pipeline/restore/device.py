"""What a device is called."""

from __future__ import annotations

import platform
from pathlib import Path

import torch


def device_name(device: str) -> str:
    """Model of the device, for records: equal pictures are promised on one model of device.

    ``cuda:0`` gives the GPU's own name, ``cpu`` ``cpu: `` and the processor's.
    """
    where = torch.device(device)
    if where.type == "cuda":
        return str(torch.cuda.get_device_name(where))
    return f"cpu: {_processor()}"


def available() -> str:
    """The first GPU where this machine has one, else the CPU."""
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def begin_peak(device: torch.device) -> None:
    """Count the device's peak of memory from now on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_device_bytes(device: torch.device) -> int:
    """Most memory that this process has held on its GPU since ``begin_peak``; 0 on a CPU."""
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else 0


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text("utf-8", "replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()
