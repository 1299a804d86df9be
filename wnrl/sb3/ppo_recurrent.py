"""Policies for RecurrentPPO: those of `sb3_contrib.ppo_recurrent`, normalized (see `NormalizedPolicy`)."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from wnrl.normalizers.batch_statistics import batch_norms, counting
from wnrl.sb3.acting_ratios import ComparedPolicy
from wnrl.sb3.contrib import ppo_recurrent as host
from wnrl.weight_norm.recurrent import with_weights_computed


class NormalizedRecurrentPolicy(ComparedPolicy):
    """Mixed in before a recurrent policy class: `NormalizedPolicy` that computes each effective weight once a pass.

    The statistics of minibatches are those of the steps that were played.
    """

    def evaluate_actions(self, obs: Any, actions: Tensor, *arguments: Any, **keywords: Any) -> Any:
        """As the host's."""
        if not (self.training and batch_norms(self)):
            return super().evaluate_actions(obs, actions, *arguments, **keywords)
        with counting(self, self._counted(obs, actions, *arguments, **keywords)):
            return super().evaluate_actions(obs, actions, *arguments, **keywords)

    def _counted(self, obs: Any, actions: Tensor, lstm_states: Any, episode_starts: Tensor) -> Tensor:
        """All steps but those with which the host fills short sequences, zeros; all if every sequence ends in zeros.

        The host fills none that is as long as the longest: if all end in zeros, some of these were played.
        """
        leaves = tree_leaves((obs, actions.reshape(len(actions), -1)))
        nonzero = torch.stack([leaf.flatten(1).ne(0).any(1) for leaf in leaves]).any(0)
        nonzero = nonzero.reshape(lstm_states.pi[0].shape[1], -1)  # [sequences, steps]
        nonzero[:, 0] = True
        played = nonzero.flip(1).cummax(1).values.flip(1)
        return (played | ~played[:, -1].any()).flatten()

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
