"""The recurrent core of a network, whose state is carried from step to step within an episode."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wnrl.device import without_autocast
from wnrl.weight_norm.recurrent import with_weights_computed


class LSTMState(NamedTuple):
    """Hidden and cell state of an LSTM."""

    h: Tensor  # [B, H] float32
    c: Tensor  # [B, H] float32


class LSTMCore(nn.Module):
    """An LSTM over time whose state is zeroed at the start of every episode; always computed in float32.

    Args:
        in_features: F.
        hidden: H.
    """

    def __init__(self, in_features: int, hidden: int = 256) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, hidden
        self.lstm = nn.LSTM(in_features, hidden)

    def initial_state(self, batch_size: int) -> LSTMState:
        """The state before an episode's first step, zeros `[batch_size, H]`."""
        zeros = torch.zeros(batch_size, self.out_features, device=next(self.parameters()).device)
        return LSTMState(zeros, zeros.clone())

    def forward(self, features: Tensor, state: LSTMState, first: Tensor) -> tuple[Tensor, LSTMState]:
        """Outputs `[T, B, H]` and the state after the last step.

        The LSTM is called once for each stretch of time in which no episode begins; effective weights are computed only
        once, unless the LSTM has forward pre-hooks. With T > 1, finding the stretches synchronizes with the device
        once.

        Args:
            features: `[T, B, F]`.
            state: before the first step.
            first: `[T, B]` bool, or numbers that are 0 for False: the first steps of episodes, before which the state
                is zeroed.

        Raises:
            ValueError: other shapes.
        """
        self._check(features, state, first)
        first, outputs = first.bool(), []
        with without_autocast(features.device):
            lstm = with_weights_computed(self.lstm)
            for begin, end in itertools.pairwise(_stretches(first)):
                h, c = (s.float().masked_fill(first[begin, :, None], 0.0).unsqueeze(0) for s in state)
                output, (h, c) = lstm(features[begin:end].float(), (h, c))
                outputs.append(output)
                state = LSTMState(h.squeeze(0), c.squeeze(0))
        return torch.cat(outputs), state

    def _check(self, features: Tensor, state: LSTMState, first: Tensor) -> None:
        got = [tuple(x.shape) for x in (features, *state, first)]
        steps, batch = (*first.shape, 0, 0)[:2]
        states = (batch, self.out_features)
        if not steps or got != [(steps, batch, self.in_features), states, states, (steps, batch)]:
            shapes = f"features [T, B, {self.in_features}], h and c [B, {self.out_features}], first [T, B]"
            raise ValueError(f"expected {shapes} with T > 0, got {', '.join(map(str, got))}")


def _stretches(first: Tensor) -> list[int]:
    """0, each later step at which an episode begins in some environment, and T."""
    if len(first) == 1:
        return [0, 1]
    starts = first[1:].any(1).nonzero().flatten() + 1
    return [0, *starts.tolist(), len(first)]
