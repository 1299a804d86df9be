"""Free memory, asked before something large is made."""

import psutil  # type: ignore[import-untyped]
import torch

__all__ = ["check_memory", "free_memory"]


def free_memory(device: torch.device | str) -> int:
    """Bytes that can still be allocated on `device`, what PyTorch holds unused included."""
    device = torch.device(device)
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    return int(psutil.virtual_memory().available)


def check_memory(needed_bytes: int, device: torch.device | str, steps: int | None = None) -> None:
    """Refuse a replay that the memory of `device` cannot hold.

    Args:
        needed_bytes: bytes that the replay will take, as `replay_bytes` counts them.
        device: where it will be.
        steps: steps that it will hold; with it the message names the largest number that fits.

    Raises:
        ValueError: `needed_bytes` is more than what is free.
    """
    free = free_memory(device)
    if needed_bytes <= free:
        return
    size = "a replay" if steps is None else f"a replay of {steps:,} steps"
    fits = 0 if steps is None else steps * free // needed_bytes
    advice = f"--replay-size {fits} or less" if fits else "a smaller --replay-size"
    need = f"needs {needed_bytes / 1e9:.1f} GB, {free / 1e9:.1f} GB are free on {torch.device(device)}"
    raise ValueError(f"{size} {need}: use {advice}")
