"""A mixture of a family of the user's own."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fastem.checkpoint import without_address
from fastem.engine import tree
from fastem.engine.accumulate import compiled_sums
from fastem.engine.chunks import chunk
from fastem.engine.model import Mixture as Model
from fastem.engine.model import MixtureParams
from fastem.families.user import UserFamily
from fastem.families.user_bricks import BrickFamily
from fastem.family_mixture import FamilyMixture
from fastem.ranges import check_scale
from fastem.starts import Start
from fastem.stored_families import arrays_of, form_of, tree_of

VERBS = "log_prob", "statistics", "m_step"
BRICK_VERBS = "log_prob", "accumulate", "zeros", "m_step"


def e_step_of(dtype: Any, family: Any, X: np.ndarray) -> Callable[[Any], Any]:
    """The E-step of rows X by components, in the dtype for which the loop is compiled."""
    model, rows = Model(family, 1), [chunk(np.ascontiguousarray(X, dtype=dtype), None)]
    return lambda components: model.e_step(MixtureParams(np.ones(len(components[0])), components), rows)


class Mixture(FamilyMixture):
    """Mixture of a family that you write: in NumPy, or as two bricks that are compiled into the loop over the rows.

    Parameters
    ----------
    family : object
        In NumPy with three methods, whose `params` and `statistics` are arrays, or NamedTuples, tuples or dicts of
        them, with a first axis over the components:

        - ``log_prob(X, params)``: log p(x_i | k), (n, K);
        - ``statistics(X, resp)``: sums over the rows, weighted by the responsibilities (n, K), which hold the weights
          of the rows too; those of chunks are added;
        - ``m_step(statistics, params)``: parameters that maximise, or at least raise, the expected log-likelihood;
          `params` are those before, and None at the start: do not count on them unless you give `params_init`.

        Or with two bricks (see :func:`fastem.brick`) in place of the former two, at the speed of the families that are
        built in. `params` and `sums` are NamedTuples of arrays then, and a tile is a block of B rows of which
        ``tile.columns[j, b]`` is column j. Let the loop over b be the innermost, and sum into local variables:

        - ``log_prob(tile, params, out)``: ``out[k, b] = log p(x_b | k)``;
        - ``accumulate(tile, resp, params, sums, s)``: ``sums.name[s, k, ...] += sum_b resp[k, b] T(x_b)``; `params` is
          None in the first call, which is uncompiled: ``sums.sum_w.shape[1]`` is K;
        - ``zeros(k, d)``: the sums of K components and d columns, 0; one is ``sum_w`` (K,), of the responsibilities;
        - ``m_step(sums, params)``: as above.

        Bricks may have ``base(X)``, (n,), the part of log p(x | k) that is the same for all k and that they leave out;
        ``prepare(params)``, a NamedTuple of arrays that the bricks read in place of `params`; and ``start(X, k)``,
        params for an `accumulate` that reads them.

        Besides, where you want them: ``sample(params, counts, rng)``, ``n_parameters(params)`` for `bic`, and
        ``log_prior(params)``, which `m_step` then takes into account.
    n_components : int, default 1
    tol, max_iter, n_init, init_params, random_state, warm_start, verbose, verbose_interval, n_jobs, callback, \
max_time, on_collapse, accelerate, weight_concentration_prior, weights_init
        As in :class:`fastem.GaussianMixture`. Threads of a family in NumPy are NumPy's own.
    params_init : as `params_`, optional

    Attributes
    ----------
    weights_ : (K,)
    params_ : what `m_step` gives
    converged_, n_iter_, stop_reason_, lower_bound_, lower_bounds_, history_, diagnostics_, n_features_in_
        As in :class:`fastem.GaussianMixture`.

    Notes
    -----
    A file has the parameters and the name of the family's class, and no code: ``fastem.load(path, family=Rayleigh())``.

    Examples
    --------
    Rayleigh distributed wind speeds of two seasons.

    >>> import numpy as np, fastem
    >>> class Rayleigh:
    ...     def log_prob(self, X, params):
    ...         return np.log(X) - np.log(params) - X**2 / (2 * params)
    ...     def statistics(self, X, resp):
    ...         return resp.sum(axis=0), resp.T @ X[:, 0]**2
    ...     def m_step(self, statistics, params):
    ...         weight, squares = statistics
    ...         return squares / weight / 2
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.rayleigh(2.0, 2000), rng.rayleigh(8.0, 2000)])[:, None]
    >>> model = fastem.Mixture(Rayleigh(), 2, random_state=0).fit(X)
    >>> np.sqrt(np.sort(model.params_)).round()
    array([2., 8.])
    """

    _algorithms = ("batch",)
    _advice = {
        "decreased": "m_step lowered the log-likelihood: it is to maximise, or at least to raise, the expected sum of "
        "log_prob given these statistics; look whether log_prob is the logarithm of a density",
        "not_finite": "log_prob is -inf in all components for some row, or its sum is no finite number: remove rows "
        "that no component can give, or keep the parameters off the border in m_step",
    }
    _troubles = {"floored": "kept as one of all rows"}
    params_: Any

    def __init__(
        self,
        family,
        n_components=1,
        *,
        tol=1e-4,
        max_iter=1000,
        n_init=1,
        init_params="race",
        weights_init=None,
        params_init=None,
        random_state=None,
        warm_start=False,
        verbose=0,
        verbose_interval=10,
        n_jobs=None,
        callback=None,
        max_time=None,
        on_collapse="restart",
        accelerate="squarem",
        weight_concentration_prior=None,
    ):
        self._store(locals())

    def _validate_parameters(self) -> None:
        super()._validate_parameters()
        if isinstance(self.family, type):
            raise ValueError(f"family is the class {self.family.__name__}; an object of it is wanted: call it first")
        verbs = BRICK_VERBS if self._of_bricks() else VERBS
        if missing := [name for name in verbs if not callable(getattr(self.family, name, None))]:
            raise ValueError(
                f"family is {self.family!r}, without {' and '.join(missing)}; an object with the methods "
                f"{', '.join(verbs)} is wanted: see the docstring of fastem.Mixture for one of eight lines"
            )

    def _of_bricks(self) -> bool:
        return hasattr(self.family, "accumulate")

    def _settings(self, data: Any, plan: Any) -> dict[str, Any]:
        return super()._settings(data, plan) | {"family": without_address(self.family)}

    @property
    def _holdable(self) -> tuple[str, ...]:
        return ("params",)

    def _beginning(self, name: Any) -> tuple[str, Any]:
        argument = f"{name}_init"
        return argument, getattr(self, argument)

    def _family(self, dtype: Any = np.float64) -> UserFamily:
        if self._of_bricks():
            return BrickFamily(self.family, tree.mapped, compiled_sums, partial(e_step_of, dtype), self.n_features_in_)
        return UserFamily(self.family, tree.mapped)

    def _check_start(self, start: Start) -> None:
        check_scale(start.T, self)
        start.model.family.rows = start.T
        if self._of_bricks():
            start.model.family.rehearse(start.T, start.k)

    def _given(self, start: Start) -> Any:
        rows = np.repeat(start.T[:1], start.k, axis=0)
        wanted = tree.shapes(start.model.family.spread_about(rows, start.scale))
        given = tree.mapped(lambda leaf: np.array(leaf, dtype=np.float64), self.params_init)
        if tree.shapes(given) != wanted:
            raise ValueError(
                f"params_init has arrays of shapes {tree.shapes(given)}; {wanted} are wanted: what m_step gives for "
                f"{start.k} components"
            )
        return given

    def _to_file(self, parameters: dict[str, Any], attributes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        given = () if self.params_init is None else self.params_init
        form = None if self.params_init is None else [form_of(given)]
        parameters = parameters | {"family": type(self.family).__name__, "params_init": form}
        attributes = {name: value for name, value in attributes.items() if name != "params_"}
        attributes |= {"params_form_": form_of(self.params_)} | arrays_of(self.params_, "params", "_")
        return parameters | arrays_of(given, "params", "_init"), attributes

    @classmethod
    def _from_file(cls, parameters: dict[str, Any], attributes: dict[str, Any]) -> Any:
        family = parameters["family"]
        params = tree_of(attributes.pop("params_form_"), attributes, "params", "_", family)
        if parameters["params_init"] is not None:
            (form,) = parameters["params_init"]
            parameters["params_init"] = tree_of(form, parameters, "params", "_init", family)
        model: Any = cls(**parameters)
        vars(model).update(attributes, params_=params)
        return model

    def _set_params_(self, params: MixtureParams, dtype: np.dtype) -> None:
        self.weights_, self.params_ = params.weights, params.components

    def _get_params_(self) -> MixtureParams:
        return MixtureParams(np.asarray(self.weights_, float), self.params_)
