"""
Data larger than memory, and Dask
=================================

The samples are in a file that does not fit in memory. The wrong answer is to read the whole file,
or to train on a subset that fits. `GaussianEmbedder` trains on a `numpy.memmap`: it reads each
batch from the file when training needs the batch. The file here is small, for a quick example.
"""

# %%
# The file has 600 MB: 3 million samples of 50 features, which depend on five hidden variables. The
# loop below writes the file in blocks.

import tempfile
import threading
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np

from sklatent import GaussianEmbedder
from sklatent.metrics import reconstruction_scorer

# One epoch is enough here, so training ends before it converges.
warnings.filterwarnings("ignore", message="Stochastic Optimizer")
folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "samples.dat"
rng = np.random.default_rng(0)
weights = rng.standard_normal((5, 50)).astype(np.float32)


def draw(n_samples):
    """Draw samples."""
    hidden = rng.standard_normal((n_samples, 5), dtype=np.float32)
    noise = 0.1 * rng.standard_normal((n_samples, 50), dtype=np.float32)
    return np.sin(hidden @ weights) + noise


with path.open("wb") as file:
    for _ in range(30):
        draw(100_000).tofile(file)
X = np.memmap(path, dtype=np.float32, mode="r").reshape(-1, 50)
print(f"{len(X):,} samples, {path.stat().st_size / 2**20:.0f} MiB")

# %%
# How much memory does a fit need?
# --------------------------------
#
# The memory of a process has two parts: pages of files, which the system can drop at any time, and
# anonymous pages, which the system cannot drop. On Linux, a thread records the anonymous pages
# during the call.


def anonymous_memory():
    """Return the anonymous memory of this process in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


@contextmanager
def measured(name):
    """Record memory every 20 ms."""
    record, start, before = [], time.perf_counter(), anonymous_memory()
    done = threading.Event()

    def watch():
        while not done.wait(0.02):
            record.append((time.perf_counter() - start, anonymous_memory() - before))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    records[name] = np.array(record).T
    print(f"{name}: {records[name][0, -1]:.0f} s, {records[name][1].max():.0f} MiB")


records = {}
embedder = GaussianEmbedder(
    5, hidden_layer_sizes=(64, 64), batch_size=8192, max_iter=1, random_state=0
)
with measured("fit, memmap"):
    embedder.fit(X)

# %%
figure, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
ax.plot(*records["fit, memmap"], color="#0072B2", label="fit")
ax.axhline(X.nbytes / 2**20, color="#D55E00", label="size of the file")
ax.set(xlabel="seconds", ylabel="memory (MiB)", ylim=(0, None))
ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
ax.spines[["top", "right"]].set_visible(False)

# %%
# The memory hardly depends on the size of the file: the start, the calibration and the noise
# variance use a fixed number of random samples. Only the array with the order of the samples grows,
# by 8 bytes per sample. See "Large and sparse data" in the user guide.
#
# `transform` reads the file in blocks, but its result is an array in memory.

fresh = draw(5000)
print(f"R^2 on new samples: {reconstruction_scorer(embedder, fresh):.2f}")
with measured("transform, memmap"):
    Z = embedder.transform(X)
print(f"of which the result has {Z.nbytes / 2**20:.0f} MiB")
del Z

# %%
# Dask
# ----
#
# `transform` embeds each sample independently of the others. So Dask can apply `transform` to each
# block of an array, in other processes or on other machines, and write each result to a file.

blocks = da.from_array(X, chunks=(100_000, 50))
embedded = blocks.map_blocks(embedder.transform, dtype=X.dtype, chunks=(100_000, 5))
result = np.memmap(Path(folder.name) / "embedded.dat", X.dtype, mode="w+", shape=embedded.shape)
with measured("transform, Dask"):
    da.store(embedded, result, lock=False, scheduler="single-threaded")
print("covariance, diagonal:", np.diag(da.cov(embedded.T).compute()).round(2))
plt.show()
del X, blocks, embedded, result
folder.cleanup()
