"""What every layer that a normalizer puts in the place of a plain one can do."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class NormalizedLayer(nn.Module):
    """A layer in the place of a plain one, whose function in evaluation mode `fold` gives as cheaply as can be."""

    def fold(self) -> nn.Module:
        """A layer of the same function in evaluation mode, with parameters of its own; plain wherever that can be."""
        raise NotImplementedError

    def folded(self) -> dict[str, Tensor]:
        """The values that the parameters of `fold()` have now, by name."""
        raise NotImplementedError

    def unfold(self, parameters: Mapping[str, Tensor]) -> None:
        """Take on, in place, the function that `fold()` would have with these parameters."""
        raise NotImplementedError
