"""Separates fits from the caller's torch settings, and the caller's random state from fits."""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_lock = threading.RLock()


def _renew_lock() -> None:
    # In a forked process the thread that held the lock does not exist, and never releases it.
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators for a block, and restore them afterwards.

    Users' modules draw weights and dropout masks from the global generators. All threads share
    those, so only one thread at a time can be in such a block: fits with modules of the user's
    own do not run side by side in threads (in processes they do).
    """
    devices = [device] if device.type == "cuda" else []
    with _lock, torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def default_modes() -> Iterator[None]:
    """Compute a block as torch does by default, without the caller's autocast or inference mode.

    Autocast computes in types that NumPy does not have, and tensors made in inference mode cannot
    be trained.
    """
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(device):
                modes.enter_context(torch.autocast(device, enabled=False))
        yield
