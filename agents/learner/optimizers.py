"""Optimizers by name, with the variants that the presets need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

import torch
from torch import nn
from torch.optim import Optimizer

from agents.learner.rmsprop import RMSprop
from agents.settings.learner import OptimizerName


def make_optimizer(
    name: OptimizerName,
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float,
    beta1: float,
    eps: float,
    fused: bool = True,
) -> Optimizer:
    """An optimizer over `parameters`.

    Args:
        name: `adam`, `adamax`, `radam`, `rmsprop` (centred, decay 0.95, as Mnih et al. 2015 describe it, without
            momentum), `rmsprop-a2c` (decay 0.99, begun at 1, as TensorFlow's in openai/baselines' A2C) or `sgd`
            (without momentum).
        parameters: of the network as it is now; build the optimizer after the network is normalized.
        learning_rate: initial learning rate.
        beta1: decay rate of the first moment (Adam, Adamax, RAdam).
        eps: ε, added to the denominator; under its root in both kinds of RMSprop. SGD has neither.
        fused: whether Adam and SGD take torch's fused kernels; without, their steps can be compiled.

    Raises:
        ValueError: an unknown name.
    """
    if name not in get_args(OptimizerName):
        raise ValueError(f"unknown optimizer {name!r}: choose from {', '.join(get_args(OptimizerName))}")
    parameters = list(parameters)
    options: dict[str, Any] = {"lr": learning_rate, "eps": eps}
    if parameters[0].is_cuda:  # so that a CUDA graph can capture a step
        options |= {"lr": torch.tensor(learning_rate, device=parameters[0].device), "capturable": True}
    kernels: Any = {"fused": True} if fused else {"foreach": True}
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=options["lr"], **kernels)
    if name == "adam":
        return torch.optim.Adam(parameters, betas=(beta1, 0.999), **kernels, **options)
    if name == "adamax":
        return torch.optim.Adamax(parameters, betas=(beta1, 0.999), **options)
    if name == "radam":
        return torch.optim.RAdam(parameters, betas=(beta1, 0.999), **options)
    if name == "rmsprop-a2c":
        return RMSprop(parameters, options["lr"], alpha=0.99, eps=eps, initial=1.0)
    return RMSprop(parameters, options["lr"], alpha=0.95, eps=eps, centered=True)


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load the moments of `state`, an optimizer's `state_dict`; the options stay as they were built for this device.

    Raises:
        ValueError: they are those of torch's RMSprop, which earlier versions had.
    """
    if isinstance(optimizer, RMSprop) and "initial" not in state["param_groups"][0]:
        raise ValueError(
            "the checkpoint's RMSprop has its epsilon outside of the root, this version's under it: evaluate the run's "
            "model, or start a new run"
        )
    options = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    groups = [{**own, "params": group["params"]} for group, own in zip(state["param_groups"], options, strict=True)]
    optimizer.load_state_dict({**state, "param_groups": groups})  # whose options say where step counts are kept
    for group, own in zip(optimizer.param_groups, options, strict=True):
        group.update(own)
    for parameter, moments in optimizer.state.items():  # torch's fused kernels take moments of the parameter's layout
        for name, value in moments.items():
            if (
                isinstance(value, torch.Tensor)
                and value.shape == parameter.shape
                and value.stride() != parameter.stride()
            ):
                moments[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
