"""What agents with a replay buffer share: how they act, when they learn, and what they keep."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from agents.acting.exploration import RandomActions
from agents.acting.policies import Decision, Policy, make_policy
from agents.acting.rows import ByRows
from agents.learner.learner import Learner
from agents.off_policy.update import BatchLoss, ReplayUpdates, Sample, Sampler
from agents.runtime.cuda_graphs import Graphs
from agents.runtime.distributed import Ranks
from envs import TimeStep
from wnrl.device import to_device
from wnrl.diagnostics.network_metrics import OBSERVATIONS
from wnrl.initialization.initialize import FROM_DATA, initialize
from wnrl.normalizers.folding import FoldedCopy, fold
from wnrl.schedules import Every


class RowDraws(NamedTuple):
    """What the actions of a row draw at random."""

    random: RandomActions | None  # instead of the network's; None: nowhere
    noise: tuple[()] | tuple[Tensor] | None = ()  # [N, A], for `_choose`; None: the network does not act


class ReplayAgent(ByRows):
    """Base of the agents with a replay buffer: an agent adds how it acts, and the loss of a batch.

    Args:
        learner: of a network.
        sampler: of a replay buffer on the same device, built with the settings' `n_step` and `gamma`.
        settings: of the agent, with `learner` and `replay`.
        acts: the module of the learner's network whose folded copy acts.
        values: the module whose folded copy is the target network.
        rng: of all that is drawn at random, except from the replay buffer.

    Raises:
        ValueError: graphs are asked for where there are none.
    """

    def __init__(
        self,
        learner: Learner,
        sampler: Sampler,
        settings: Any,
        *,
        acts: nn.Module,
        values: nn.Module,
        rng: np.random.Generator,
    ) -> None:
        replay = settings.replay
        self.learner, self.sampler, self.settings = learner, sampler, settings
        self.network: Any = learner.network
        self.acting: Any = fold(acts, learner.dtype).eval()
        self.target: Any = fold(values, learner.dtype if replay.tau == 1 else torch.float32).eval()
        self.overlap: bool = replay.overlap
        self._rng = rng
        self._generator = torch.Generator(learner.device).manual_seed(int(rng.spawn(1)[0].integers(2**62)))
        graphs = Graphs(learner.device, (sampler.replay.generator, self._generator), enabled=settings.learner.graphs)
        self._graphs = graphs
        self._updates = ReplayUpdates(learner, sampler, self, replay.batch_size, graphs)
        self._acting_fold, self._target_fold = FoldedCopy(self.acting, acts), FoldedCopy(self.target, values)
        self._folds_once = acts is values and not graphs.enabled
        self._refresh_acting = graphs.capture(self._acting_fold.refresh, "refreshing what acts")
        self._act = graphs.capture_function(self._choose, "acting")
        self._update_clock = Every(replay.train_interval, start=replay.learning_starts)
        self._target_clock = Every(replay.target_interval)

    @property
    def captures(self) -> bool:
        """Whether its work is captured in graphs."""
        return self._graphs.enabled

    # Acting

    values_returns: bool = False
    """Whether what acts is a Q network whose values are those of its discounted returns."""

    @property
    def gamma(self) -> float:
        """The discount of one step."""
        return self.settings.learner.gamma

    @property
    def num_actions(self) -> int:
        """A."""
        raise NotImplementedError

    @property
    def evaluation_options(self) -> dict[str, Any]:
        """How evaluation plays, as JSON-able options of `make_policy`."""
        raise NotImplementedError

    @property
    def acts_ahead(self) -> bool:
        """Whether a row may be acted on before all of it is there: not where something is learned before."""
        return self.overlap

    def _draw_row(self, number: int, step: int) -> RowDraws:
        """Uniformly random actions during the warm-up, then what the agent draws."""
        if step < self.settings.replay.learning_starts:
            return RowDraws(RandomActions.draw_all(number, self.num_actions, self._rng), noise=None)
        return self._draw_own(number, step)

    def _draw_own(self, number: int, step: int) -> RowDraws:
        """What the agent draws for a row of N environments after the warm-up."""
        raise NotImplementedError

    def act_on(self, timestep: TimeStep, draws: RowDraws, part: slice) -> Decision:
        """The actions at a part of a row, see `ByRows`."""
        random = None if draws.random is None else draws.random.of(part)
        if draws.noise is None:
            assert random is not None
            return Decision(random.action)
        with torch.no_grad():
            noise = (values[part] for values in draws.noise)
            action = self._act(to_device(timestep.obs, self.learner.device), *noise).cpu().numpy()
        return Decision(action if random is None else random.instead_of(action))

    def _choose(self, obs: Tensor, *noise: Tensor) -> Tensor:
        """Actions `[N]` while learning, for observations and draws on the device; never waits for it."""
        raise NotImplementedError

    def observe(self, timestep: TimeStep, decision: Decision) -> None:
        """Store a row and what was done there; rewards are clipped here, not in the environment."""
        self._before_row = None
        reward = self.learned_reward(timestep)
        self.sampler.replay.add(timestep.obs, decision.action, reward, timestep.discount, timestep.first)

    def learned_reward(self, timestep: TimeStep) -> np.ndarray:
        """The rewards `[N]` of a row, clipped if that is asked for."""
        clip = self.settings.learner.reward_clip
        return np.clip(timestep.reward, -clip, clip) if clip else timestep.reward

    def policy(self, rng: np.random.Generator, acting: nn.Module | None = None) -> Policy:
        """The policy of an evaluation, with all its randomness from `rng`; `acting` was the network that acts."""
        network = self.acting if acting is None else acting
        return make_policy(network, rng, self.learner.autocast, **self.evaluation_options)

    # Learning

    def learn(self, before: int, after: int, timestep: TimeStep) -> None:
        """Make the updates that are due in the steps (before, after]."""
        due = self._update_clock.ticks(before, after)
        if due and len(self.sampler.replay):  # none where new games after a resume broke off the first transitions
            if not self.learner.num_updates:
                self._initialize()
            self._updates(due, after)
        moves = self._target_clock.ticks(before, after)
        values = None
        if moves and self.learner.num_updates:
            values = self._target_fold.values()
            self._target_fold.polyak(1 - (1 - self.settings.replay.tau) ** moves, values)
        if due and values is not None and self._folds_once:
            self._acting_fold.refresh(values)
        elif due:
            self._refresh_acting()

    def update(self, step: int, number: int = 1) -> None:
        """So many updates on new batches, at environment step `step`."""
        self._updates(number, step)

    looks_ahead: bool = False
    """Whether `next_outputs_ahead` computes anything."""

    def next_outputs_ahead(self, samples: Sequence[Sample]) -> Sequence[Any]:
        """The target network's outputs for the next observations of several batches; None where not computed ahead."""
        return [None] * len(samples)

    def draw(self, batch_size: int) -> Any:
        """All that the loss of a batch draws at random: nothing."""
        return ()

    def batch_loss(self, sample: Sample, next_outputs: Any, draws: Any = None) -> BatchLoss:
        """The loss of a batch, with what was drawn for it (None draws it now); never waits for the device."""
        raise NotImplementedError

    def _initialize(self) -> None:
        """Before the first update: the data-dependent initialization, if asked for, and equal networks."""
        init = self.settings.learner.init
        if init in FROM_DATA:
            generator = torch.Generator(self.learner.device).manual_seed(int(self._rng.integers(2**62)))
            obs = self.sampler.replay.sample(self.settings.replay.init_batch).obs
            initialize(self.network, init, self.learner.ranks.gather(obs).flatten(0, 1), generator=generator)
            self.learner.share(self.learner.ranks)  # whose generators differ
        for folded in (self._acting_fold, self._target_fold):
            folded.refresh()

    @property
    def num_updates(self) -> int:
        """Gradient steps made."""
        return self.learner.num_updates

    def share(self, ranks: Ranks) -> None:
        """Learn together with other processes from now on, starting from the first one's network."""
        self.learner.share(ranks)

    def settle(self) -> None:
        """Nothing: it learns between two steps, or while the environments make one."""

    def newest(self) -> nn.Module:
        """The network that acts."""
        return self.acting

    # What a run logs and keeps

    def metrics(self, step: int) -> dict[str, float]:
        """Scalars by TensorBoard tag: means since the last reading, and the state of the layers and of the network.

        The diagnostics are of observations with a generator of their own, so that learning does not change.

        Raises:
            NonFiniteError: a priority was not finite since the last reading.
        """
        self.sampler.check()
        generator = torch.Generator(self.learner.device).manual_seed(step)
        examples, replay = 2 * self.settings.replay.batch_size, self.sampler.replay  # they are split into minibatches
        obs = replay.sample(max(examples, OBSERVATIONS), generator=generator).obs if len(replay) else None
        return self.learner.metrics(step, obs, generator, examples=examples)

    def get_state(self) -> dict[str, Any]:
        """Everything that the agent needs to continue as if it had not stopped."""
        return {
            "learner": self.learner.get_state(),
            "target": self.target.state_dict(),
            "replay": self.sampler.replay.get_state(),
            **(self._before_row or self._moved_by_acting()),
        }

    def _moved_by_acting(self) -> dict[str, Any]:
        return {"rng": self._rng.bit_generator.state, "generator": self._generator.get_state()}

    def snapshot(self) -> dict[str, Any]:
        """A copy of the state of now, but for the frames of the replay buffer, see `Replay.snapshot`."""
        state = self.get_state()
        del state["replay"]
        return {**copy.deepcopy(state), "replay": self.sampler.replay.snapshot()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `get_state`'s state."""
        self._before_row = None
        self.learner.set_state(state["learner"])
        self.target.load_state_dict(state["target"])
        self._acting_fold.refresh()
        self.sampler.replay.set_state(state["replay"])
        self._rng.bit_generator.state = state["rng"]
        self._generator.set_state(state["generator"].cpu())
        self._graphs.forget()
