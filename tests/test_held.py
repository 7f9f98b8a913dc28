"""Parameters that are held, of every family: they stay, and what is free is the best beside them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from cases import quietly
from family_cases import CASES, mixed_rows, student_t_rows

import fastem

N = 300


def lines(link: Any, rng: np.random.Generator, n: int) -> np.ndarray:
    """Two features with an offset, and a response in the last column."""
    x = rng.uniform(2, 4, (n, 2))
    k = rng.integers(2, size=n)
    eta = np.array([1.0, -1.0])[k] + (x * np.array([[1.0, -1.0], [-0.5, 1.0]])[k]).sum(axis=1)
    return np.column_stack([x, link(rng, eta)])


def straight(rng: np.random.Generator, eta: np.ndarray) -> np.ndarray:
    return eta + rng.normal(0, 0.5, len(eta))


def counts(rng: np.random.Generator, eta: np.ndarray) -> np.ndarray:
    return rng.poisson(np.exp(eta))


def answers(rng: np.random.Generator, eta: np.ndarray) -> np.ndarray:
    return (rng.random(len(eta)) < 1 / (1 + np.exp(-eta))).astype(float)


def tailed(rng: np.random.Generator, n: int) -> np.ndarray:
    """Two components of 3 degrees of freedom."""
    return rng.standard_t(3, (n, 2)) + np.array([[2.0, 9.0], [-5.0, 3.0]])[rng.integers(2, size=n)]


PLAIN: dict[str, Any] = {"reg_covar": 0.0}
MODELS: dict[str, tuple[Any, Any]] = {
    case.name: (case.make, case.rows) for case in CASES if not case.name.startswith("student-t")
}
MODELS |= {
    "full": (partial(fastem.GaussianMixture, **PLAIN), student_t_rows),
    "tied": (partial(fastem.GaussianMixture, covariance_type="tied", **PLAIN), student_t_rows),
    "diag": (partial(fastem.GaussianMixture, covariance_type="diag", **PLAIN), student_t_rows),
    "spherical": (partial(fastem.GaussianMixture, covariance_type="spherical", **PLAIN), student_t_rows),
    "student-t": (partial(fastem.StudentTMixture, **PLAIN), tailed),
    "student-t-shared": (partial(fastem.StudentTMixture, covariance_type="diag", share_df=True, **PLAIN), tailed),
    "linear": (partial(fastem.LinearRegressionMixture, **PLAIN), partial(lines, straight)),
    "linear-origin": (partial(fastem.LinearRegressionMixture, fit_intercept=False, **PLAIN), partial(lines, straight)),
    "linear-shared": (partial(fastem.LinearRegressionMixture, share_variance=True, **PLAIN), partial(lines, straight)),
    "poisson-lines": (fastem.PoissonRegressionMixture, partial(lines, counts)),
    "poisson-origin": (partial(fastem.PoissonRegressionMixture, fit_intercept=False), partial(lines, counts)),
    "logistic-lines": (fastem.LogisticRegressionMixture, partial(lines, answers)),
}
STRONG = {"shrinkage": 9.0, "dof": 20.0, "scale": 30.0}
PRIORS: dict[str, Any] = {"factors": STRONG | {"loadings": 15.0}}
PRIORS |= {name: STRONG | {"scale": 30 * np.eye(2)} for name in ("full", "tied", "student-t")}
PRIORS |= {name: STRONG for name in ("diag", "spherical", "student-t-shared")}
"""The others are worth so many rows."""
MODELS |= {
    f"{name}-prior": (partial(make, prior=PRIORS.get(name, 8.0)), rows)
    for name, (make, rows) in MODELS.items()
    if name != "product"
}
RATHER = {
    0: fastem.GaussianMixture(covariance_type="diag", prior=STRONG),
    (3, 1): fastem.CategoricalMixture(prior=8.0),
    2: fastem.PoissonMixture(prior=8.0),
}
MODELS["product-prior"] = (partial(fastem.ProductMixture, RATHER), mixed_rows)
K = 2
SHARED = "covariances", "variances", "df"
"""What all components may have in common."""
PAIRS = [
    pytest.param(make, rows, held, id=f"{name}-{held}")
    for name, (make, rows) in MODELS.items()
    for held in make(K)._holdable
]


EACH = pytest.mark.parametrize(("make", "rows", "held"), PAIRS)


def fit(model: Any, table: np.ndarray, **options: Any) -> Any:
    """Fit to the rows, of which the last column may be the response."""
    data = (table[:, :-1], table[:, -1]) if model._responds else (table,)
    return quietly(model.fit, *data, **options)


def arrays(model: Any) -> dict[Any, Any]:
    """What is free of a fitted model, by the names that hold it; of a product the dicts of its groups."""
    if isinstance(model, fastem.ProductMixture):
        return {key: [part.copy() for part in of._get_params_().components] for key, of in model.components_.items()}
    return {name: np.array(getattr(model, f"{name}_")) for name in model._holdable}


def objective(model: Any, table: np.ndarray, **changed: np.ndarray) -> float:
    """What EM never lowers, where some fitted attributes are others."""
    other = type(model)(**model.get_params(deep=False) | {"max_iter": 1, "warm_start": True, "accelerate": None})
    vars(other).update({name: value for name, value in vars(model).items() if name.endswith("_")} | changed)
    return float(fit(other, table).history_["log_likelihood"][0])


def begun(make: Any, rows: Any, held: Any) -> tuple[Any, np.ndarray]:
    """A fit of three steps, with what is to be held where these did not lead, and its rows."""
    table = rows(np.random.default_rng(0), N)
    model = fit(make(K, init_params="kmeans", random_state=0, max_iter=3, accelerate=None), table)
    if not isinstance(model, fastem.ProductMixture) and held != "probabilities":
        setattr(model, f"{held}_", 0.9 * np.asarray(getattr(model, f"{held}_")))
    return model.set_params(warm_start=True), table


def has_stayed(held: Any, before: dict, after: dict, path: np.ndarray) -> None:
    """Assert that, and that no step went down."""
    rtol = 1e-12 if held in ("intercept", "df") else 0  # inside, it is at the mean of the features, or 1 over it
    for a, b in zip(np.atleast_1d(before[held]), np.atleast_1d(after[held]), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=0)
    assert (np.diff(path) >= -1e-8 * np.abs(path[1:])).all() and len(path) > 1


@EACH
def test_plain_steps_go_up(make: Any, rows: Any, held: Any) -> None:
    model, table = begun(make, rows, held)
    before = arrays(model)
    fit(model.set_params(max_iter=25), table, fixed=(held,))
    has_stayed(held, before, arrays(model), model.history_["log_likelihood"])
    assert model.stop_reason_ in ("converged", "max_iter")


@EACH
def test_what_is_held_stays_and_the_rest_is_the_best(make: Any, rows: Any, held: Any) -> None:
    model, table = begun(make, rows, held)
    before = arrays(model)
    fit(model.set_params(max_iter=1000, tol=1e-7, accelerate="squarem"), table, fixed=(held,))
    after = arrays(model)
    has_stayed(held, before, after, model.history_["log_likelihood"])
    assert model.converged_
    best = objective(model, table)
    free = {"weights": np.array(model.weights_)}
    if not isinstance(model, fastem.ProductMixture):
        free |= {name: value for name, value in after.items() if name != held}
    for name, value in free.items():
        if name == "intercept" and not model.fit_intercept:
            continue
        for step in (-1e-3, 1e-3):
            moved = value.copy()
            moved[slice(None) if name in SHARED else 0] *= 1 + step
            moved = moved / moved.sum() if name == "weights" else moved
            assert objective(model, table, **{f"{name}_": moved}) <= best + 1e-5, (name, step)
