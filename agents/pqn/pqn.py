"""PQN (Gallici et al. 2024): Q-learning from rollouts of many environments, without replay buffer or target network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from agents.acting.exploration import ExplorationRate, RandomActions
from agents.acting.policies import Decision
from agents.learner.learner import GradientSteps, Learner
from agents.losses.policy import masked_mean
from agents.losses.value import td_error
from agents.on_policy.minibatches import shuffled_minibatches
from agents.on_policy.on_policy_agent import OnPolicyAgent
from agents.on_policy.returns import lambda_returns
from agents.on_policy.reward_scaling import RewardClipping
from agents.on_policy.rollout import Rollout, RolloutStorage, SampledAction
from agents.settings.pqn import PQNSettings
from envs import TimeStep
from wnrl.device import to_device
from wnrl.initialization.initialize import initialize
from wnrl.normalizers.folding import fold


class QMinibatch(NamedTuple):
    """Steps of a rollout with their returns; B stands for `[T, N]` before they are shuffled."""

    obs: Tensor  # [B, *obs_shape]
    action: Tensor  # [B] int64
    target: Tensor  # [B], returns
    valid: Tensor  # [B] bool


class PQNAgent(OnPolicyAgent):
    """An agent that learns the λ-returns of each rollout, bootstrapped from the greatest value of each row.

    Args:
        learner: of a `QNetwork`, a folded copy of which acts.
        storage: of a rollout, on the learner's device.
        rewards: from a row to the rewards to learn from.
        settings: the agent's numbers.
        rng: of exploration and of the order of minibatches.

    Raises:
        ValueError: graphs are asked for where there are none.
    """

    def __init__(
        self,
        learner: Learner,
        storage: RolloutStorage,
        rewards: RewardClipping,
        settings: PQNSettings,
        *,
        rng: np.random.Generator,
    ) -> None:
        acting = fold(learner.network, learner.dtype).eval()
        generator = torch.Generator(learner.device).manual_seed(int(rng.spawn(1)[0].integers(2**62)))
        overlaps = settings.overlap_rollouts
        super().__init__(learner, acting, storage, rewards, settings, generator=generator, overlaps_rollouts=overlaps)
        self._rng = rng
        self.gradient_step = GradientSteps(learner, self._loss, self._graphs)
        self._epsilon = ExplorationRate(settings.exploration)

    # Acting

    values_returns = True

    def learned_reward(self, timestep: TimeStep) -> np.ndarray:
        """The rewards `[N]` of a row, clipped and scaled."""
        return self.rewards(timestep)

    @property
    def evaluation_options(self) -> dict[str, Any]:
        """How evaluation plays, as options of `make_policy`: ε-greedy."""
        return {"epsilon": self.settings.exploration.eval_epsilon}

    def _draw_row(self, number: int, step: int) -> RandomActions:
        return RandomActions.draw(number, self.network.num_actions, self._epsilon(step), self._rng)

    @torch.no_grad()
    def act_on(self, timestep: TimeStep, draws: RandomActions, part: slice) -> Decision:
        """ε-greedy actions, stored with the greatest value of each environment's row; no probability is needed."""
        value, greedy = self._decide(to_device(timestep.obs, self.learner.device))
        action = draws.of(part).instead_of(greedy.cpu().numpy())
        return Decision(action, SampledAction(torch.as_tensor(action), torch.zeros_like(value), value))

    def _choose(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The greatest values `[N]` of observations, and the actions `[N]` that have them."""
        with self.learner.autocast():
            q_values = self.acting(*inputs).q_values
        value, action = q_values.max(1)
        return value, action

    # Learning

    def update(self, rollout: Rollout, timestep: TimeStep, step: int) -> None:
        """Epochs of gradient steps on shuffled minibatches."""
        steps = QMinibatch(rollout.obs, rollout.action, self.targets(rollout, timestep), rollout.valid)
        for _ in range(self.settings.epochs):
            for batch in shuffled_minibatches(steps, self.settings.minibatches, self._learning_generator):
                self.gradient_step(batch)

    def targets(self, rollout: Rollout, timestep: TimeStep) -> Tensor:
        """Returns of Q(λ) by the network that acted (Gallici et al. 2024).

        Unlike in the published code, truncation does not end a return: it is bootstrapped.

        Args:
            rollout: T rows.
            timestep: the row that follows.

        Returns:
            `[T, N]`, 0 at invalid rows.
        """
        return lambda_returns(
            rollout.reward,
            rollout.discount,
            self._next_values(rollout, timestep),
            rollout.valid,
            gamma=self.settings.learner.gamma,
            lambda_=self.settings.q_lambda,
        )

    @torch.no_grad()
    def _values(self, timestep: TimeStep) -> Tensor:
        """The greatest value of each environment's row."""
        value, _ = self._decide(to_device(timestep.obs, self.learner.device))
        return value

    def _loss(self, batch: QMinibatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Half the mean squared TD error, and its metrics."""
        with self.learner.autocast():
            q_values = self.network(batch.obs).q_values
        error = td_error(q_values, batch.action, batch.target)
        metrics = {"train/q_mean": q_values.mean(), "train/td_error": masked_mean(error.abs(), batch.valid)}
        return masked_mean(0.5 * error.square(), batch.valid), metrics

    def _initialize(self, rollout: Rollout) -> None:
        init, obs = self.settings.learner.init, rollout.obs.flatten(0, 1)
        initialize(self.network, init, obs, generator=self._learning_generator)

    # What a run logs and keeps

    def metrics(self, step: int) -> dict[str, float]:
        """Scalars by TensorBoard tag."""
        return {**super().metrics(step), "rollout/exploration_rate": self._epsilon(step)}

    def _moved_by_acting(self) -> dict[str, Any]:
        return {**super()._moved_by_acting(), "rng": self._rng.bit_generator.state}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from such a state."""
        super().set_state(state)
        self._rng.bit_generator.state = state["rng"]
