"""Keeps torch's global random state out of, and unharmed by, code that is not ours."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()


@contextmanager
def isolated(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators for a block, and put them back as they were.

    Users' modules draw weights and dropout masks from the global generators. Those are shared
    by all threads, so that only one thread at a time can be in such a block: fits with modules
    of the user's own do not run side by side in threads (in processes they do).
    """
    devices = [device] if device.type == "cuda" else []
    with _lock, torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
