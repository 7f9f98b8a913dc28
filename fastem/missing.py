"""The parameter `missing` of mixtures whose likelihood can be that of the entries that are there."""

from typing import Any

import numpy as np

from fastem.validation import check_choice


class MissingEntries:
    """To inherit from before the mixture."""

    missing: str

    def _validate_parameters(self: Any) -> None:
        super()._validate_parameters()  # type: ignore[misc]
        check_choice("missing", self.missing, ("error", "nan"))

    def _covarying(self: Any, d: int) -> np.ndarray | None:
        """Pairs (d, d) of columns whose covariances are estimated from rows with gaps; None where there are none."""
        matrices = getattr(self, "covariance_type", None) in ("full", "tied")
        return np.ones((d, d), bool) if matrices and self.missing == "nan" and d > 1 else None

    def __sklearn_tags__(self: Any):
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.allow_nan = self.missing == "nan"
        return tags
