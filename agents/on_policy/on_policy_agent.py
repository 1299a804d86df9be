"""What PQN and the policy gradients share: they play a rollout with one policy, learn from it, and discard it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from agents.acting.policies import Decision, Policy, make_policy
from agents.acting.rows import ByRows
from agents.learner.learner import Learner
from agents.on_policy.episodes import EpisodeStorage
from agents.on_policy.joint import joint_rollout
from agents.on_policy.reward_scaling import RewardClipping, RewardScaling
from agents.on_policy.rollout import Rollout, RolloutStorage
from agents.runtime.cuda_graphs import Graphs
from agents.runtime.distributed import Ranks
from agents.runtime.worker import Worker
from envs import TimeStep
from wnrl.initialization.initialize import FROM_DATA
from wnrl.normalizers.folding import FoldedCopy, fold


class OnPolicyAgent(ByRows):
    """Base of the on-policy agents: an agent adds how it acts, and how it learns from a rollout.

    With `overlaps_rollouts` a worker learns from a rollout while the next one is played, by a copy of the learner's
    network (with its running statistics) from before: rollout k by what was learned from those up to k − 2. What each
    does is fixed by the number of rollouts, not by time. The first one that is learned from is waited for.

    Args:
        learner: of a network.
        acting: a folded copy of the learner's network, which acts.
        storage: of what is learned from at once, on the learner's device.
        rewards: from a row to the rewards `[N]` to learn from.
        settings: of the agent, with `learner`.
        generator: of all that is drawn on the learner's device, except in evaluation.
        overlaps_rollouts: whether the next rollout is played while the last is learned from.

    Raises:
        ValueError: graphs are asked for where there are none.
    """

    overlap = False  # a rollout ends with the row to which its last steps led

    def __init__(
        self,
        learner: Learner,
        acting: nn.Module,
        storage: RolloutStorage | EpisodeStorage,
        rewards: RewardClipping | RewardScaling,
        settings: Any,
        *,
        generator: torch.Generator,
        overlaps_rollouts: bool = False,
    ) -> None:
        self.learner, self.storage, self.rewards, self.settings = learner, storage, rewards, settings
        self.network: Any = learner.network
        self.acting: Any = acting
        self._worker = Worker(learner.device) if overlaps_rollouts else None
        self._generator = generator
        self._learning_generator = _another(generator) if overlaps_rollouts else generator
        self._folded_copy = FoldedCopy(acting, learner.network)
        enabled = settings.learner.graphs
        self._graphs = Graphs(learner.device, (self._learning_generator,), enabled=enabled)
        self._acting_graphs = Graphs(learner.device, (generator,), enabled=enabled) if self._worker else self._graphs
        self._decide = self._acting_graphs.capture_function(self._choose, "acting")
        self._refresh = self._acting_graphs.capture(self._folded_copy.refresh, "refreshing what acts")
        self._newest: nn.Module | None = None  # see `newest`
        self._newest_copy: FoldedCopy | None = None
        self._waits_for_data: bool = settings.learner.init in FROM_DATA
        self._began: int | None = 0  # the step at which this rollout began; None where an older checkpoint lacks it
        self._learned = 0  # of the rollout last learned from
        self._following: Tensor | None = None  # in the worker, values of the row after a rollout
        self._counted = 0  # gradient steps of rollouts before the one that the worker learns from
        self._ranks: Ranks | None = None  # of acting, where those of learning are apart

    # Acting

    values_returns: bool = False
    """Whether what acts is a Q network whose values are those of its discounted returns."""

    @property
    def gamma(self) -> float:
        """The discount of one step."""
        return self.settings.learner.gamma

    @property
    def evaluation_options(self) -> dict[str, Any]:
        """How evaluation plays, as JSON-able options of `make_policy`."""
        raise NotImplementedError

    @property
    def acts_ahead(self) -> bool:
        """Whether a row may be acted on before all of it is there: not where a rollout may end with it."""
        return not self.storage.may_fill

    def _choose(self, *inputs: Tensor) -> Any:
        """What `act_on` needs of the device, for inputs that are there; never waits for it, and may be captured."""
        raise NotImplementedError

    def observe(self, timestep: TimeStep, decision: Decision) -> None:
        """Store a row and what was decided there, with the `SampledAction` that is the decision's record."""
        self._before_row = None
        self.storage.add(timestep, decision.record)

    def policy(self, rng: np.random.Generator, acting: nn.Module | None = None) -> Policy:
        """The policy of an evaluation, with all its randomness from `rng`; `acting` was the network that acts."""
        network = self.acting if acting is None else acting
        return make_policy(network, rng, self.learner.autocast, **self.evaluation_options)

    # Learning

    def learn(self, before: int, after: int, timestep: TimeStep) -> None:
        """Store what followed; when the rollout is complete, learn from it, at once or beside, and discard it."""
        self.storage.follow(timestep, self.rewards(timestep, self._ranks or self.learner.ranks))
        if not self.storage.full:
            return
        rollout = self.storage.read()
        if self._waits_for_data:
            self._initialize(self._initial_rollout(rollout))
            self.learner.share(self.learner.ranks)
            self._waits_for_data = False
            self._refresh()
        else:
            self._learned = before if self._began is None else self._began
            if self._worker is not None and self._counted:
                self._learn_beside(self._worker, rollout, timestep, self._learned)
            else:
                self.learner.anneal(self._learned)
                self.update(rollout, timestep, self._learned)
                self._refresh()
                self._counted = self.learner.num_updates
        self.storage.clear()
        self._began = after

    def _learn_beside(self, worker: Worker, rollout: Rollout, timestep: TimeStep, step: int) -> None:
        """Begin to learn from a rollout while the next one is played by what was learned from those before it."""
        following = self._values(timestep).clone()  # by the network that acted
        rollout = tree_map(torch.clone, rollout)  # whose rows are overwritten
        self.settle()
        self._counted = self.learner.num_updates
        self._refresh()

        def learn() -> None:
            self._following = following
            self.learner.anneal(step)
            self.update(rollout, timestep, step)
            self._following = None

        worker.begin(learn)
        if self._graphs.pending or self._acting_graphs.pending:  # no other work may be launched at a capture
            worker.end()

    def settle(self) -> None:
        """Wait for the worker, if it learns: to be called before the learner is looked at.

        Raises:
            Exception: whatever learning raised.
        """
        if self._worker is not None:
            self._worker.end()
            if self._newest_copy is not None:
                self._newest_copy.refresh()

    def newest(self) -> nn.Module:
        """The folded network of all that was learned so far: what acts, or one of its own where that is older."""
        if self._worker is None:
            return self.acting
        self.settle()
        if self._newest is None:
            self._newest = fold(self.network, self.learner.dtype).eval()
            self._newest_copy = FoldedCopy(self._newest, self.network)
        return self._newest

    @property
    def overlaps_rollouts(self) -> bool:
        """Whether the next rollout is played while the last is learned from."""
        return self._worker is not None

    @property
    def num_updates(self) -> int:
        """Gradient steps made, without those of a rollout that is learned from while the next one is played."""
        return self.learner.num_updates if self._worker is None else self._counted

    def share(self, ranks: Ranks) -> None:
        """Learn together with other processes from now on, starting from the first one's network."""
        self._ranks = ranks
        self.learner.share(ranks if self._worker is None else ranks.apart())

    def update(self, rollout: Rollout, timestep: TimeStep, step: int) -> None:
        """Learn from a rollout that began at environment step `step` and that the row `timestep` follows.

        Schedules are read at `step`, as in openai/baselines and CleanRL: the first rollout has their first value.
        """
        raise NotImplementedError

    def _initial_rollout(self, rollout: Rollout) -> Rollout:
        """The first rollout of all processes."""
        return joint_rollout(rollout, self.learner.ranks)

    def _initialize(self, rollout: Rollout) -> None:
        """Make the data-dependent initialization, on the first rollout; nothing else is learned from it."""
        raise NotImplementedError

    def _values(self, timestep: TimeStep) -> Tensor:
        """Values `[N]` of a row on which no action is chosen yet, by the network that acts; without gradient."""
        raise NotImplementedError

    def _next_values(self, rollout: Rollout, timestep: TimeStep) -> Tensor:
        """Values `[T, N]` of the row after each row of a rollout; `timestep` follows the last one."""
        following = self._values(timestep) if self._following is None else self._following
        return torch.cat([rollout.value[1:], following[None]])

    # What a run logs and keeps

    def metrics(self, step: int) -> dict[str, float]:
        """Scalars by TensorBoard tag: means since the last reading, and the state of schedules and layers."""
        self.settle()
        generator = torch.Generator(self.learner.device).manual_seed(step)
        return self.learner.metrics(self._learned, self.storage.recent_obs(), generator)

    def get_state(self) -> dict[str, Any]:
        """Everything that the agent needs to continue as if it had not stopped; waits for what is learned beside."""
        self.settle()
        return {
            "learner": self.learner.get_state(),
            "storage": self.storage.get_state(),
            **(self._before_row or self._moved_by_acting()),
            "waits_for_data": self._waits_for_data,
            "began": self._began,
            "learned": self._learned,
            **(self._state_of_overlap() if self._worker else {}),
        }

    def _state_of_overlap(self) -> dict[str, Any]:
        """What acts, since the learner's network is newer, and what else differs from a run without overlap."""
        return {
            "acting": self.acting.state_dict(),
            "learning_generator": self._learning_generator.get_state(),
            "counted": self._counted,
        }

    def _moved_by_acting(self) -> dict[str, Any]:
        return {"generator": self._generator.get_state()}

    def snapshot(self) -> dict[str, Any]:
        """A copy of the state of now."""
        return copy.deepcopy(self.get_state())

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from such a state; a rollout in whose update an error came is given up."""
        self.settle()
        self._before_row = None
        self.learner.set_state(state["learner"])
        self.storage.set_state(state["storage"])
        self._generator.set_state(state["generator"].cpu())
        self._waits_for_data = state["waits_for_data"]
        self._began, self._learned = state.get("began"), state.get("learned", 0)
        if self.storage.full:
            self.storage.clear()
            self._began = None
        for graphs in (self._graphs, self._acting_graphs):
            graphs.forget()
        self._folded_copy.refresh()
        if self._worker is not None:
            self.acting.load_state_dict(state["acting"])
            self._learning_generator.set_state(state["learning_generator"].cpu())
            self._counted = state["counted"]


def _another(generator: torch.Generator) -> torch.Generator:
    """A generator on the same device with a seed that is drawn from this one."""
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return torch.Generator(generator.device).manual_seed(int(seed))
