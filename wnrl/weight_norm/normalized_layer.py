"""The interface of the layers with which a normalizer replaces plain ones."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class NormalizedLayer(nn.Module):
    """A layer that replaces a plain one; `fold` gives the cheapest layer with its function in evaluation mode."""

    def fold(self) -> nn.Module:
        """A new layer with the same function in evaluation mode; a plain one wherever possible."""
        raise NotImplementedError

    def folded(self) -> dict[str, Tensor]:
        """The current values of the parameters of `fold()`, by name."""
        raise NotImplementedError

    def unfold(self, parameters: Mapping[str, Tensor]) -> None:
        """Set the parameters, in place, so that `fold()` has these parameters."""
        raise NotImplementedError
