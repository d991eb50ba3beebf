"""Time per step of one fit in one or in several processes.

``python processes.py`` fits in one process, and ``accelerate launch --cpu --num_processes 2
processes.py`` in two. Set OMP_NUM_THREADS to the number of threads of each process. The processor
time of a process does not contain the time in which it waits for the other processes.
"""

import time
import warnings

import numpy as np
from accelerate import PartialState
from sklearn.exceptions import ConvergenceWarning

from sklatent import GaussianEmbedder

EPOCHS, N, P = 4, 8192, 50


def seconds(X, epochs, width, batch_size):
    """Return wall time and processor time of a fit."""
    embedder = GaussianEmbedder(
        8,
        hidden_layer_sizes=(width, width),
        batch_size=batch_size,
        max_iter=epochs,
        early_stopping=False,
        device="accelerate",
        random_state=0,
    )
    began = time.perf_counter(), time.process_time()
    embedder.fit(X)
    return np.subtract((time.perf_counter(), time.process_time()), began)


def main():
    """Print a line of the table for each network and batch."""
    rng = np.random.default_rng(0)
    X = np.tanh(rng.standard_normal((N, 10)) @ rng.standard_normal((10, P)))
    X = (X + 0.1 * rng.standard_normal(X.shape)).astype(np.float32)
    seconds(X, 1, 16, 512)  # imports
    for width, batch_size in ((256, 128), (256, 512), (1024, 2048)):
        steps = EPOCHS * (N // batch_size)
        # The difference of two fits leaves out PCA and the calibration.
        more, less = (seconds(X, epochs, width, batch_size) for epochs in (1 + EPOCHS, 1))
        wall, processor = 1e3 * (more - less) / steps
        if PartialState().is_main_process:
            print(f"| {width} | {batch_size} | {wall:.1f} | {processor:.1f} |", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)
    main()
