"""Measures of how Gaussian an embedding is: tests, distances, a report, and scorers."""

from ._classifier import classifier_two_sample_test
from ._distances import (
    energy_distance,
    frechet_distance,
    gaussian_kl_divergence,
    sliced_wasserstein_distance,
)
from ._energy import energy_test
from ._epps_pulley import epps_pulley_test
from ._henze_zirkler import henze_zirkler_test
from ._mardia import MardiaResult, mardia_test
from ._report import GaussianityReport, gaussianity_report
from ._result import TestResult
from ._scorers import (
    classifier_scorer,
    gaussianity_scorer,
    log_likelihood_scorer,
    most_gaussian_within,
    reconstruction_scorer,
)
from ._worst_direction import WorstDirection

__all__ = [
    "GaussianityReport",
    "MardiaResult",
    "TestResult",
    "WorstDirection",
    "classifier_scorer",
    "classifier_two_sample_test",
    "energy_distance",
    "energy_test",
    "epps_pulley_test",
    "frechet_distance",
    "gaussian_kl_divergence",
    "gaussianity_report",
    "gaussianity_scorer",
    "henze_zirkler_test",
    "log_likelihood_scorer",
    "mardia_test",
    "most_gaussian_within",
    "reconstruction_scorer",
    "sliced_wasserstein_distance",
]
