"""Deep Q learning (Mnih et al. 2015), with the double target as an option, over any normalizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from agents.exploration import epsilon_greedy
from agents.losses import huber, td_error
from agents.optimizers import OptimizerName, make_optimizer, set_learning_rate
from agents.targets import double_q_target, q_target
from envs import TimeStep
from wnrl.diagnostics import NormDiagnostics
from wnrl.folding import fold, polyak, refresh
from wnrl.initialization import data_init
from wnrl.networks import QNetwork
from wnrl.projection import project
from wnrl.replay import Replay, Transition
from wnrl.schedules import Every, Linear
from wnrl.tracking import Means

Init = Literal["preserve", "data", "analytic", "he"]


@dataclass(frozen=True)
class DQNSettings:
    """The numbers of a DQN agent; each interval is in environment steps."""

    learning_rate: float = 1e-4
    """Step size of the optimizer."""
    learning_rate_schedule: Literal["auto", "constant", "linear"] = "auto"
    """Linear lets the step size fall to 0 at the end of the run; auto is linear for --norm projected, whose effective
    step size nothing else lowers, and constant for all others."""
    optimizer: OptimizerName = "adam"
    """Optimizer by name."""
    beta1: float = 0.9
    """Decay of the gradient's running mean (Adam, Adamax), per update."""
    optimizer_eps: float = 1e-8
    """Added to the optimizer's denominator, in units of the gradient."""
    batch_size: int = 32
    """Transitions per update."""
    train_interval: int = 4
    """Steps per update (one update every so many steps, for any number of environments)."""
    learning_starts: int = 8_000
    """Steps of uniformly random play before the first update."""
    replay_size: int = 100_000
    """Transitions that the replay holds, in steps."""
    gamma: float = 0.99
    """Discount per step."""
    n_step: int = 1
    """Steps of reward before the target network's value is used."""
    double: bool = False
    """Let the learner choose the action that the target network values (double Q learning)."""
    target_interval: int = 1_000
    """Steps between two updates of the target network."""
    tau: float = 1.0
    """Share of the learner that the target network takes over at each of its updates; 1 copies."""
    epsilon_start: float = 1.0
    """Share of random actions when learning starts."""
    epsilon_end: float = 0.05
    """Share of random actions at the end of the slope."""
    epsilon_steps: int = 100_000
    """Length of the slope of epsilon, in steps from `learning_starts`."""
    huber_delta: float = 1.0
    """TD error at which the loss turns from quadratic to linear."""
    loss_reduction: Literal["mean", "sum"] = "mean"
    """How the losses of a batch become one."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this norm; 0 leaves them."""
    reward_clip: float = 1.0
    """Rewards are clipped to this size for learning, scores are not; 0 leaves them."""
    init: Init = "preserve"
    """Initial weights: preserve (torch's own), data (units start at mean 0, variance 1 on what was played), analytic
    (activations keep their norm) or he (uniform, bias 0.1)."""
    init_batch: int = 500
    """Observations that `--init data` looks at."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "train_interval", "replay_size", "n_step", "target_interval", "init_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "huber_delta"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("gamma", "tau", "epsilon_start", "epsilon_end", "beta1"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        for name in ("learning_starts", "epsilon_steps", "optimizer_eps", "max_grad_norm", "reward_clip"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


class DQN:
    """A DQN agent: a learner that holds `(g, v)`, and folded acting and target networks that hold `w`.

    Args:
        network: the learner, normalized and on its device.
        replay: on the same device, built with the settings' `n_step` and `gamma`.
        settings: the agent's numbers.
        rng: of exploration.
        dtype: of the networks' products (`torch.bfloat16` runs them under autocast).
        learning_rate: step size of the optimizer by step; the settings' own, constant, by default.
    """

    def __init__(
        self,
        network: QNetwork,
        replay: Replay,
        settings: DQNSettings,
        *,
        rng: np.random.Generator,
        dtype: torch.dtype = torch.float32,
        learning_rate: Callable[[int], float] | None = None,
    ) -> None:
        self.network, self.replay, self.settings = network, replay, settings
        self.acting, self.target = fold(network).eval(), fold(network).eval()
        self.optimizer = make_optimizer(
            settings.optimizer,
            network.parameters(),
            learning_rate=settings.learning_rate,
            beta1=settings.beta1,
            eps=settings.optimizer_eps,
        )
        self.num_updates = 0
        self._rng = rng
        self._dtype = dtype
        self._device = next(network.parameters()).device
        self._means = Means()
        self._diagnostics = NormDiagnostics(network, lambda network, obs: network(obs).q_values)
        self._epsilon = Linear(
            settings.epsilon_start, settings.epsilon_end, settings.epsilon_steps, begin=settings.learning_starts
        )
        self._learning_rate = learning_rate or (lambda step: settings.learning_rate)
        self._update_clock = Every(settings.train_interval, start=settings.learning_starts)
        self._target_clock = Every(settings.target_interval)

    # Acting

    def act(self, obs: np.ndarray, step: int) -> np.ndarray:
        """Actions `[N]` for observations `[N, *obs_shape]` while learning: at random at first, then ε-greedy."""
        if step < self.settings.learning_starts:
            return self._rng.integers(self.network.num_actions, size=len(obs))
        return self.act_greedily(obs, self._epsilon(step), self._rng)

    def act_greedily(self, obs: np.ndarray, epsilon: float, rng: np.random.Generator) -> np.ndarray:
        """Actions `[N]` of greatest value, each replaced by a random one with probability `epsilon`."""
        with torch.no_grad():
            q_values = self._q_values(self.acting, torch.as_tensor(obs, device=self._device))
        return epsilon_greedy(q_values, epsilon, rng)

    def observe(self, timestep: TimeStep, action: np.ndarray) -> None:
        """Store what was seen and what was done; rewards are clipped here, not in the environment."""
        clip = self.settings.reward_clip
        reward = np.clip(timestep.reward, -clip, clip) if clip else timestep.reward
        self.replay.add(timestep.obs, action, reward, timestep.discount, timestep.first)

    # Learning

    def learn(self, before: int, after: int) -> None:
        """Make the updates that are due in the steps (before, after]."""
        due = self._update_clock.ticks(before, after)
        if due and not self.num_updates:
            self._initialize()
        if due:
            set_learning_rate(self.optimizer, self._learning_rate(after))
        for _ in range(due):
            self.update()
        if self.num_updates and self._target_clock.ticks(before, after):
            polyak(self.target, self.network, self.settings.tau)
        if due:
            refresh(self.acting, self.network)

    def update(self) -> None:
        """One update of the learner on a fresh batch."""
        with self._diagnostics.around_update():
            self._means.add(self._update(self.replay.sample(self.settings.batch_size)))
        self.num_updates += 1

    def _update(self, batch: Transition) -> dict[str, Tensor]:
        """A gradient step; returns 0-dim tensors and never waits for the device."""
        q_values = self._q_values(self.network, batch.obs)
        error = td_error(q_values, batch.action, self._target_values(batch))
        losses = huber(error, self.settings.huber_delta)
        loss = losses.sum() if self.settings.loss_reduction == "sum" else losses.mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        grad_norm = self._clip_gradients()
        self.optimizer.step()
        project(self.network)
        return {
            "train/loss": loss,
            "train/q_mean": q_values.mean(),
            "train/td_error": error.abs().mean(),
            "train/grad_norm": grad_norm,
        }

    @torch.no_grad()
    def _target_values(self, batch: Transition) -> Tensor:
        next_q = self._q_values(self.target, batch.next_obs)
        if not self.settings.double:
            return q_target(batch.reward, batch.discount, next_q)
        online_q = self._q_values(self.network.eval(), batch.next_obs)  # running statistics, and none are moved
        self.network.train()
        return double_q_target(batch.reward, batch.discount, online_q, next_q)

    def _clip_gradients(self) -> Tensor:
        limit = self.settings.max_grad_norm or float("inf")
        return nn.utils.clip_grad_norm_(self.network.parameters(), limit)

    def _q_values(self, network: nn.Module, obs: Tensor) -> Tensor:
        with torch.autocast(obs.device.type, dtype=torch.bfloat16, enabled=self._dtype is torch.bfloat16):
            return network(obs).q_values

    def _initialize(self) -> None:
        """Before the first update: the data-dependent initialization, if asked for, and equal networks."""
        if self.settings.init == "data":
            generator = torch.Generator(self._device).manual_seed(int(self._rng.integers(2**62)))
            obs = self.replay.sample(self.settings.init_batch).obs
            data_init(self.network, obs, generator=generator)
        for network in (self.acting, self.target):
            refresh(network, self.network)

    # What a run shows and keeps

    def figures(self, step: int) -> dict[str, float]:
        """Scalars by TensorBoard tag: means since the last reading, and the state of schedules and layers."""
        epsilon = 1.0 if step < self.settings.learning_starts else self._epsilon(step)
        return {
            **self._means.read(),
            "train/learning_rate": self._learning_rate(step),
            "train/n_updates": self.num_updates,
            "rollout/exploration_rate": epsilon,
            **self._layer_figures(step),
        }

    def _layer_figures(self, step: int) -> dict[str, float]:
        """Figures of the layers, on observations drawn beside the replay's own draws: learning stays the same."""
        generator = torch.Generator(self._device).manual_seed(step)
        size = 2 * self.settings.batch_size  # they are split into minibatches
        obs = self.replay.sample(size, generator).obs if len(self.replay) else None
        figures = self._diagnostics.read(self._learning_rate(step), obs, generator)
        return dict(zip(figures, torch.stack(list(figures.values())).tolist(), strict=True))

    def get_state(self) -> dict[str, Any]:
        """Everything that the agent needs to go on as if it had not stopped."""
        return {
            "network": self.network.state_dict(),
            "target": self.target.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "replay": self.replay.get_state(),
            "means": self._means.get_state(),
            "diagnostics": self._diagnostics.get_state(),
            "rng": self._rng.bit_generator.state,
            "num_updates": self.num_updates,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `get_state`'s state."""
        for name in ("network", "target", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        refresh(self.acting, self.network)
        self.replay.set_state(state["replay"])
        self._means.set_state(state["means"])
        self._diagnostics.set_state(state["diagnostics"])
        self._rng.bit_generator.state = state["rng"]
        self.num_updates = state["num_updates"]
