"""Several processes that train together end where one process ends."""

import os
import pickle
import runpy
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("accelerate", reason="needs the extra accelerate")

SCRIPT = Path(__file__).parent / "fits_in_processes.py"
FITS = runpy.run_path(str(SCRIPT), run_name="fits")
pytestmark = pytest.mark.filterwarnings(
    "ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning"
)


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """What each of two processes got."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    job |= {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    with ExitStack() as stack:
        started = []
        for rank in range(2):
            env = {**os.environ, **job, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            errors = stack.enter_context(open(folder / f"{rank}.txt", "w"))
            process = subprocess.Popen(
                [sys.executable, SCRIPT, folder / str(rank)], env=env, stderr=errors
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            started.append(process)
        for rank, process in enumerate(started):
            assert process.wait(timeout=120) == 0, (folder / f"{rank}.txt").read_text()
    return [pickle.loads((folder / str(rank)).read_bytes()) for rank in range(2)]


@pytest.fixture(scope="module")
def alone():
    return FITS["fits"]("cpu")


NAMES = [*FITS["CASES"], "sample_weight", "partial_fit", "warm_start", "cv"]


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_fit_what_one_process_fits(processes, alone, name):
    for part, expected in alone[name].items():
        for each in processes:
            # float32 rounds sums in another order, and Adam's steps enlarge the differences
            np.testing.assert_allclose(each["fits"][name][part], expected, rtol=1e-3, atol=1e-3)


def test_all_processes_have_the_same_embedding_without_a_seed(processes):
    first, second = (each["unseeded"]["transform"] for each in processes)
    np.testing.assert_array_equal(first, second)


def test_a_callback_in_the_first_process_stops_all_processes(processes):
    assert [each["stopped"] for each in processes] == [2, 2]


def test_one_process_prints(processes):
    first, second = (each["printed"] for each in processes)
    assert "[GaussianEmbedder]" in first
    assert "best reg_weight: 1" in first
    assert second == ""


def test_processes_with_different_samples_are_refused(processes):
    for each in processes:
        assert "the same X, y and sample_weight in every process" in each["other X"]


def test_joint_inference_is_refused(processes):
    for each in processes:
        assert "does not support Adversarial(joint=True)" in each["joint"]


def test_a_process_alone_fits_as_usual():
    from sklatent import GaussianEmbedder

    X, less = FITS["X"], {**FITS["LESS"], "max_iter": 1}
    given = {"device": "accelerate"}
    np.testing.assert_array_equal(
        GaussianEmbedder(3, **less, **given).fit(X).transform(X),
        GaussianEmbedder(3, **less).fit(X).transform(X),
    )
