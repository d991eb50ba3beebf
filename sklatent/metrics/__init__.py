"""Measures of how Gaussian an embedding is: tests, a report, and scorers."""

from ._classifier import classifier_two_sample_test
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
    "epps_pulley_test",
    "gaussianity_report",
    "gaussianity_scorer",
    "henze_zirkler_test",
    "log_likelihood_scorer",
    "mardia_test",
    "most_gaussian_within",
    "reconstruction_scorer",
]
