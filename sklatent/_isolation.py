"""Isolates fits from the caller's torch settings and random state."""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_lock = threading.RLock()


def _renew_lock() -> None:
    # The thread that holds the lock may not exist in a forked process, so the lock would stay held.
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators for a block, and restore them afterwards.

    Users' modules draw weights and dropout masks from the global generators. All threads share
    the global generators, so only one thread at a time can run such a block. Fits with the user's
    own modules therefore run in parallel in processes, but not in threads.
    """
    devices = [device] if device.type == "cuda" else []
    with _lock, torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def default_modes() -> Iterator[None]:
    """Run a block with torch's default modes, without the caller's autocast or inference mode.

    NumPy does not support all dtypes of autocast, and tensors created in inference mode cannot be
    trained.
    """
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(device):
                modes.enter_context(torch.autocast(device, enabled=False))
        yield
