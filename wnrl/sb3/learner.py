"""The networks of a policy of stable-baselines3 that learn, called with data from the host's buffers."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BaseModel, BasePolicy
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

Inputs = tuple[Any, ...]  # trees of tensors [B, ...]: observations, actions, and memory of recurrent policies


class Learner(nn.Module):
    """The networks of a policy that its optimizers update: all but targets, under the same names.

    A deep copy is independent of the policy.

    Args:
        policy: of any algorithm of stable-baselines3 or sb3-contrib.
    """

    def __init__(self, policy: BasePolicy) -> None:
        super().__init__()
        policy = without_compilation(policy)
        self._policy = (policy,)  # in a tuple, so that it is not registered with its targets
        for name, network in policy.named_children():
            if not name.endswith("_target"):
                self.add_module(name, network)

    def forward(self, obs: Any, actions: Tensor, *memory: Any) -> Tensor:
        """The outputs of all networks that take observations, concatenated to `[B, numbers]`.

        These are what the host's losses are computed from: values and log-probabilities of actions, deterministic
        actions and the values of the taken ones, or values of all actions.

        Args:
            obs: a tensor `[B, ...]` or a dictionary of them, not preprocessed.
            actions: `[B, ...]`, as stored in the host's buffers.
            memory: of recurrent policies, see `rollout_inputs`.
        """
        policy = cast(Any, self._policy[0])
        if hasattr(policy, "evaluate_actions"):
            discrete = isinstance(policy.action_space, spaces.Discrete)
            taken = actions.long().flatten() if discrete else actions
            outputs = policy.evaluate_actions(obs, taken, *host_memory(*memory))[:2]
        elif hasattr(policy, "critic"):
            outputs = [policy.actor._predict(obs, deterministic=True), *_values(policy.critic, obs, actions)]
        else:
            outputs = [network(obs) for network in self._taking_observations()]
        return torch.cat([output.reshape(len(output), -1) for output in outputs], dim=1)

    def _taking_observations(self) -> list[nn.Module]:
        """The host's networks, such as `q_net`; all networks where there are none of the host's."""
        hosts = [network for network in self.children() if isinstance(without_compilation(network), BaseModel)]
        return hosts or [*self.children()]

    def __deepcopy__(self, memo: dict[int, Any]) -> Learner:
        """The learner of a copy of the policy."""
        return Learner(copy_policy(self._policy[0]))


class _States(NamedTuple):
    """As sb3-contrib's `RNNStates`: (hidden, cell) of actor and critic, each `[layers, B, units]`."""

    pi: tuple[Tensor, ...]
    vf: tuple[Tensor, ...]


def host_memory(*memory: Any) -> tuple[Any, ...]:
    """Further arguments of `evaluate_actions`, for sequences of one step, from the memory of `rollout_inputs`."""
    if not memory:
        return ()
    states, episode_starts = memory
    hidden_pi, cell_pi, hidden_vf, cell_vf = (state.transpose(0, 1).contiguous() for state in states)
    return _States((hidden_pi, cell_pi), (hidden_vf, cell_vf)), episode_starts


def _values(critic: Any, obs: Any, actions: Tensor) -> list[Tensor]:
    """The values of each critic network. (The critic's own forward pass would enable gradients.)"""
    features = critic.extract_features(obs, critic.features_extractor)
    return [network(torch.cat([features, actions], dim=1)) for network in critic.q_networks]


def optimizers(policy: nn.Module) -> list[Optimizer]:
    """The optimizers of the policy and of its parts, each once, also those in lists, in dicts and in other objects."""
    held = [value for module in policy.modules() for value in vars(module).values()]
    held += [value for several in held if isinstance(several, (list, tuple)) for value in several]
    held += [value for several in held if isinstance(several, dict) for value in several.values()]
    held += [value for one in held if hasattr(one, "__dict__") for value in vars(one).values()]
    return [one for one in {id(value): value for value in held}.values() if isinstance(one, Optimizer)]


def without_compilation(module: nn.Module) -> Any:
    """The module that `torch.compile` has wrapped, or the module itself."""
    return getattr(module, "_orig_mod", module)


def copy_policy(policy: BasePolicy) -> BasePolicy:
    """A deep copy without compilation, optimizers and target networks, and with empty action distributions.

    Unlike `copy.deepcopy` it does not fail on the tensors that distributions hold after an update, and it costs less.
    """
    policy = without_compilation(policy)
    memo: dict[int, Any] = {}
    for name, module in policy.named_modules():
        if name.endswith("_target"):
            memo[id(module)] = nn.Identity()
        for value in vars(module).values():
            if isinstance(value, Optimizer):
                memo[id(value)] = ()
            elif isinstance(value, Distribution):
                memo[id(value)] = _emptied(value)
    return copy.deepcopy(policy, memo)


def _emptied(distribution: Distribution) -> Distribution:
    empty = copy.copy(distribution)
    for name, value in vars(distribution).items():
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, (Tensor, torch.distributions.Distribution)):
            setattr(empty, name, None)
    return empty


def take(inputs: Inputs, rows: Tensor) -> Inputs:
    """These rows `[b]` of every tensor `[B, ...]`."""
    return tree_map(lambda tensor: tensor[rows], inputs)


def sample_inputs(model: BaseAlgorithm, size: int) -> Inputs:
    """At most `size` rows of the model's current training data, drawn as the host does with NumPy's global generator.

    From a replay buffer, `size` rows with replacement; from a rollout, different ones, or all if there are fewer.
    """
    if isinstance(model, OffPolicyAlgorithm):
        return replay_inputs(model, size)
    inputs = rollout_inputs(model)
    count = len(inputs[1])
    rows = torch.from_numpy(np.random.permutation(count)[:size])
    return take(inputs, rows.to(inputs[1].device))


def replay_inputs(model: OffPolicyAlgorithm, size: int) -> Inputs:
    """Observations and actions of `size` transitions of the replay buffer, normalized as the host normalizes them."""
    assert model.replay_buffer is not None
    batch = model.replay_buffer.sample(size, env=model._vec_normalize_env)
    return batch.observations, batch.actions


def rollout_inputs(model: BaseAlgorithm) -> Inputs:
    """The contents of the rollout buffer in the order of time, `[B, ...]` for B = steps · environments.

    For recurrent policies also the states before each step, (hidden, cell) of actor and critic, each
    `[B, layers, units]`, and the episode starts `[B]`.
    """
    buffer = cast(Any, model).rollout_buffer
    memory: Inputs = ()
    if hasattr(buffer, "hidden_states_pi"):
        states = (buffer.hidden_states_pi, buffer.cell_states_pi, buffer.hidden_states_vf, buffer.cell_states_vf)
        memory = tuple(state.swapaxes(1, 2) for state in states), buffer.episode_starts
    arrays = (buffer.observations, buffer.actions, *memory)  # [steps, environments, ...]
    return tree_map(lambda array: buffer.to_torch(array.reshape(-1, *array.shape[2:])), arrays)
