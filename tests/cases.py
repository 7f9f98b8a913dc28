"""The cases that the contract tests run over: covariance type x dtype x small generated data."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import reference
from numpy.typing import DTypeLike, NDArray
from reference import COVARIANCE_TYPES, Parameters
from sklearn.exceptions import ConvergenceWarning

import fastem

DTYPES = ("float64", "float32")
FLAVOURS = [(kind, dtype) for kind in COVARIANCE_TYPES for dtype in DTYPES]
"""Every (covariance type, dtype): one compiled set of kernels each, and so the budget of these tests."""


class Case(NamedTuple):
    """Rows from a mixture with centres `separation` deviations apart; odd n so that tiles overhang."""

    name: str
    n_samples: int
    n_features: int
    n_components: int
    separation: float = 3.0
    weighted: bool = False
    holes: float = 0.0

    @property
    def options(self) -> dict[str, Any]:
        """What a mixture needs to be told of such data."""
        return {"missing": "nan"} if self.holes else {}


CASES = [
    Case("separated", 301, 2, 3, separation=12.0),
    Case("overlapping", 257, 3, 4, separation=1.0),
    Case("weighted", 203, 2, 3, weighted=True),
    Case("weighted-wide", 129, 9, 2, weighted=True),
    Case("line", 131, 1, 2),
    Case("one-component", 67, 4, 1),
    Case("d5", 153, 5, 5),
    Case("d6", 97, 6, 3),
    Case("d7", 101, 7, 2),
    Case("d8", 128, 8, 3),
    Case("d17", 255, 17, 3),
]
SEPARATED, OVERLAPPING, WEIGHTED = CASES[:3]
WITH_HOLES = [
    Case("holes-line", 131, 1, 2, holes=0.3),
    Case("holes", 203, 3, 3, weighted=True, holes=0.3),
    Case("holes-wide", 129, 9, 2, holes=0.4),
]
"""A third of the rows have the same holes; some have nothing else."""


class Problem(NamedTuple):
    """What a case comes to: the data, their weights (or None) and parameters to start from."""

    X: NDArray[Any]
    sample_weight: NDArray[np.float64] | None
    start: Parameters


def problem(case: Case, covariance_type: str, dtype: DTypeLike = "float64") -> Problem:
    """Generate a case: the same numbers for every covariance type, rounded to dtype."""
    rng = np.random.default_rng(hash_of(case.name))
    n, d, n_components = case.n_samples, case.n_features, case.n_components
    centres = separated_centres(n_components, d, case.separation)
    shapes = np.eye(d) + 0.4 * rng.standard_normal((n_components, d, d)) / np.sqrt(d)
    labels = rng.integers(n_components, size=n)
    X = centres[labels] + np.einsum("nij,nj->ni", shapes[labels], rng.standard_normal((n, d)))
    sample_weight = rng.uniform(0.2, 3.0, size=n) if case.weighted else None
    if case.holes:
        X = punched(X, case.holes, np.random.default_rng(n))
    matrices = np.stack([2 * shape @ shape.T for shape in shapes])
    weights = rng.dirichlet(np.full(n_components, 20.0))
    means = centres + 0.3 * rng.standard_normal((n_components, d))
    start = Parameters(weights, means, in_shape_of(matrices, covariance_type))
    return Problem(np.ascontiguousarray(X, dtype=dtype), sample_weight, start)


def punched(X: NDArray[Any], share: float, rng: np.random.Generator) -> NDArray[Any]:
    """Return a copy with a share of the entries missing; a third of the rows like the first, and one with nothing."""
    holes = rng.random(X.shape) < share
    alike = rng.random(len(X)) < 1 / 3
    holes[alike] = np.arange(X.shape[1]) % 3 == 1
    holes[len(X) // 2] = True
    return np.where(holes, np.nan, X).astype(X.dtype)


def separated_centres(n_components: int, n_features: int, separation: float) -> NDArray[np.float64]:
    """Return centres of which neighbours along a diagonal line are `separation` apart, on a line."""
    steps = np.arange(n_components)[:, None] * np.ones(n_features) / np.sqrt(n_features)
    signs = np.where(np.arange(n_features) % 2 == 0, 1.0, -1.0)
    return separation * steps * signs


def in_shape_of(matrices: NDArray[np.float64], covariance_type: str) -> NDArray[np.float64]:
    """Bring full matrices (K, d, d) to scikit-learn's shape for a covariance type."""
    if covariance_type == "full":
        return matrices
    if covariance_type == "tied":
        return matrices.mean(axis=0)
    variances = np.diagonal(matrices, axis1=1, axis2=2).copy()
    return variances if covariance_type == "diag" else variances.mean(axis=1)


def hash_of(name: str) -> int:
    """Return a seed that, unlike hash(), is the same in every process."""
    return int.from_bytes(name.encode(), "little") % (2**32)


def starting_from(start: Parameters, covariance_type: str, **options: Any) -> fastem.GaussianMixture:
    """Return an estimator that starts at given parameters, unregularised, and never stops of itself."""
    options = {"reg_covar": 0.0, "tol": 0.0, "accelerate": None, **options}
    return fastem.GaussianMixture(
        len(start.weights),
        covariance_type=covariance_type,
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=reference.precisions(start, covariance_type),
        **options,
    )


def fit(
    estimator: fastem.GaussianMixture, X: Any, sample_weight: Any = None, *, converges: bool = False
) -> fastem.GaussianMixture:
    """Fit; a ConvergenceWarning is an error where convergence is promised, and silent where it is not."""
    with warnings.catch_warnings():
        warnings.simplefilter("error" if converges else "ignore", ConvergenceWarning)
        return estimator.fit(X, sample_weight=sample_weight)


def fitted(estimator: fastem.GaussianMixture) -> Parameters:
    """Return what was fitted, in float64."""
    attributes = estimator.weights_, estimator.means_, estimator.covariances_
    return Parameters(*(np.asarray(a, dtype=np.float64) for a in attributes))


def assert_same(actual: Parameters, expected: Parameters, rtol: float) -> None:
    """Assert that parameters agree to rtol, entries near zero to rtol of their array's largest entry."""
    for name, a, b in zip(Parameters._fields, actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max(), err_msg=name)


def quietly(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call with a ConvergenceWarning kept silent: the iterations asked for were the point."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return function(*arguments, **options)
