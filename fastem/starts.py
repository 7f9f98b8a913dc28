"""Starts, made from a sample of the rows: scikit-learn's four, and the race. Large ones are seeded by scikit-learn."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from fastem import seeding
from fastem.engine.chunks import Chunk, chunk
from fastem.engine.initialize import race, subsample
from fastem.engine.model import MixtureParams
from fastem.engine.several import is_separable, parted
from fastem.families.base import Scale
from fastem.far_rows import far_rows, least_unit
from fastem.validation import distinct_rows
from fastem.wording import plural

INIT_PARAMS = ("race", "kmeans", "k-means++", "random", "random_from_data")
RUNNERS, MOST_RUNNERS = 12, 48
"""Starts in a race; more where a step on the sample costs next to nothing, fewer where K makes it dear. On tables of
some hundred rows 24 in place of 48 ended lower in a fifth of the fits, and 12 in nearly half."""

OWN_SEEDING = 1_000_000
"""Numbers of a sample, times K, up to which scikit-learn's seeding is not faster, and its import would cost 0.2 s."""

FEW_COLUMNS, GROWN_ROUNDS = 4, (4, 8, 16)
"""Columns up to which half of `MOST_RUNNERS` do beside starts from a smaller fit, and rounds of a race with these."""


class Start(NamedTuple):
    """What a start is made for and from: the model, K, a sample of the rows, its statistics T (n, m) and their spread.

    ``stop()`` tells that the time is over. `near` is a mask (n,) of the rows that are not far from all others, of which
    the spread is where there are several components; None where all are near.
    """

    model: Any
    k: int
    sample: Chunk
    T: np.ndarray
    scale: Scale
    stop: Callable[[], bool] = lambda: False
    near: np.ndarray | None = None

    @classmethod
    def of(cls, model: Any, k: int, sample: Chunk, stop: Callable[[], bool]) -> "Start":
        """From a sample of the rows."""
        X, weight = sample.X, _weights(sample)
        far = far_rows(X, weight, least_unit(model.family))
        near = ~far if far.any() else None
        T = _filled(model.family.statistic(X), weight)
        if near is None or k == 1:  # one component holds the far rows too
            return cls(model, k, sample, T, scale_of(T, weight), stop, near)
        of_near = None if weight is None else weight[near]
        T = np.array(T)
        T[near] = _filled(model.family.statistic(X[near]), of_near)
        return cls(model, k, sample, T, scale_of(T[near], of_near), stop, near)

    def part(self, mask: np.ndarray, k: int) -> "Start":
        """A start of k components for the rows in the mask."""
        weight = _weights(self.sample)
        rows = chunk(self.sample.X[mask], None if weight is None else weight[mask])
        return Start.of(self.model, k, rows, self.stop)

    def floored(self, params: MixtureParams) -> MixtureParams:
        """Components without a density get the least one."""
        mask = self.model.family.singular(params.components)
        return self.model.floored(params, mask, self.scale) if mask.any() else params


def _filled(T: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """T with its holes at the means of the columns, for seeding; 0 where a column has holes alone."""
    holes = np.isnan(T)
    if not holes.any():
        return T
    w = np.ones(len(T)) if weight is None else weight
    total = w @ ~holes
    return np.where(holes, w @ np.where(holes, 0.0, T) / np.where(total > 0, total, 1.0), T)


def sample_size(k: int, d: int) -> int:
    """Rows of the sample: enough that K covariances do not fit its noise."""
    return int(np.clip(30 * k * (d + 3), 4096, max(50_000, 4 * k)))


def warning_of_duplicates(start: Start) -> str:
    """What to warn of where there are fewer distinct rows than components; else nothing."""
    rows = start.sample.X
    distinct = distinct_rows(rows, start.k)
    if distinct >= start.k:
        return ""
    whole = len(rows) < sample_size(start.k, rows.shape[1])
    which = "X has" if whole else f"a sample of {len(rows)} rows of X has"
    return (
        f"n_components is {start.k} and {which} {plural(distinct, 'distinct row')}: some components coincide or "
        f"hold no row. Use n_components <= {distinct}"
    )


def scale_of(X: np.ndarray, weight: np.ndarray | None) -> Scale:
    """Mean, covariance and standard deviations (positive, where a column is constant) of the sample."""
    w = weight / weight.sum() if weight is not None else np.full(len(X), 1.0 / len(X))
    mean = X[0] + w @ (X - X[0])
    y = X - mean
    covariance = (w[:, None] * y).T @ y
    return spread(mean, covariance)


def spread(mean: np.ndarray, covariance: np.ndarray) -> Scale:
    """With standard deviations that are positive."""
    deviation = np.sqrt(np.diagonal(covariance))
    fallback = np.where(mean != 0, np.maximum(1e-6 * np.abs(mean), 1e-150), 1.0)  # whose square is a number
    return Scale(mean, covariance, np.where(deviation > 1e-9 * np.abs(mean), deviation, fallback))


def starting_params(
    init_params: str, start: Start, random_state: np.random.RandomState, growth: Any = None
) -> MixtureParams:
    """The parameters EM begins with, made from the sample; and on few rows from the `growth` of a smaller fit."""
    if start.k == 1:
        return _from_labels(start, np.zeros(len(start.T), int))  # there is one start only
    if start.near is not None:
        return _in_parts(init_params, start, random_state, growth)
    if init_params == "race":
        if growth is None or _runners(start) < MOST_RUNNERS or not is_separable(start.model):
            return race(start.model, _candidates(start, random_state), start.sample, start.floored, start.stop)
        return _race_with(growth, start, random_state)
    X, weight = start.T - start.scale.mean, _weights(start.sample)
    if init_params == "kmeans" and X.size * start.k <= OWN_SEEDING:
        rng = np.random.default_rng(random_state.randint(np.iinfo(np.int32).max))
        centres = seeding.seeds(X, start.k, 1, weight, rng)
        return _from_labels(start, seeding.k_means(X, centres, weight, seeding.MOST_ITERATIONS)[0])
    if init_params == "kmeans":
        return _from_labels(start, _kmeans_labels(X, start.k, weight, random_state))
    if init_params == "k-means++":
        return from_centres(start, _seeds(X, start.k, weight, random_state) + start.scale.mean)
    if init_params == "random_from_data":
        rng = np.random.default_rng(random_state.randint(np.iinfo(np.int32).max))
        # There may be a row more, for a column that is hardly ever observed.
        components = start.model.family.spread_about(subsample([start.sample], start.k, rng).X[: start.k], start.scale)
        return MixtureParams(np.full(start.k, 1.0 / start.k), components)
    resp = random_state.uniform(size=(len(X), start.k))
    return _from_responsibilities(start, resp / resp.sum(axis=1, keepdims=True))


def _in_parts(init_params: str, start: Start, random_state: np.random.RandomState, growth: Any) -> MixtureParams:
    """Near and far rows have components of their own, as many as their share of the rows, and at least one.

    With one unit for both the near ones would be equal, and one component for both would leave these. In a race as
    few components for the far rows as there may be take part, and a start as if none were far.
    """
    near, rows = np.asarray(start.near), len(start.T)
    share, least = 1 - np.average(near, weights=_weights(start.sample)), max(1, start.k - int(near.sum()))
    most = max(least, min(round(start.k * share), rows - int(near.sum()), start.k - 1))
    if init_params != "race":
        return _from_parts(init_params, start, most, random_state)
    runners, plain = [], start._replace(near=None)
    with suppress(ValueError):  # a family may have no density for rows so far from a component
        runners += [_from_parts(init_params, start, of_far, random_state) for of_far in sorted({least, most})]
        others = starting_params(init_params, plain, random_state, growth)
        return race(start.model, [*runners, others], start.sample, start.floored, start.stop)
    return runners[0] if runners else starting_params(init_params, plain, random_state, growth)


def _from_parts(init_params: str, start: Start, of_far: int, random_state: np.random.RandomState) -> MixtureParams:
    """An M-step from the responsibilities of two mixtures, one of the far rows and one of the near ones."""
    assert start.near is not None
    resp, first = np.zeros((len(start.T), start.k)), 0
    for mask, k in ((start.near, start.k - of_far), (~start.near, of_far)):
        part = start.part(mask, k)
        params = part.floored(starting_params(init_params, part, random_state))
        own = slice(first, first := first + k)
        resp[mask, own] = start.model.rows(params, part.sample, "responsibilities")["responsibilities"]
    return _from_responsibilities(start, resp)


def _race_with(growth: Any, start: Start, random_state: np.random.RandomState) -> MixtureParams:
    """The winner of a race in which starts from a smaller fit take part: fewer others do, in fewer rounds.

    On five tables with K from 2 to 4 it ended higher three times as often as it ended lower than the better of two
    fits, one from a whole race without those starts and one from one of them; at half the cost.
    """
    runners = MOST_RUNNERS // 2 if start.T.shape[1] <= FEW_COLUMNS else MOST_RUNNERS
    candidates = list(_candidates(start, random_state, runners))
    candidates += growth.starts(start, np.random.default_rng(random_state.randint(np.iinfo(np.int32).max)))
    return race(start.model, candidates, start.sample, start.floored, start.stop, GROWN_ROUNDS)


def _seeds(X: np.ndarray, k: int, weight: np.ndarray | None, random_state: Any) -> np.ndarray:
    """Centres drawn by scikit-learn's k-means++."""
    from sklearn.cluster import kmeans_plusplus  # here: 20 MB and 0.2 s, for nothing where a start is given or loaded

    return kmeans_plusplus(X, k, sample_weight=weight, random_state=random_state)[0]


def _kmeans_labels(X: np.ndarray, k: int, weight: np.ndarray | None, random_state: Any, **options: Any) -> np.ndarray:
    """Labels by one run of scikit-learn's k-means."""
    from sklearn.cluster import KMeans

    # Not more clusters than distinct rows: scikit-learn would warn at every call, and we have warned of it once.
    k = distinct_rows(X if weight is None else X[weight > 0], k)
    return KMeans(k, n_init=1, random_state=random_state, **options).fit(X, sample_weight=weight).labels_


def from_centres(start: Start, centres: np.ndarray) -> MixtureParams:
    """An M-step from each row given to its nearest centre, in units of the data's standard deviations."""
    z, scaled = ((rows - start.scale.mean) / start.scale.deviation for rows in (start.T, centres))
    return _from_labels(start, _nearest(z, scaled))


def _nearest(X: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return seeding.nearest(X, centres[None])[0]


def _candidates(start: Start, random_state: np.random.RandomState, most: int = MOST_RUNNERS) -> Iterator[MixtureParams]:
    """k-means++ seeds and short k-means runs: on the sample as it is, standardised, and whitened."""
    X, weight = start.T - start.scale.mean, _weights(start.sample)
    values, vectors = np.linalg.eigh(start.scale.covariance / np.outer(start.scale.deviation, start.scale.deviation))
    standard = X / start.scale.deviation
    whitened = standard @ vectors / np.sqrt(np.maximum(values, 1e-6 * max(values[-1], 1e-300)))
    spaces, runners = (X, standard, whitened), _runners(start)
    seed = random_state.randint(np.iinfo(np.int32).max)
    if runners == MOST_RUNNERS:
        found = _labels_at_once(spaces, start.k, weight, np.random.default_rng(seed), most)
        if is_separable(start.model):
            yield from _from_many_labels(start, found)
        else:
            yield from (_from_labels(start, labels) for labels in found)
        return
    for labels in _labels_in_turn(spaces, start.k, weight, np.random.RandomState(seed), runners):
        yield _from_labels(start, labels)


def _runners(start: Start) -> int:
    """How many starts race."""
    work = start.T.size * start.k
    return int(np.clip(2_000_000 // work, np.clip(200_000_000 // work, 4, RUNNERS), MOST_RUNNERS))


def _labels_at_once(
    spaces: tuple, k: int, weight: np.ndarray | None, rng: np.random.Generator, runners: int
) -> np.ndarray:
    """Labels for each of so many starts that part the rows in ways of their own, half of them by k-means."""
    runs = runners // len(spaces)
    centres = [seeding.seeds(X, k, runs, weight, rng) for X in spaces]
    found = [seeding.k_means(X, seeds[: runs // 2], weight) for X, seeds in zip(spaces, centres)]
    found += [seeding.nearest(X, seeds[runs // 2 :]) for X, seeds in zip(spaces, centres)]
    return seeding.distinct(np.concatenate(found), rng)


def _labels_in_turn(
    spaces: tuple, k: int, weight: np.ndarray | None, random_state: np.random.RandomState, runners: int
) -> Iterator[np.ndarray]:
    """Labels for one start after the other, the first half of them by k-means; scikit-learn's are for many rows."""
    own = spaces[0].size * k <= OWN_SEEDING
    for r in range(runners):
        space = spaces[r % 3]
        seed = random_state.randint(np.iinfo(np.int32).max)
        if own:
            centres = seeding.seeds(space, k, 1, weight, np.random.default_rng(seed))
            yield (seeding.k_means(space, centres, weight) if r < runners // 2 else seeding.nearest(space, centres))[0]
        elif r < runners // 2:
            yield _kmeans_labels(space, k, weight, seed, max_iter=seeding.ITERATIONS)
        else:
            yield _nearest(space, _seeds(space, k, weight, seed))


def _weights(data: Chunk) -> np.ndarray | None:
    return data.sample_weight if data.sample_weight.size else None


def _from_labels(start: Start, labels: np.ndarray) -> MixtureParams:
    return _from_responsibilities(start, np.eye(start.k)[labels])


def _from_many_labels(start: Start, labels: np.ndarray) -> list[MixtureParams]:
    """A start of each of the labels (r, n), all components made together."""
    resp = np.eye(start.k)[labels.T].reshape(len(start.T), -1)
    together = _from_responsibilities(start, resp)
    weights = together.weights.reshape(-1, start.k)
    weights = weights / weights.sum(axis=1, keepdims=True)
    return parted(together._replace(weights=weights.ravel()), len(labels))


def _from_responsibilities(start: Start, resp: np.ndarray) -> MixtureParams:
    weight = start.sample.sample_weight
    resp = resp * weight[:, None] if weight.size else resp
    sum_w, components = start.model.family.from_responsibilities(start.T, resp, start.scale)
    return start.floored(MixtureParams(sum_w / sum_w.sum(), components))
