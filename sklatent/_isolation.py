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
    devices = [] if device.type == "cpu" else [device]
    with _lock, torch.random.fork_rng(devices=devices, device_type=device.type):
        torch.manual_seed(seed)
        yield


@contextmanager
def no_overrides() -> Iterator[None]:
    """Compute a block without the caller's autocast and default device.

    NumPy does not have autocast's types. Tensors are on the CPU unless their device is named.
    """
    with ExitStack() as stack:
        for device in ("cpu", "cuda", "mps", "xpu"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


@contextmanager
def default_modes() -> Iterator[None]:
    """Compute a block as torch does by default, without the caller's modes and overrides.

    Tensors that are created in inference mode cannot be trained.
    """
    with torch.inference_mode(False), torch.enable_grad(), no_overrides():
        yield
