"""Policies for RecurrentPPO: those of `sb3_contrib.ppo_recurrent`, normalized (see `NormalizedPolicy`)."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from wnrl.sb3.acting_ratios import ComparedPolicy
from wnrl.sb3.contrib import ppo_recurrent as host
from wnrl.weight_norm.recurrent import with_weights_computed


class NormalizedRecurrentPolicy(ComparedPolicy):
    """Mixed in before a recurrent policy class: `NormalizedPolicy` that computes each effective weight once a pass."""

    def _counted(self, obs: Any, actions: Tensor) -> Tensor:
        """All examples but those with which the host fills short sequences, zeros."""
        filled = torch.stack([x.flatten(1).any(1) for x in tree_leaves((obs, actions.reshape(len(actions), -1)))])
        return filled.any(0)

    @staticmethod
    def _process_sequence(
        features: Tensor, lstm_states: tuple[Tensor, Tensor], episode_starts: Tensor, lstm: nn.Module
    ) -> Any:
        """As the host's, which calls the LSTM once per time step if an episode begins within the sequence.

        Args:
            features: `[B · T, F]`, one sequence after the other.
            lstm_states: h and c before the first step, each `[layers, B, H]`.
            episode_starts: `[B · T]`, 1 where the states are zeroed before the step.
            lstm: of F inputs.

        Returns:
            Outputs `[B · T, H]`, and h and c after the last step.
        """
        twin = cast(nn.LSTM, with_weights_computed(lstm))
        return host.MlpLstmPolicy._process_sequence(features, lstm_states, episode_starts, twin)


class RecurrentActorCriticPolicy(NormalizedRecurrentPolicy, host.MlpLstmPolicy):
    """`sb3_contrib.ppo_recurrent.MlpLstmPolicy`, normalized."""


class RecurrentActorCriticCnnPolicy(RecurrentActorCriticPolicy, host.CnnLstmPolicy):
    """`sb3_contrib.ppo_recurrent.CnnLstmPolicy`, normalized."""


class RecurrentMultiInputActorCriticPolicy(RecurrentActorCriticPolicy, host.MultiInputLstmPolicy):
    """`sb3_contrib.ppo_recurrent.MultiInputLstmPolicy`, normalized."""


MlpLstmPolicy = RecurrentActorCriticPolicy
CnnLstmPolicy = RecurrentActorCriticCnnPolicy
MultiInputLstmPolicy = RecurrentMultiInputActorCriticPolicy
