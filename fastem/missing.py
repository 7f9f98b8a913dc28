"""The parameter `missing` of mixtures whose likelihood can be that of the entries that are there."""

import warnings
from typing import Any

import numpy as np

from fastem.columns import words_of_single_values
from fastem.starts import Start, sample_size
from fastem.validation import check_choice


class MissingEntries:
    """To inherit from before the mixture."""

    missing: str

    def _validate_parameters(self: Any) -> None:
        super()._validate_parameters()  # type: ignore[misc]
        check_choice("missing", self.missing, ("error", "nan"))

    def _check_start(self: Any, start: Start) -> None:
        super()._check_start(start)  # type: ignore[misc]
        whole = len(start.sample.X) < sample_size(start.k, start.sample.X.shape[1])  # else there may be more values
        if self.missing != "nan" or not hasattr(self, "reg_covar") or not whole:
            return
        if words := words_of_single_values(start.sample.X, getattr(self, "feature_names_in_", None)):
            warnings.warn(words, UserWarning, stacklevel=5)

    def _covarying(self: Any, d: int) -> np.ndarray | None:
        """Pairs (d, d) of columns whose covariances are estimated from rows with gaps; None where there are none."""
        matrices = getattr(self, "covariance_type", None) in ("full", "tied")
        return np.ones((d, d), bool) if matrices and self.missing == "nan" and d > 1 else None

    def __sklearn_tags__(self: Any):
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.allow_nan = self.missing == "nan"
        return tags
