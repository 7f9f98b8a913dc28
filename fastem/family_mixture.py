"""What the mixtures of other families than the Gaussian share: constructor, starting values, fitted attributes."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from fastem.columns import check_observed
from fastem.engine.model import MixtureParams
from fastem.estimator import MixtureEstimator
from fastem.inits import check_init, check_weights_init
from fastem.missing import MissingEntries
from fastem.ranges import check_scale
from fastem.starts import Start
from fastem.validation import check_numbers


class FamilyMixture(MixtureEstimator):
    """Base of the mixtures whose family has no shape to choose. A subclass names its Params and makes its family."""

    params_type: Any
    prior: Any = 0.0
    weights_init: Any
    params_init: Any

    def __init__(
        self,
        n_components=1,
        *,
        tol=1e-4,
        prior=0.0,
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

    @property
    def _fields(self) -> tuple[str, ...]:
        return self.params_type._fields

    @property
    def _holdable(self) -> tuple[str, ...]:
        return self._fields

    def _beginning(self, name: Any) -> tuple[str, Any]:
        if name == "weights":
            return "weights_init", self.weights_init
        given = self.params_init
        if isinstance(given, Mapping):
            given = given.get(name)
        return "params_init" + f", with {name!r} in it" * (len(self._holdable) > 1), given

    def _validate_parameters(self) -> None:
        super()._validate_parameters()
        self._check_prior()

    def _check_prior(self) -> None:
        check_numbers(self, Real, {"prior": 0})

    def _check_start(self, start: Start) -> None:
        check_scale(start.T, self)
        start.model.family.prior_mean = self.prior_mean_ = start.scale.mean

    def _apply_inits(self, params: MixtureParams | None, start: Start) -> MixtureParams | None:
        weights = None if self.weights_init is None else check_weights_init(self.weights_init, start.k)
        components = None if self.params_init is None else self._given(start)
        if params is None:
            if components is None:
                return None
            return MixtureParams(np.full(start.k, 1.0 / start.k) if weights is None else weights, components)
        return MixtureParams(
            params.weights if weights is None else weights, params.components if components is None else components
        )

    def _given(self, start: Start) -> Any:
        """`params_init` as Params, of the shapes that the data ask for."""
        return given_params(self.params_init, self.params_type, start)

    def _set_params_(self, params: MixtureParams, dtype: np.dtype) -> None:
        self.weights_ = params.weights.astype(dtype)
        for name, array in params.components._asdict().items():
            setattr(self, f"{name}_", array.astype(dtype))

    def _get_params_(self) -> MixtureParams:
        arrays = (np.array(getattr(self, f"{name}_"), dtype=np.float64, order="C") for name in self._fields)
        return MixtureParams(self._proportions(), self.params_type(*arrays))


class ColumnMixture(MissingEntries, FamilyMixture):
    """Base of those whose columns are independent given the component, so that a missing entry simply drops out."""

    def __init__(
        self,
        n_components=1,
        *,
        tol=1e-4,
        prior=0.0,
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
        missing="error",
        weight_concentration_prior=None,
    ):
        self._store(locals())

    def _check_start(self, start: Start) -> None:
        check_observed(start.sample.X, getattr(self, "feature_names_in_", None))
        super()._check_start(start)


def given_params(given: Any, params_type: Any, start: Start) -> Any:
    """`params_init` as Params of that type, of the shapes that the data ask for."""
    family, fields = start.model.family, params_type._fields
    rows = np.repeat(start.sample.X[:1].astype(np.float64), start.k, axis=0)
    wanted = family.spread_about(rows, start.scale)
    if not isinstance(given, Mapping):
        given = dict(zip(fields, given if len(fields) > 1 else [given], strict=False))
    if set(given) != set(fields):
        wanted_form = ", ".join(f"{field!r}: ..." for field in fields)
        raise ValueError(
            f"params_init has {', '.join(map(repr, given)) or 'nothing'}; all of {', '.join(map(repr, fields))} are "
            f"wanted, each as the fitted attribute of that name has it: params_init={{{wanted_form}}}"
        )
    arrays = [check_init(f"params_init[{n!r}]", given[n], np.shape(getattr(wanted, n))) for n in fields]
    components = params_type(*arrays)
    family.prepare(components, np.dtype(float), np.full(start.k, 1.0 / start.k))
    return family.admitted(components, components)
