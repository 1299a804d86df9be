"""PQN (Gallici et al. 2024): Q learning on what many environments just played, without replay and target network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from agents.acting.exploration import with_random
from agents.acting.policies import Decision, Policy, make_policy
from agents.learner.gradient_steps import GradientSteps
from agents.learner.learner import Learner
from agents.losses.losses import td_error
from agents.losses.policy import masked_mean
from agents.on_policy.returns import lambda_returns
from agents.on_policy.reward_scaling import RewardClipping
from agents.on_policy.rollout import Rollout, RolloutStorage, SampledAction
from agents.runtime.cuda_graphs import Graphs
from agents.settings.pqn import PQNSettings
from envs import TimeStep
from wnrl.device import to_device
from wnrl.initialization.initialize import data_init
from wnrl.normalizers.folding import FoldedCopy, fold
from wnrl.schedules import Linear


class Minibatch(NamedTuple):
    """Steps of a rollout to learn from."""

    obs: Tensor  # [B, *obs_shape]
    action: Tensor  # [B] int64
    target: Tensor  # [B], returns
    valid: Tensor  # [B] bool


class PQN:
    """An agent that plays a rollout, learns its λ-returns with the greatest values as bootstraps, and throws it away.

    Args:
        learner: of a `QNetwork`, whose folded copy acts.
        storage: of a rollout, on the learner's device.
        settings: the agent's numbers.
        rng: of exploration and of the order of minibatches.

    Raises:
        ValueError: graphs are asked for where there are none.
    """

    overlap = False  # a rollout ends with the row that its last steps led to

    def __init__(
        self, learner: Learner, storage: RolloutStorage, settings: PQNSettings, *, rng: np.random.Generator
    ) -> None:
        self.learner, self.storage, self.settings = learner, storage, settings
        self.network: Any = learner.network
        self.acting: Any = fold(self.network, learner.dtype).eval()
        self._folded_copy = FoldedCopy(self.acting, self.network)
        graphs = Graphs(learner.device, (), enabled=settings.learner.graphs)
        self._graphs = graphs
        self._greatest = graphs.capture_function(self._choose, "acting")
        self._refresh = graphs.capture(self._folded_copy.refresh, "refreshing what acts")
        self._gradient_step = GradientSteps(learner, self._loss, graphs)
        self._rewards = RewardClipping(settings.learner.reward_clip)
        self._rng = rng
        self._generator = torch.Generator(learner.device).manual_seed(int(rng.spawn(1)[0].integers(2**62)))
        explore = settings.exploration
        self._epsilon = Linear(explore.epsilon_start, explore.epsilon_end, explore.epsilon_steps)
        self._waits_for_data = settings.learner.init == "data"

    # Acting

    def act(self, timestep: TimeStep, step: int) -> Decision:
        """ε-greedy actions, and the greatest value of each environment's row."""
        value, greedy = self._look(timestep)
        action = with_random(greedy.cpu().numpy(), self.network.num_actions, self._epsilon(step), self._rng)
        return Decision(action, value)

    @property
    def evaluation_options(self) -> dict[str, Any]:
        """How evaluation plays, as options of `make_policy`: ε-greedy."""
        return {"epsilon": self.settings.exploration.eval_epsilon}

    def policy(self, rng: np.random.Generator) -> Policy:
        """The policy of an evaluation, with all its randomness from `rng`."""
        return make_policy(self.acting, rng, self.learner.autocast, **self.evaluation_options)

    def observe(self, timestep: TimeStep, decision: Decision) -> None:
        """Store a row, what was done there, and its greatest value; no probability of the action is needed."""
        value = decision.record
        self.storage.add(timestep, SampledAction(torch.as_tensor(decision.action), torch.zeros_like(value), value))

    @torch.no_grad()
    def _look(self, timestep: TimeStep) -> tuple[Tensor, Tensor]:
        """Greatest values `[N]` of a row by the network that acts, and the actions `[N]` that have them."""
        return self._greatest(to_device(timestep.obs, self.learner.device))

    def _choose(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Greatest values and their actions, for observations on the device; never waits for it."""
        with self.learner.autocast():
            q_values = self.acting(obs).q_values
        value, action = q_values.max(1)
        return value, action

    # Learning

    def learn(self, before: int, after: int, timestep: TimeStep) -> None:
        """Store what followed; when the rollout is whole, learn from it."""
        self.storage.follow(timestep, self.settings.reward_scale * self._rewards(timestep))
        if not self.storage.full:
            return
        rollout = self.storage.read()
        if self._waits_for_data:
            self._initialize(rollout)
        else:
            self.learner.begin(after)
            self.update(rollout, timestep)
        self._refresh()
        self.storage.clear()

    def update(self, rollout: Rollout, timestep: TimeStep) -> None:
        """Epochs of gradient steps on shuffled minibatches of a rollout that the row `timestep` follows."""
        steps = Minibatch(rollout.obs, rollout.action, self.targets(rollout, timestep), rollout.valid)
        for batch in self._minibatches(steps):
            self._gradient_step(*batch)

    def targets(self, rollout: Rollout, timestep: TimeStep) -> Tensor:
        """Returns of Q(λ) by the network that acted (Gallici et al. 2024).

        Unlike in the published code, truncation does not end a return: it is bootstrapped.

        Args:
            rollout: T rows.
            timestep: the row that follows.

        Returns:
            `[T, N]`, 0 at invalid rows.
        """
        last, _ = self._look(timestep)
        return lambda_returns(
            rollout.reward,
            rollout.discount,
            torch.cat([rollout.value[1:], last[None]]),
            rollout.valid,
            gamma=self.settings.learner.gamma,
            lambda_=self.settings.q_lambda,
        )

    def _minibatches(self, steps: Minibatch) -> Iterator[Minibatch]:
        """Steps `[T, N]` of all times and environments, shuffled together anew in each epoch."""
        flat = Minibatch(*(values.flatten(0, 1) for values in steps))
        for _ in range(self.settings.epochs):
            order = torch.randperm(len(flat.valid), generator=self._generator, device=self._generator.device)
            for places in order.tensor_split(self.settings.minibatches):
                yield Minibatch(*(values[places] for values in flat))

    def _loss(self, *fields: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Half the mean squared error of a minibatch of these fields, and its metrics."""
        batch = Minibatch._make(fields)
        with self.learner.autocast():
            q_values = self.network(batch.obs).q_values
        error = td_error(q_values, batch.action, batch.target)
        metrics = {"train/q_mean": q_values.mean(), "train/td_error": masked_mean(error.abs(), batch.valid)}
        return masked_mean(0.5 * error.square(), batch.valid), metrics

    def _initialize(self, rollout: Rollout) -> None:
        """The data-dependent initialization: on the first rollout, from which nothing else is learned."""
        data_init(self.network, rollout.obs.flatten(0, 1), generator=self._generator)
        self._waits_for_data = False

    # What a run shows and keeps

    def metrics(self, step: int) -> dict[str, float]:
        """Scalars by TensorBoard tag: means since the last reading, and the state of schedules and layers."""
        generator = torch.Generator(self.learner.device).manual_seed(step)
        metrics = self.learner.metrics(step, self.storage.seen(), generator)
        return {**metrics, "rollout/exploration_rate": self._epsilon(step)}

    def get_state(self) -> dict[str, Any]:
        """Everything that the agent needs to go on as if it had not stopped."""
        return {
            "learner": self.learner.get_state(),
            "storage": self.storage.get_state(),
            "rng": self._rng.bit_generator.state,
            "generator": self._generator.get_state(),
            "waits_for_data": self._waits_for_data,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `get_state`'s state."""
        self.learner.set_state(state["learner"])
        self.storage.set_state(state["storage"])
        self._rng.bit_generator.state = state["rng"]
        self._generator.set_state(state["generator"].cpu())
        self._waits_for_data = state["waits_for_data"]
        self._graphs.forget()
        self._folded_copy.refresh()
