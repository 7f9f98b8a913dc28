"""Priors of mixtures of Student's t: the naive M-step, SciPy's densities, siblings, and what must hold with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import punched, quietly
from family_cases import holed_density, student_t_density, student_t_rows, student_t_scales, student_t_step
from scipy import stats
from scipy.special import logsumexp

import fastem
from fastem.families.student_t import COVARIANCE_TYPES

KINDS = pytest.mark.parametrize("kind", COVARIANCE_TYPES)
K, D = 3, 2


def rows(n: int = 300, seed: int = 0) -> np.ndarray:
    return student_t_rows(np.random.default_rng(seed), n)


def strong(kind: str) -> dict[str, Any]:
    """A prior that moves everything, with all its numbers in their order."""
    scale = np.array([[3.0, 0.5], [0.5, 1.0]]) if kind == "full" else np.array(2.0)
    return {"shrinkage": 3.0, "mean": np.array([1.0, 2.0]), "dof": 7.0, "scale": scale}


def beginning(kind: str, **options: Any) -> fastem.StudentTMixture:
    """A model that starts somewhere, and makes plain EM steps."""
    scales = np.stack([np.eye(D) * s for s in (1.0, 2.0, 1.5)])
    start = {"means": np.array([[0.0, 1.0], [8.0, 4.0], [-3.0, 11.0]]), "scales": scales}
    if kind == "diag":
        start["scales"] = np.diagonal(scales, axis1=1, axis2=2).copy()
    if options.get("df") is None:
        start["df"] = np.full(K, 6.0) if options.get("share_df") else np.array([2.0, 9.0, 40.0])
    options = {"prior": strong(kind), "tol": 0.0, "accelerate": None, "weights_init": [0.5, 0.3, 0.2], **options}
    return fastem.StudentTMixture(K, covariance_type=kind, params_init=start, **options)


def log_prior(model: fastem.StudentTMixture) -> float:
    """SciPy's, of a prior with all its numbers."""
    kappa, mean, dof, scale = model.prior.values()
    full = student_t_scales(model)
    total = sum(stats.multivariate_normal(mean, s / kappa).logpdf(m) for m, s in zip(model.means_, full, strict=True))
    if model.covariance_type == "full":
        return total + sum(stats.invwishart(dof, scale).logpdf(s) for s in full)
    return total + stats.invgamma(dof / 2, scale=scale / 2).logpdf(model.scales_).sum()


def ours(model: fastem.StudentTMixture) -> float:
    """Log-prior of a fitted model, but for a constant."""
    return model._family().log_prior(model._get_params_().components)


@KINDS
@pytest.mark.parametrize("options", [{}, {"df": 2.5, "reg_covar": 0.3}, {"share_df": True, "missing": "nan"}])
def test_a_step_is_the_naive_one(kind: str, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    X, weight = rows(131), rng.uniform(0.2, 3.0, 131)
    X = punched(X, 0.3, rng) if "missing" in options else X
    before = quietly(beginning(kind, max_iter=0, **options).fit, X, sample_weight=weight)
    after = quietly(beginning(kind, max_iter=1, **options).fit, X, sample_weight=weight)
    density = holed_density if "missing" in options else student_t_density
    joint = density(X, before) + np.log(before.weights_)
    resp = weight[:, None] * np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    means, scales, tails = student_t_step(X, resp, before)
    wanted = resp.sum(axis=0) / weight.sum(), means, scales, 1 / tails
    for found, value in zip((after.weights_, after.means_, after.scales_, after.df_), wanted, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-9, atol=1e-9)
    constants = [log_prior(model) - ours(model) for model in (before, after)]
    assert constants[0] == pytest.approx(constants[1], abs=1e-9)


@KINDS
@pytest.mark.parametrize("accelerate", [None, "squarem", "anderson"])
def test_a_fit_is_a_maximum_of_the_posterior(kind: str, accelerate: str | None) -> None:
    """No small move of any parameter raises SciPy's log-likelihood and log-prior; nor where locations are held."""
    rng = np.random.default_rng(0)
    centres = (2, (0, 1)), (3, (8, 4)), (4, (-3, 11))
    X = np.concatenate([rng.standard_t(df, (100, D)) + centre for df, centre in centres])
    options = {"share_df": True, "tol": 1e-9, "reg_covar": 0.0, "accelerate": accelerate}
    for fixed in ((), ("means",)):
        model = beginning(kind, **options).fit(X, fixed=fixed)
        history = model.history_["log_likelihood"]
        assert model.converged_ and (np.diff(history) > -1e-9 * abs(history[0])).all()

        def objective(m: Any = model) -> float:
            return float(logsumexp(student_t_density(X, m) + np.log(m.weights_), axis=1).sum()) + log_prior(m)

        top = objective()
        assert log_prior(model) - ours(model) == pytest.approx(top - history[-1])
        steps = {"df_": (0.9, 1.1), "scales_": (0.97, 1.03), "means_": (0.99, 1.01)}
        for name in ("df_", "scales_") if fixed else steps:
            best = getattr(model, name)
            for k in range(K):
                for step in steps[name]:
                    moved = best.copy()
                    moved[slice(None) if name == "df_" else k] *= step
                    setattr(model, name, moved)
                    assert objective() <= top + 1e-6, (name, k, step)
            setattr(model, name, best)


@KINDS
@pytest.mark.parametrize("accelerate", [None, "squarem", "anderson"])
def test_the_objective_never_falls(kind: str, accelerate: str | None) -> None:
    X = punched(rows(), 0.2, np.random.default_rng(4))
    for seed, prior in enumerate(("default", "data", strong(kind))):
        options = {"init_params": "random", "random_state": seed, "accelerate": accelerate, "reg_covar": 0.1 * seed}
        model = fastem.StudentTMixture(K, covariance_type=kind, prior=prior, missing="nan", max_iter=150, **options)
        history = quietly(model.fit, X).history_["log_likelihood"]
        # The ridge may lower the log-likelihood and log-prior by what it gains itself.
        assert model.stop_reason_ in ("converged", "max_iter")
        assert seed or (np.diff(history) > -1e-9 * abs(history[0])).all()


@KINDS
@pytest.mark.parametrize("holes", [False, True])
def test_without_tails_it_is_the_gaussian_mixture(kind: str, holes: bool) -> None:
    X = student_t_rows(np.random.default_rng(0), 200).clip(-12, 18)  # no outliers, which the default leaves aside
    X = punched(X, 0.2, np.random.default_rng(2)) if holes else X
    for prior in (strong(kind), "default", "data"):
        options = {"prior": prior, "max_iter": 6, "missing": "nan" if holes else "error"}
        student = beginning(kind, df=np.inf, **options)
        given = student.params_init
        gaussian = fastem.GaussianMixture(
            K,
            covariance_type=kind,
            means_init=given["means"],
            precisions_init=np.linalg.inv(given["scales"]) if kind == "full" else 1 / given["scales"],
            **{"tol": 0.0, "accelerate": None, "weights_init": [0.5, 0.3, 0.2]} | options,
        )
        quietly(student.fit, X), quietly(gaussian.fit, X)
        pairs = (
            (student.means_, gaussian.means_),
            (student.scales_, gaussian.covariances_),
            (student.prior_scale_, gaussian.prior_scale_),
            (student.lower_bounds_, gaussian.lower_bounds_),
        )
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@KINDS
@pytest.mark.parametrize(("accelerate", "df"), [(None, 4.0), ("squarem", None), ("anderson", None)])
def test_what_is_singular_without_a_prior_is_not_with_one(kind: str, accelerate: str | None, df: float | None) -> None:
    """Duplicated rows, more components than distinct rows, no ridge: proper, monotone and without a restart."""
    X = np.repeat(np.random.default_rng(0).normal(size=(6, D)), 20, axis=0)
    shape = {"covariance_type": kind, "df": df, "reg_covar": 0, "prior": "default"}
    options = shape | {"accelerate": accelerate, "random_state": 0}
    model = fastem.StudentTMixture(K, **options).fit(X)
    history = model.history_["log_likelihood"]
    assert model.converged_ and (np.diff(history) > -1e-9 * np.abs(history[0])).all()
    assert not model.diagnostics_["restarted"] and not model.diagnostics_["floored"]
    assert (np.linalg.eigvalsh(student_t_scales(model)) > 1e-4).all()
    many = fastem.StudentTMixture(9, **options)
    assert np.isfinite(quietly(many.fit, X).score(X)) and many.stop_reason_ == "converged"


@pytest.mark.parametrize(("prior", "seed"), [(None, 2), ("default", 3)])
def test_extrapolated_tails_stay_where_a_step_keeps_them(prior: str | None, seed: int) -> None:
    """Beyond the most degrees of freedom an M-step would go back, to a lower log-likelihood."""
    centres = enumerate(((0, 0), (6, 6), (0, 9)))
    X = np.concatenate([np.random.default_rng(s).normal(size=(200, D)) + centre for s, centre in centres])
    options = {"tol": 1e-11, "reg_covar": 0.0, "accelerate": "anderson", "max_iter": 1500}
    model = fastem.StudentTMixture(K, prior=prior, random_state=seed, **options).fit(X)
    assert model.stop_reason_ == "converged" and model.df_.max() <= 1e6 * (1 + 1e-9)


@KINDS
def test_outliers_move_no_prior(kind: str) -> None:
    X = rows()
    far = np.vstack([X, [[1e9, -1e9]]])
    options = {"covariance_type": kind, "prior": "default", "random_state": 0}
    without, model = (fastem.StudentTMixture(K, **options).fit(data) for data in (X, far))
    np.testing.assert_allclose(model.prior_scale_, without.prior_scale_, rtol=0.1, atol=0.1)
    order, other = np.argsort(model.means_[:, 0]), np.argsort(without.means_[:, 0])
    np.testing.assert_allclose(model.means_[order], without.means_[other], atol=0.3)


def test_every_way_to_fit_has_the_prior(tmp_path: Path) -> None:
    X, weight = rows(), np.random.default_rng(3).integers(0, 3, 300)
    plain = beginning("full", tol=1e-8, max_iter=3000)
    whole = fastem.StudentTMixture(**plain.get_params()).fit(X)
    without = fastem.StudentTMixture(**plain.get_params() | {"prior": None}).fit(X)
    assert (np.abs(whole.means_ - without.means_).max(axis=1) > 0.05).all() and not hasattr(without, "prior_mean_")
    cut = fastem.StudentTMixture(**plain.get_params()).fit(lambda: iter([X[:100], X[100:]]))
    np.testing.assert_allclose(cut.scales_, whole.scales_, rtol=1e-8)
    single = fastem.StudentTMixture(**plain.get_params() | {"tol": 1e-5}).fit(X.astype(np.float32))
    np.testing.assert_allclose(single.scales_, whole.scales_, rtol=2e-2, atol=2e-2)
    weighted, repeated = (
        quietly(beginning("full", max_iter=5, prior="data").fit, *data)
        for data in ((X, None, weight), (X.repeat(weight, 0),))
    )
    np.testing.assert_allclose(weighted.scales_, repeated.scales_, rtol=1e-9)
    for algorithm, tolerance in (("incremental", 1e-2), ("stepwise", 0.1)):
        again = fastem.StudentTMixture(**plain.get_params() | {"tol": 1e-4})
        quietly(again.fit, X, algorithm=algorithm, batch_size=50)
        assert np.abs(again.scales_ - whole.scales_).max() < tolerance * np.abs(whole.scales_).max()
    learner = fastem.StudentTMixture(**plain.get_params())
    for batch in np.array_split(np.random.default_rng(1).permutation(X), 4):
        learner.partial_fit(batch)
    assert np.linalg.norm(learner.scales_ - whole.scales_) < 0.3 * np.linalg.norm(whole.scales_)


def test_files_warm_starts_and_products(tmp_path: Path) -> None:
    X = rows()
    model = fastem.StudentTMixture(K, prior={"dof": 9.0}, tol=1e-9, random_state=0, max_iter=3000).fit(X)
    model.save(tmp_path / "model.npz")
    loaded = fastem.load(tmp_path / "model.npz")
    assert loaded.prior == {"dof": 9.0} and (loaded.prior_scale_ == model.prior_scale_).all()
    assert ours(model) == ours(loaded) != 0
    loaded.set_params(warm_start=True, tol=1e-6).fit(X)
    assert loaded.n_iter_ < 10 and loaded.lower_bound_ == pytest.approx(model.lower_bound_, abs=1e-6)
    loaded.set_params(prior=None).fit(X)
    assert not hasattr(loaded, "prior_scale_") and loaded._family().prior is None
    part = fastem.StudentTMixture(prior={"dof": 9.0})
    product = fastem.ProductMixture({(0, 1): part}, K, tol=1e-9, random_state=0, max_iter=3000).fit(X)
    np.testing.assert_allclose(product.components_[0, 1].prior_scale_, model.prior_scale_, rtol=1e-12)
    assert product.lower_bound_ == pytest.approx(model.lower_bound_, abs=1e-6)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (0.5, "prior is 0.5; None, 'default', 'data', or a dict"),
        ({"df": 1}, "prior has 'df'; choose among 'shrinkage', 'mean', 'dof', 'scale'"),
        ({"shrinkage": -1}, r"prior\['shrinkage'\] is -1"),
        ({"mean": [0.0]}, r"prior\['mean'\] has shape \(1,\); \(2,\) is wanted"),
        ({"scale": -np.eye(2)}, "not positive definite"),
    ],
)
def test_bad_priors_are_told(prior: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fastem.StudentTMixture(2, prior=prior).fit(rows(50))
