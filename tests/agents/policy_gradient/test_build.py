import numpy as np
import pytest
import torch
from torch import nn

from agents.learner.network import make_network
from agents.on_policy.episodes import EpisodeStorage
from agents.on_policy.reward_scaling import RewardClipping, RewardScaling
from agents.on_policy.rollout import RolloutStorage
from agents.policy_gradient.actors import FeedforwardActor, RecurrentActor
from agents.policy_gradient.build import build_ppo, describe_actor_critic
from agents.settings.flat import replace
from agents.settings.policy_gradient import PPOSettings
from envs import Chain, Gym
from tests.agents.contract import differences
from tests.agents.environments import Clockwork
from tests.agents.policy_gradient_family import KINDS, RUN, make, outputs
from wnrl.diagnostics.norms import minibatch_noise
from wnrl.normalizers.folding import fold
from wnrl.weight_norm.dense import WeightNormLinear
from wnrl.weight_norm.normalized_layer import NormalizedLayer


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_is_built_again_from_its_description(kind):
    environment = Chain(2, length=4)
    agent = make(kind, environment, normalize_obs=True)
    description = describe_actor_critic(replace(RUN, hidden=(16,)), agent.settings, environment)
    again = fold(make_network(description, seed=9))
    again.load_state_dict(agent.acting.state_dict())
    obs = np.eye(4, dtype=np.float32)
    assert differences(list(outputs(again, obs)), list(outputs(agent.acting, obs))) == []


def test_the_parts_are_those_of_the_settings():
    plain = make("ppo", Chain(2, length=4))
    assert isinstance(plain.actor, FeedforwardActor)
    assert isinstance(plain.storage, RolloutStorage)
    assert isinstance(plain.rewards, RewardClipping)
    other = make("ppo", Chain(2, length=4), lstm=4, minibatches=1, normalize_return=True)
    assert isinstance(other.actor, RecurrentActor)
    assert isinstance(other.rewards, RewardScaling)
    assert isinstance(make("reinforce", Chain(2)).storage, EpisodeStorage)


@pytest.mark.parametrize("kind", KINDS)
def test_what_acts_is_a_copy(kind):
    agent = make(kind, Chain(2, length=4))
    ours = {parameter.data_ptr() for parameter in agent.network.parameters()}
    assert not ours & {parameter.data_ptr() for parameter in agent.acting.parameters()}
    assert not agent.acting.training
    assert agent.network.training


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("environment", ["discrete", "continuous"])
@pytest.mark.parametrize("norm", ["weight", "mean-batch"])
def test_policy_layers_stay_plain_and_value_layers_do_not(kind, environment, norm):
    environment = Chain(2, length=4) if environment == "discrete" else Gym("Pendulum-v1", 2)
    network = make(kind, environment, norm=norm).network
    assert (type(network.policy.layer), type(network.value.layer)) == (nn.Linear, WeightNormLinear)
    assert isinstance(network.torso.layers[1], NormalizedLayer)


@pytest.mark.parametrize(("separate", "obs_shape", "lstm", "torsos"), [
    (None, (3,), 0, 2),
    (False, (3,), 0, 1),
    (None, (3,), 4, 1),
    (None, (4, 84, 84), 0, 1),
    (True, (4, 84, 84), 0, 2),
])  # fmt: skip
def test_who_has_a_torso_of_its_own(separate, obs_shape, lstm, torsos):
    agent = make("ppo", Clockwork(3, obs_shape=obs_shape), separate=separate, lstm=lstm, minibatches=1)
    assert (1 if getattr(agent.network, "value_torso", None) is None else 2) == torsos


@pytest.mark.parametrize("kind", KINDS)
def test_actions_have_the_environments_size(kind):
    environment = Gym("Pendulum-v1", 2)
    agent = make(kind, environment)
    action = agent.act(environment.reset(0), 0).action
    assert (action.shape, action.dtype) == ((2, 1), np.float32)


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="'cuda:77' is not available"):
        build_ppo(replace(RUN, device="cuda:77"), PPOSettings(), Chain(8))


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("a2c", {"rollout_length": 1}),
        ("ppo", {"rollout_length": 8, "minibatches": 8}),
        ("ppo", {"rollout_length": 7, "minibatches": 4}),
        ("ppo", {"rollout_length": 1, "minibatches": 1, "lstm": 4}),
    ],
)
def test_an_advantage_is_not_normalized_alone(kind, numbers):
    """It would be 0, and the policy never learn."""
    with pytest.raises(ValueError, match="normalize_advantage needs 2 steps or more in each minibatch, here it is 1"):
        make(kind, Chain(1), normalize_advantage=True, **numbers)
    make(kind, Chain(1), normalize_advantage=False, **numbers)
    make(kind, Chain(1), normalize_advantage=True, **{**numbers, "rollout_length": 16})


@pytest.mark.parametrize("lstm", [0, 4])
def test_the_layers_are_looked_at_with_or_without_memory(lstm):
    agent = make("ppo", Chain(2, length=4), lstm=lstm, minibatches=1)
    obs = torch.eye(4)
    metrics = agent.learner.metrics(0, obs, torch.Generator().manual_seed(0))
    assert {"weights/fc/dead", "weights/value/w_norm"} <= metrics.keys()
    assert ("weights/lstm.weight_hh_l0/w_norm" in metrics) == bool(lstm)
    diagnostics = agent.learner.diagnostics
    assert minibatch_noise(agent.learner.network, obs, diagnostics._forward) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("norm", ["mean-batch", "batch"])
def test_only_with_a_minibatchs_statistics_do_outputs_depend_on_it(norm):
    obs, noise = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)), {}
    for statistics in ("running", "minibatch"):
        agent = make("ppo", Chain(2, length=4), norm=norm, batch_statistics=statistics)
        metrics = agent.learner.metrics(0, obs, torch.Generator().manual_seed(0))
        noise[statistics] = metrics.get("weights/minibatch_noise")
    assert noise["running"] is None
    assert noise["minibatch"] > 0.1
