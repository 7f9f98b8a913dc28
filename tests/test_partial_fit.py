"""Learning batch by batch: near the fit of all rows, through files, after a fit, and with bad batches refused."""

import numpy as np
import pytest

import fastem

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(3, 2)) * 4
X = RNG.standard_normal((12_000, 2)) + CENTRES[RNG.integers(0, 3, 12_000)]
BATCHES = [X[i : i + 1500] for i in range(0, len(X), 1500)]


def learned(**options) -> fastem.GaussianMixture:
    model = fastem.GaussianMixture(3, random_state=0, **options)
    for batch in BATCHES:
        model.partial_fit(batch)
    return model


def test_batches_come_near_the_fit_of_all_rows():
    model, whole = learned(), fastem.GaussianMixture(3, random_state=0).fit(X)
    assert model.score(X) > whole.score(X) - 5e-3
    assert model.n_iter_ == len(BATCHES) == len(model.history_)
    assert model.stop_reason_ == "partial_fit" and not model.converged_


def test_saved_between_batches_it_goes_on_bit_for_bit(tmp_path):
    model = fastem.GaussianMixture(3, random_state=0)
    for batch in BATCHES:
        model.partial_fit(batch).save(tmp_path / "model.npz")
        model = fastem.load(tmp_path / "model.npz")
    assert (model.means_ == learned().means_).all()


def test_after_a_fit_a_batch_moves_little():
    model = fastem.GaussianMixture(3, random_state=0).fit(X)
    means = model.means_.copy()
    model.partial_fit(BATCHES[0])
    assert 0 < np.abs(model.means_ - means).max() < 0.2
    assert not hasattr(model.fit(X), "online_")


def test_bad_batches_are_refused_and_change_nothing():
    model = learned()
    means = model.means_.copy()
    with pytest.raises(ValueError, match="feature"):
        model.partial_fit(X[:, :1])
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(np.where(X[:9] == X[0, 0], np.nan, X[:9]))
    with pytest.raises(ValueError, match="3"):
        fastem.GaussianMixture(3).partial_fit(X[:2])
    assert (model.means_ == means).all()


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_rows_that_do_not_vary_are_a_collapse_in_the_end(covariance_type):
    rows = np.column_stack([X[:100, 0], np.full(100, 7.0)])
    rows = np.full((100, 2), 7.0) if covariance_type == "spherical" else rows
    model = fastem.GaussianMixture(
        1,
        covariance_type=covariance_type,
        reg_covar=0,
        on_collapse="raise",
        means_init=[[0.0, 6.0]],
        precisions_init={"full": np.eye(2)[None], "tied": np.eye(2), "diag": np.ones((1, 2)), "spherical": np.ones(1)}[
            covariance_type
        ],
        weights_init=[1.0],
    )
    with pytest.raises(ValueError, match="collapsed"):
        for _ in range(200):
            model.partial_fit(rows, step=lambda t: 0.5)
