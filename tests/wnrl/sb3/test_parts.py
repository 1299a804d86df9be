"""wnrl.sb3.parts: actors and Q-networks, saved, loaded and copied alone."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sb3_contrib import QRDQN, TQC, CrossQ
from stable_baselines3 import DQN, SAC, TD3
from stable_baselines3.common.envs import FakeImageEnv, IdentityEnv, IdentityEnvBox
from stable_baselines3.td3.policies import Actor

from tests.products import covering
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.sb3 import crossq, dqn, qrdqn, sac, td3, tqc
from wnrl.sb3.parts import NormalizedPart, part_class
from wnrl.weight_norm.normalized_layer import NormalizedLayer

PARTS = {
    "dqn": (DQN, dqn, "q_net"),
    "qrdqn": (QRDQN, qrdqn, "quantile_net"),
    "sac": (SAC, sac, "actor"),
    "td3": (TD3, td3, "actor"),
    "tqc": (TQC, tqc, "actor"),
    "crossq": (CrossQ, crossq, "actor"),
}


def make_model(name, norm="weight", images=False, **keywords):
    """One that has learned a little."""
    algorithm, module, _ = PARTS[name]
    if images:
        env = FakeImageEnv(screen_height=36, screen_width=36, discrete=False)
        keywords["features_extractor_kwargs"] = {"features_dim": 8}
    else:
        env = IdentityEnv(3) if "dqn" in name else IdentityEnvBox()
    policy = module.CnnPolicy if images else module.MlpPolicy
    kind = {"net_arch": [8, 8], "norm": norm, **keywords}
    settings = {"learning_starts": 4, "buffer_size": 64, "batch_size": 4, "device": "cpu"}
    return algorithm(policy, env, seed=0, policy_kwargs=kind, **settings).learn(16)


def make_part(name, *arguments, **keywords):
    """The part of a model that acts."""
    return getattr(make_model(name, *arguments, **keywords).policy, PARTS[name][2])


def check_alike(part, other):
    """Of the same kind and parameters, and none shared."""
    assert type(other) is type(part)
    assert [type(module) for module in other.modules()] == [type(module) for module in part.modules()]
    expected, found = part.state_dict(), other.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert not {p.data_ptr() for p in part.parameters()} & {p.data_ptr() for p in other.parameters()}
    obs = np.stack([part.observation_space.sample() for _ in range(4)])
    part.set_training_mode(False)
    other.set_training_mode(False)
    actions = (each.predict(obs, deterministic=True)[0] for each in (part, other))
    np.testing.assert_array_equal(*actions)


@pytest.mark.parametrize(("name", "norm"), covering(PARTS, NORMALIZERS))
def test_a_part_is_saved_and_loaded_alone(name, norm, tmp_path):
    part = make_part(name, norm)
    part.save(tmp_path / "part")
    check_alike(part, type(part).load(tmp_path / "part", device="cpu"))


@pytest.mark.parametrize("share", [True, False])
def test_its_features_extractor_is_saved_with_it(share, tmp_path):
    model = make_model("sac", images=True, share_features_extractor=share)
    part = model.actor
    assert isinstance(part.features_extractor.cnn[0], NormalizedLayer)
    part.save(tmp_path / "part")
    check_alike(part, type(part).load(tmp_path / "part", device="cpu"))


def test_a_loaded_part_learns_apart(tmp_path):
    part = make_part("td3")
    before = copy.deepcopy(part.state_dict())
    part.save(tmp_path / "part")
    loaded = part_class(Actor).load(tmp_path / "part", device="cpu")
    optimizer = torch.optim.SGD(loaded.parameters(), lr=1.0)
    loaded(torch.ones(2, 1)).sum().backward()
    optimizer.step()
    assert any(not torch.equal(value, before[name]) for name, value in loaded.state_dict().items())
    check_alike(part, part_class(Actor).load(tmp_path / "part", device="cpu"))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda part: pickle.loads(pickle.dumps(part))])
def test_copies_are_of_the_same_class(copied):
    part = make_part("sac", "mean-batch")
    check_alike(part, copied(part))


def test_parts_are_those_of_the_host_too():
    policy = make_model("td3").policy
    for part in (policy.actor, policy.actor_target):
        assert type(part) is part_class(Actor)
        assert isinstance(part, Actor)
        assert isinstance(part, NormalizedPart)
    assert type(make_part("td3", "none")) is Actor
