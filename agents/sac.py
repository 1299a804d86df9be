"""Discrete soft actor-critic (Christodoulou 2019): a policy that follows several Q networks and keeps its entropy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import numpy as np
import torch
import tyro
from torch import Tensor

from agents.learner import Learner
from agents.losses import td_error
from agents.policies import Policy, make_policy
from agents.policy_losses import sac_policy_loss, soft_value
from agents.samplers import Sample, Sampler
from agents.settings import LearnerSettings, check_above_zero, check_at_least, check_shares, check_used
from agents.temperature import FixedTemperature, LearnedTemperature
from envs import TimeStep
from wnrl.folding import fold, polyak, refresh
from wnrl.initialization import data_init
from wnrl.replay import Transition
from wnrl.schedules import Every
from wnrl.soft_actor_critics import SoftActorCriticValues

Critic = Literal["min", "mean"]


@dataclass(frozen=True)
class SACSettings(LearnerSettings):
    """The numbers of a discrete soft actor-critic; each interval is in environment steps."""

    max_grad_norm: float = 0.0
    """Gradients of policy and critics together are scaled down to this norm; 0 leaves them."""
    temperature: Annotated[float | Literal["auto"], tyro.conf.arg(metavar="{auto}|FLOAT")] = "auto"
    """What a nat of entropy is worth, in units of a return (after reward clipping); auto learns it."""
    temperature_start: float = 1.0
    """Where --temperature auto begins."""
    target_entropy: float = 0.98
    """The entropy that --temperature auto keeps, as a share of that of random play (the logarithm of the actions)."""
    critic: Critic = "min"
    """What policy and targets take from the critics for each action: their least value or their mean."""
    batch_size: int = 64
    """Transitions per update."""
    train_interval: int = 4
    """Steps per update (one update every so many steps, for any number of environments)."""
    learning_starts: int = 20_000
    """Steps of uniformly random play before the first update."""
    replay_size: int = 100_000
    """Transitions that the replay holds, in steps."""
    n_step: int = 1
    """Steps of reward before the target critics' value is used; the entropy of those between does not count."""
    prioritized: bool = False
    """Sample transitions by their last error (prioritized replay)."""
    priority_exponent: float = 0.5
    """How much a transition's error decides how often it is sampled; 0 is not at all."""
    priority_beta: float = 0.4
    """Share of the correction for that in the weights of the critics' losses at the start; it grows to 1 until the
    run's end."""
    overlap: bool = True
    """Update while the environments make their next step, which is not in the replay then in either order: the run is
    the same to the bit, and faster."""
    target_interval: int = 8_000
    """Steps between two updates of the target critics."""
    tau: float = 1.0
    """Share of the critics that the target critics take over at each of their updates; 1 copies."""
    init_batch: int = 500
    """Observations that --init data looks at."""
    eval_sample: bool = False
    """Draw actions from the policy in evaluation instead of taking the most probable ones."""

    def check(self) -> None:
        """Refuse values out of range, and options that would do nothing."""
        check_at_least(self, 1, "batch_size", "train_interval", "replay_size", "n_step", "target_interval")
        check_at_least(self, 1, "init_batch")
        check_at_least(self, 0, "learning_starts", "priority_exponent")
        check_above_zero(self, "temperature_start")
        check_shares(self, "tau", "priority_beta", "target_entropy")
        automatic = self.temperature == "auto"
        if not automatic:
            check_at_least(self, 0, "temperature")
        check_used(self, automatic, "temperature auto", "temperature_start", "target_entropy")
        check_used(self, self.prioritized, "prioritized", "priority_exponent", "priority_beta")


class SAC:
    """A discrete soft actor-critic: a learner that holds `(g, v)`, a folded policy and target critics that hold `w`.

    Policy and critics have no parameter in common, and no loss has a gradient in another's parameters, so that one
    gradient step on the sum of the losses is one on each.

    Args:
        learner: of a `SoftActorCritic`; its optimizer holds the temperature too.
        temperature: on the learner's device.
        sampler: of a replay there, built with the settings' `n_step` and `gamma`.
        settings: the agent's numbers.
        rng: of actions.
    """

    def __init__(
        self,
        learner: Learner,
        temperature: LearnedTemperature | FixedTemperature,
        sampler: Sampler,
        settings: SACSettings,
        *,
        rng: np.random.Generator,
    ) -> None:
        self.learner, self.temperature, self.sampler, self.settings = learner, temperature, sampler, settings
        self.network = network = cast(Any, learner.network)
        self.acting: Any = fold(network.policy).eval()
        self.target: Any = fold(network.critics).eval()
        self.overlap = settings.overlap
        self._rng = rng
        self._generator = torch.Generator(learner.device).manual_seed(int(rng.spawn(1)[0].integers(2**62)))
        self._update_clock = Every(settings.train_interval, start=settings.learning_starts)
        self._target_clock = Every(settings.target_interval)

    # Acting

    def act(self, timestep: TimeStep, step: int) -> np.ndarray:
        """Actions `[N]` while learning: at random at first, then drawn from the policy."""
        if step < self.settings.learning_starts:
            return self._rng.integers(self.acting.head.out_features, size=len(timestep.obs))
        with torch.no_grad(), self.learner.autocast():
            policy = self.acting(torch.as_tensor(timestep.obs, device=self.learner.device))
        return policy.sample(self._generator).cpu().numpy()

    def policy(self, rng: np.random.Generator) -> Policy:
        """What evaluation plays: the most probable actions, or drawn ones, as the settings say."""
        return make_policy(self.acting, rng, sample=self.settings.eval_sample)

    def observe(self, timestep: TimeStep, action: np.ndarray) -> None:
        """Store what was seen and what was done; rewards are clipped here, not in the environment."""
        clip = self.settings.reward_clip
        reward = np.clip(timestep.reward, -clip, clip) if clip else timestep.reward
        self.sampler.replay.add(timestep.obs, action, reward, timestep.discount, timestep.first)

    # Learning

    def learn(self, before: int, after: int, timestep: TimeStep) -> None:
        """Make the updates that are due in the steps (before, after]."""
        due = self._update_clock.ticks(before, after)
        if due and not self.learner.num_updates:
            self._initialize()
        if due:
            self.learner.begin(after)
        for _ in range(due):
            self.update(after)
        moves = self._target_clock.ticks(before, after)
        if self.learner.num_updates and moves:
            polyak(self.target, self.network.critics, 1 - (1 - self.settings.tau) ** moves)
        if due:
            refresh(self.acting, self.network.policy)

    def update(self, step: int) -> None:
        """One update of policy, critics and temperature on a fresh batch, at environment step `step`."""
        sample = self.sampler.sample(self.settings.batch_size, step)
        loss, priority, figures = self._losses(sample)
        self.learner.minimize(loss, figures)
        self.sampler.learned(sample, priority)

    def _losses(self, sample: Sample) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The loss, the priorities `[B]` and the figures of a batch; never waits for the device."""
        batch, temperature = sample.transition, self.temperature()
        with self.learner.autocast():
            outputs: SoftActorCriticValues = self.network(batch.obs)
        target, log_policy = self._targets(batch, temperature), outputs.policy.logits.log_softmax(1)
        error = torch.stack([td_error(values, batch.action, target) for values in outputs.values])  # [critics, B]
        critic_loss = 0.5 * error.square().sum(0)
        if sample.weights is not None:
            critic_loss = critic_loss * sample.weights
        policy_loss = sac_policy_loss(log_policy, self._judge(outputs.values), temperature)
        loss = critic_loss + policy_loss + self.temperature.loss(log_policy)
        figures = {
            "train/q_mean": outputs.values.mean(),
            "train/td_error": error.abs().mean(),
            "train/critic_loss": critic_loss.mean(),
            "train/policy_loss": policy_loss.mean(),
            "train/entropy": outputs.policy.entropy().mean(),
            "train/temperature": temperature,
        }
        return loss.mean(), error.detach().abs().mean(0), figures

    @torch.no_grad()
    def _targets(self, batch: Transition, temperature: Tensor) -> Tensor:
        """Reward + discount × soft value of the next observation (Christodoulou 2019, equation 10), `[B]`.

        The policy is the learner's in evaluation mode: with its running statistics, of which none are moved.
        """
        policy = self.network.policy.eval()
        with self.learner.autocast():
            log_policy = policy(batch.next_obs).logits.log_softmax(1)
            values = torch.stack([critic(batch.next_obs).q_values for critic in self.target])  # [critics, B, A]
        policy.train()
        return batch.reward + batch.discount * soft_value(log_policy, self._judge(values), temperature)

    def _judge(self, values: Tensor) -> Tensor:
        """What counts, `[B, A]`, of the critics' values `[critics, B, A]`."""
        return values.amin(0) if self.settings.critic == "min" else values.mean(0)

    def _initialize(self) -> None:
        """Before the first update: the data-dependent initialization, if asked for, and equal networks."""
        if self.settings.init == "data":
            generator = torch.Generator(self.learner.device).manual_seed(int(self._rng.integers(2**62)))
            obs = self.sampler.replay.sample(self.settings.init_batch).obs
            data_init(self.network, obs, generator=generator)
        refresh(self.acting, self.network.policy)
        refresh(self.target, self.network.critics)

    # What a run shows and keeps

    def figures(self, step: int) -> dict[str, float]:
        """Scalars by TensorBoard tag: means since the last reading, and the state of the layers.

        Layers are looked at on observations drawn beside the replay's own draws: learning stays the same.
        """
        generator = torch.Generator(self.learner.device).manual_seed(step)
        size, replay = 2 * self.settings.batch_size, self.sampler.replay  # they are split into minibatches
        obs = replay.sample(size, generator=generator).obs if len(replay) else None
        return self.learner.figures(step, obs, generator)

    def get_state(self) -> dict[str, Any]:
        """Everything that the agent needs to go on as if it had not stopped."""
        return {
            "learner": self.learner.get_state(),
            "temperature": self.temperature.state_dict(),
            "target": self.target.state_dict(),
            "replay": self.sampler.replay.get_state(),
            "rng": self._rng.bit_generator.state,
            "generator": self._generator.get_state(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `get_state`'s state."""
        self.learner.set_state(state["learner"])
        self.temperature.load_state_dict(state["temperature"])
        self.target.load_state_dict(state["target"])
        refresh(self.acting, self.network.policy)
        self.sampler.replay.set_state(state["replay"])
        self._rng.bit_generator.state = state["rng"]
        self._generator.set_state(state["generator"].cpu())
