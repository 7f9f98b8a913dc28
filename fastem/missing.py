"""The parameter `missing` of mixtures whose likelihood can be that of the entries that are there."""

from typing import Any

from fastem.validation import check_choice


class MissingEntries:
    """To inherit from before the mixture."""

    missing: str

    def _validate_parameters(self: Any) -> None:
        super()._validate_parameters()  # type: ignore[misc]
        check_choice("missing", self.missing, ("error", "nan"))

    def __sklearn_tags__(self: Any):
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.allow_nan = self.missing == "nan"
        return tags
