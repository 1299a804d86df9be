"""The output layers of a policy's networks: by the host's names, or, in networks of another form, by a forward pass."""

from __future__ import annotations

import copy
import inspect
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from wnrl.normalizers.folding import deep_copy
from wnrl.normalizers.layer_kinds import is_dense, is_embedding, is_recurrent, is_without_weight, unknown_name
from wnrl.sb3.learner import host_memory
from wnrl.weight_norm.stored_weights import weights_in

# In every network of the host, the last dense layer of a part with such a name is an output layer.
_HEADS = re.compile(r"action_net|value_net|q_net|quantile_net|mu|log_std|qf\d+")
# The parts before each head, in the order of the forward pass, in actor-critic policies and in other networks.
_BEFORE_HEADS = {
    "action_net": ("pi_features_extractor", "mlp_extractor.policy_net"),
    "value_net": ("vf_features_extractor", "critic", "mlp_extractor.value_net"),
}
_BEFORE_OTHERS = ("features_extractor", "latent_pi")


@dataclass
class Roles:
    """Sets of layers, each of which is the only thing between them and what its set says."""

    outputs: set[nn.Module] = field(default_factory=set)
    """The layers that compute outputs."""
    policy: set[nn.Module] = field(default_factory=set)
    """Those of them that compute the policy of an actor-critic."""
    last_hidden: set[nn.Module] = field(default_factory=set)
    """The last layers before them."""

    def update(self, other: Roles) -> None:
        """Add the layers of `other`."""
        self.outputs |= other.outputs
        self.policy |= other.policy
        self.last_hidden |= other.last_hidden


def find_roles(policy: nn.Module, outputs: Iterable[str] | None = None) -> Roles:
    """The roles of the dense and convolutional layers of a policy.

    In networks of the host's form they go by the host's names. Of a network with other layers or heads, a copy is
    called: its output layers are those from which its outputs are computed without passing through another layer; one
    that is never called counts as an output layer. If that fails, there is a warning, and the layers that the host's
    names do not explain count as output layers.

    Args:
        policy: of any algorithm of stable-baselines3 or sb3-contrib.
        outputs: names of the output layers of some networks, as in `policy.named_modules()`; those of the others, or
            all if None, are found. Those of a target network are those of its learner.

    Raises:
        ValueError: a name that is not one of a dense or convolutional layer.
    """
    named = set() if outputs is None else _layers_of(policy, outputs)
    roles = Roles()
    for network in policy.modules():
        if isinstance(network, BaseModel):
            paths, own = list(_paths(network)), {*_own_modules(network)}
            unexplained = _unexplained(network, paths)
            names = [name for name, module in policy.named_modules() if module in unexplained]
            listed = [name for name in names if not named & own and learner_name(policy, name) == name]
            found = _traced_roles(network, unexplained, listed) if unexplained else _named_roles(paths)
            if named & own:
                found.outputs = named & own
                found.policy &= named
            roles.update(found)
    return roles


def learner_name(policy: nn.Module, name: str) -> str:
    """The name of the layer that a layer of a target network follows: `q_net.0` for `q_net_target.0`; else its own."""
    network, dot, rest = name.partition(".")
    learner = network.removesuffix("_target")
    return f"{learner}{dot}{rest}" if learner in policy._modules else name


def _layers_of(policy: nn.Module, names: Iterable[str]) -> set[nn.Module]:
    layers = {name: module for name, module in policy.named_modules(remove_duplicate=False) if is_dense(module)}
    names = {names} if isinstance(names, str) else {*names}
    for name in names - {*layers}:
        raise unknown_name("output layer", name, layers)
    names = {learner_name(policy, name) for name in names}
    return {module for name, module in layers.items() if learner_name(policy, name) in names}


def _paths(network: nn.Module) -> Iterator[tuple[str, list[nn.Module]]]:
    """The head's name and the dense layers from the observation to it, of each head of a network of the host's form."""
    parts = dict(network.named_modules(remove_duplicate=False))
    for name, head in network.named_children():
        if _HEADS.fullmatch(name) and not isinstance(head, BaseModel) and any(map(_has_weight, head.modules())):
            before = [parts[part] for part in _BEFORE_HEADS.get(name, _BEFORE_OTHERS) if part in parts]
            yield name, [layer for part in (*before, head) for layer in part.modules() if _has_weight(layer)]


def _has_weight(module: nn.Module) -> bool:
    """Whether it is a dense layer, or another that computes its outputs by weights of its own."""
    if is_recurrent(module) or is_embedding(module):
        return False
    return is_dense(module) or is_without_weight(module) or bool(weights_in(module))


def _named_roles(paths: Iterable[tuple[str, list[nn.Module]]]) -> Roles:
    roles = Roles()
    for head, layers in paths:
        roles.outputs.add(layers[-1])
        roles.last_hidden.update(layers[-2:-1])
        if head == "action_net":
            roles.policy.add(layers[-1])
    return roles


def _unexplained(network: nn.Module, paths: Iterable[tuple[str, list[nn.Module]]]) -> list[nn.Module]:
    """Dense layers on no path to a head, or of a head that is no chain of layers."""
    explained = {layer for head, layers in paths if _is_chain(network.get_submodule(head)) for layer in layers}
    extractors = [part for part in network.children() if isinstance(part, BaseFeaturesExtractor)]
    explained |= {layer for part in extractors for layer in part.modules()}
    return [layer for layer in _own_modules(network) if is_dense(layer) and layer not in explained]


def _own_modules(network: nn.Module) -> Iterator[nn.Module]:
    """The modules of a network, without those of networks of the host within it."""
    yield network
    for child in network.children():
        if not isinstance(child, BaseModel):
            yield from _own_modules(child)


def _is_chain(module: nn.Module) -> bool:
    """Whether dense layers of `module` are called one after the other."""
    if type(module).forward is nn.Sequential.forward:
        return all(map(_is_chain, module.children()))
    return not any(is_dense(part) for part in module.modules() if part is not module)


def _traced_roles(network: BaseModel, unexplained: list[nn.Module], listed: Collection[str]) -> Roles:
    """The roles of the layers of a network of which a copy is called; if that fails, a warning lists some names."""
    names = {name: module for name, module in network.named_modules() if _has_weight(module)}
    try:
        copied = deep_copy(network)
        roles = _trace(copied, {copied.get_submodule(name): module for name, module in names.items()})
    except Exception as error:  # of code that is not ours
        if listed:
            warnings.warn(
                f"which layers of {type(network).__name__} are output layers is not known, since a call of it failed "
                f"({type(error).__name__}: {error}); {', '.join(listed)} count as such: name the output layers by "
                "policy_kwargs=dict(outputs=[...])",
                stacklevel=2,
            )
        roles = _named_roles(_paths(network))
        roles.outputs |= {*unexplained}
        if hasattr(network, "evaluate_actions"):
            roles.policy |= {*unexplained}
    own = {*_own_modules(network)}
    return Roles(roles.outputs & own, roles.policy & own, roles.last_hidden & own)


@torch.enable_grad()
def _trace(network: Any, layers: Mapping[nn.Module, nn.Module]) -> Roles:
    """The roles of `layers`, keyed by those of `network`, from a call of it in which the graph is cut at each layer."""
    results: dict[nn.Module, list[Tensor]] = {}
    inputs: dict[nn.Module, list[Tensor]] = {}

    def cut(layer: nn.Module, arguments: tuple[Any, ...], output: Any) -> Tensor | None:
        if not isinstance(output, Tensor):
            return None
        leaf = output.detach().requires_grad_()
        results.setdefault(layers[layer], []).append(leaf)
        inputs.setdefault(layers[layer], []).extend(tree_leaves(arguments))
        return leaf.clone()

    for layer in layers:
        layer.register_forward_hook(cut)
    devices = [network.device] if network.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        policy, others = _outputs(network.eval())
    roles = Roles(outputs=_reached([*policy, *others], results), policy=_reached(policy, results))
    roles.outputs |= {*layers.values()} - {*results}
    roles.last_hidden = _reached([x for layer in roles.outputs for x in inputs.get(layer, ())], results)
    return roles


def _reached(tensors: Iterable[Any], results: Mapping[nn.Module, list[Tensor]]) -> set[nn.Module]:
    """The layers from whose results any of the tensors is computed, without another layer in between."""
    ends = [tensor.sum() for tensor in tensors if isinstance(tensor, Tensor) and tensor.requires_grad]
    leaves = [(layer, leaf) for layer, own in results.items() for leaf in own]
    if not ends:
        return set()
    gradients = torch.autograd.grad(ends, [leaf for _, leaf in leaves], retain_graph=True, allow_unused=True)
    return {layer for (layer, _), gradient in zip(leaves, gradients, strict=True) if gradient is not None}


def _outputs(network: Any) -> tuple[list[Any], list[Any]]:
    """Tensors that a network computes: those of the policy of an actor-critic, and others."""
    obs, actions = (_samples(space) for space in (network.observation_space, network.action_space))
    obs = tree_map(lambda array: torch.as_tensor(array, device=network.device), obs)
    actions = torch.as_tensor(actions, device=network.device)
    if hasattr(network, "evaluate_actions"):
        discrete = isinstance(network.action_space, spaces.Discrete)
        taken = actions.long().flatten() if discrete else actions
        values, *policy = network.evaluate_actions(obs, taken, *_memory(network, len(actions)))
        return policy, [values]
    required = [p for p in inspect.signature(network.forward).parameters.values() if p.default is p.empty]
    takes_actions = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in required) > 1  # a critic
    outputs = network(obs, actions) if takes_actions else network(obs)
    return [], tree_leaves(outputs)


def _samples(space: spaces.Space[Any], number: int = 2) -> Any:
    """Elements of a space, `[number, ...]`, an array or a dict of arrays; its generator stays as it is."""
    space = copy.deepcopy(space)
    space.seed(0)
    samples = [space.sample() for _ in range(number)]
    return tree_map(lambda *parts: np.stack(parts), *samples)


def _memory(network: Any, number: int) -> tuple[Any, ...]:
    """Further arguments of `evaluate_actions` of a recurrent policy, at the start of episodes."""
    if not hasattr(network, "lstm_actor"):
        return ()
    lstm = network.lstm_actor
    state = torch.zeros(number, lstm.num_layers, lstm.hidden_size, device=network.device)
    return host_memory((state,) * 4, torch.zeros(number, device=network.device))
