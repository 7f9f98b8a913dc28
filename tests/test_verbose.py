"""What `verbose` prints, to stdout as scikit-learn does, beside a callback and instead of nothing."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from cases import fit

import fastem
from fastem.engine.monitor import Progress

X = np.random.default_rng(5).normal(size=(300, 2))


def printed(capsys: pytest.CaptureFixture[str], **options: Any) -> tuple[fastem.GaussianMixture, list[str]]:
    """Fit with 25 iterations that do not converge: the model and the lines on stdout."""
    model = fit(fastem.GaussianMixture(3, random_state=0, tol=0, max_iter=25, **options), X)
    out, err = capsys.readouterr()
    assert err == ""
    return model, out.splitlines()


def test_nothing_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys)[1] == []


@pytest.mark.parametrize(
    ("interval", "wanted"), [(10, [1, 10, 20]), (1, [*range(1, 26)]), (7, [1, 7, 14, 21]), (100, [1])]
)
def test_a_line_every_interval_and_the_end(
    capsys: pytest.CaptureFixture[str], interval: int, wanted: list[int]
) -> None:
    model, lines = printed(capsys, verbose=1, verbose_interval=interval)
    numbers = [re.fullmatch(r"iteration (\d+): log-likelihood (\S+), still to gain:? \S+", line) for line in lines[:-1]]
    assert [int(number[1]) for number in numbers if number] == wanted
    for number in numbers:
        assert number and float(number[2]) == pytest.approx(model.lower_bounds_[int(number[1]) - 1], abs=1e-6)
    assert lines[-1] == (
        f"stopped at the limit of iterations after 25 iterations: log-likelihood {model.lower_bound_:.6f}"
    )


def test_more_of_it_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    _, lines = printed(capsys, verbose=2)
    assert all(re.search(r", \d+\.\d\d s, \S+ rows/s$", line) for line in lines[:-1]) and len(lines) == 4


def test_starts_are_told_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    _, lines = printed(capsys, verbose=True, n_init=2, init_params="k-means++")
    assert [line.split(":")[0] for line in lines[:-1]] == ["iteration 1", "iteration 10", "iteration 20"] * 2


def test_the_callback_is_called_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[int] = []

    def callback(progress: Progress) -> bool:
        seen.append(progress.n_iter)
        return progress.n_iter == 3

    _, lines = printed(capsys, verbose=1, callback=callback)
    assert seen == [1, 2, 3]
    assert lines[-1].startswith("stopped by the callback after 3 iterations")
