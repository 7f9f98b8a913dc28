"""`select`: what it picks, what its table holds, and what it says of bad input."""

from __future__ import annotations

import numpy as np
import pytest

import fastem


@pytest.fixture(scope="module")
def X() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(m, 1, (150, 2)) for m in (-5, 0, 5)])


@pytest.mark.parametrize("criterion", ["bic", "icl", "heldout"])
def test_the_components_are_found(X: np.ndarray, criterion: str) -> None:
    found = fastem.select(X, range(1, 6), covariance_type=["tied", "spherical"], criterion=criterion, random_state=0)
    assert len(found.table) == 10 and found.table[criterion].is_monotonic_increasing
    first = found.table.iloc[0]
    assert (first.n_components, first.covariance_type) == (found.best.n_components, found.best.covariance_type)
    if criterion == "heldout":  # which does not punish a component too many
        best = found.table.groupby("n_components").heldout.min()
        assert best[2] > best[3] + 0.1 and found.best.n_components >= 3 and first.heldout > best[3] - 0.03
    else:
        assert found.best.n_components == 3
        assert first[criterion] == pytest.approx(getattr(found.best, criterion)(X), rel=1e-12)


def test_a_warm_start_is_never_worse(X: np.ndarray) -> None:
    options = {"random_state": 0, "init_params": "random", "criterion": "aic"}
    cold = fastem.select(X, range(1, 7), warm=False, **options).table.set_index("n_components")
    warm = fastem.select(X, range(1, 7), **options).table.set_index("n_components")
    assert (warm.log_likelihood.sort_index() >= cold.log_likelihood.sort_index() - 1e-4).all()


def test_other_families_weights_and_sources() -> None:
    rng = np.random.default_rng(1)
    counts = np.concatenate([rng.poisson(m, (200, 2)) for m in ([1, 9], [8, 2])]).astype(float)
    weight = np.ones(len(counts))
    whole = fastem.select(counts, [1, 2, 3], estimator=fastem.PoissonMixture, sample_weight=weight, random_state=0)
    cut = fastem.select(lambda: iter([counts[:100], counts[100:]]), [1, 2, 3], estimator=fastem.PoissonMixture)
    assert whole.best.n_components == cut.best.n_components == 2


def test_bad_input_is_told(X: np.ndarray) -> None:
    with pytest.raises(ValueError, match="criterion is 'best'"):
        fastem.select(X, criterion="best")
    with pytest.raises(ValueError, match=r"range\(1, 10\)"):
        fastem.select(X, [0, 1])
    with pytest.raises(ValueError, match="held_out is 2"):
        fastem.select(X, [1], criterion="heldout", held_out=2)
    with pytest.raises(ValueError, match="held_out=rows"):
        fastem.select(lambda: iter([X]), [1], criterion="heldout")
