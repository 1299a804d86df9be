"""wnrl.sb3.policy_files: what is loaded acts as the model does."""

import json
import pickle
import resource
import sys
from functools import partial
from importlib import import_module

import gymnasium as gym
import numpy as np
import pytest
import torch
from sb3_contrib import QRDQN, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.envs import (
    FakeImageEnv,
    IdentityEnvBox,
    IdentityEnvMultiBinary,
    IdentityEnvMultiDiscrete,
    SimpleMultiObsEnv,
)
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from torch import nn

from tests.products import covering
from wnrl.checkpoints.tensor_files import CheckpointError, read_model, write_model
from wnrl.normalizers.normalize import NORMALIZERS
from wnrl.sb3 import dqn, policy_files, ppo
from wnrl.sb3.policy_files import load_policy, save_policy

OFF_POLICY = {"learning_starts": 4, "buffer_size": 64, "batch_size": 4}
ON_POLICY = {"n_steps": 8, "batch_size": 8}


class Points(gym.Env):
    """Observations and actions of the given spaces, at random."""

    observation_space = gym.spaces.Box(-1, 1, (3,))

    def __init__(self, action_space):
        self.action_space = action_space

    def reset(self, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        return self.observation_space.sample(), 1.0, False, False, {}


discrete = partial(Points, gym.spaces.Discrete(4))
box = partial(Points, gym.spaces.Box(np.float32([0.1, -3.0]), np.float32([0.2, 5.0])))


def images():
    return FakeImageEnv(screen_height=36, screen_width=36)


CASES = {
    "a2c": (A2C, "a2c.MlpPolicy", discrete, {"n_steps": 8}),
    "crossq": (CrossQ, "crossq.MlpPolicy", box, OFF_POLICY),
    "ddpg": (DDPG, "ddpg.MlpPolicy", box, OFF_POLICY),
    "dqn": (DQN, "dqn.MlpPolicy", discrete, OFF_POLICY),
    "dqn-dictionaries": (DQN, "dqn.MultiInputPolicy", SimpleMultiObsEnv, OFF_POLICY),
    "dqn-images": (DQN, "dqn.CnnPolicy", images, OFF_POLICY),
    "ppo": (PPO, "ppo.MlpPolicy", box, ON_POLICY),
    "ppo-dictionaries": (PPO, "ppo.MultiInputPolicy", SimpleMultiObsEnv, ON_POLICY),
    "ppo-images": (PPO, "ppo.CnnPolicy", images, ON_POLICY),
    "ppo-multibinary": (PPO, "ppo.MlpPolicy", partial(IdentityEnvMultiBinary, 3), ON_POLICY),
    "ppo-multidiscrete": (PPO, "ppo.MlpPolicy", partial(IdentityEnvMultiDiscrete, 3), ON_POLICY),
    "ppo-sde": (PPO, "ppo.MlpPolicy", box, {**ON_POLICY, "use_sde": True}),
    "ppo_mask": (MaskablePPO, "ppo_mask.MlpPolicy", discrete, ON_POLICY),
    "ppo_recurrent": (RecurrentPPO, "ppo_recurrent.MlpLstmPolicy", box, ON_POLICY),
    "ppo_recurrent-lean": (
        RecurrentPPO,
        "ppo_recurrent.MlpLstmPolicy",
        box,
        {**ON_POLICY, "policy_kwargs": {"enable_critic_lstm": False, "lstm_hidden_size": 8, "n_lstm_layers": 2}},
    ),
    "qrdqn": (QRDQN, "qrdqn.MlpPolicy", discrete, OFF_POLICY),
    "sac": (SAC, "sac.MlpPolicy", box, OFF_POLICY),
    "sac-images": (SAC, "sac.CnnPolicy", partial(FakeImageEnv, 2, 36, 36, 1, False), OFF_POLICY),
    "sac-sde": (SAC, "sac.MlpPolicy", box, {**OFF_POLICY, "use_sde": True}),
    "td3": (TD3, "td3.MlpPolicy", box, OFF_POLICY),
    "tqc": (TQC, "tqc.MlpPolicy", box, OFF_POLICY),
    "trpo": (TRPO, "trpo.MlpPolicy", discrete, ON_POLICY),
}


def learned(case, **policy_kwargs):
    """A model that has learned a little, moved on at random to weights by which its actions vary."""
    algorithm, name, env, keywords = CASES[case]
    module, _, kind = name.partition(".")
    policy = getattr(import_module(f"wnrl.sb3.{module}"), kind)
    keywords = {**keywords, "policy_kwargs": {**keywords.get("policy_kwargs", {}), **policy_kwargs}}
    model = algorithm(policy, env(), seed=0, device="cpu", **keywords)
    model.learn(16, **({"use_masking": False} if algorithm is MaskablePPO else {}))
    torch.manual_seed(1)
    obs = observations(model, 64)
    for _ in range(50):
        with torch.no_grad():
            for parameter in model.policy.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        if len(np.unique(model.predict(obs, deterministic=True)[0], axis=0)) > 1:
            return model
    raise AssertionError("its actions do not depend on what it sees")


def loaded(model, path, **options):
    save_policy(model, path / "policy")
    return load_policy(path / "policy", model.observation_space, model.action_space, **options)


def observations(model, number):
    space = model.observation_space
    space.seed(0)
    samples = [space.sample() for _ in range(number)]
    if isinstance(space, gym.spaces.Dict):
        return {name: np.stack([sample[name] for sample in samples]) for name in space}
    return np.stack(samples)


def assert_acts_as(policy, model):
    obs, options = observations(model, 64), {}
    if isinstance(model, RecurrentPPO):
        lstm, rng = model.policy.lstm_actor, np.random.default_rng(0)
        state = tuple(np.float32(rng.normal(size=(2, lstm.num_layers, 64, lstm.hidden_size))))
        options = {"state": state, "episode_start": np.arange(64) % 2 == 0}
    expected, states = model.predict(obs, deterministic=True, **options)
    actions, next_states = policy.predict(obs, deterministic=True, **options)
    assert len(np.unique(expected, axis=0)) > 1, "every policy would act so"
    assert actions.dtype == expected.dtype
    np.testing.assert_allclose(actions, expected, rtol=1e-4, atol=5e-5)
    for ours, theirs in zip(next_states or (), states or (), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_policy_acts_as_the_model(case, tmp_path):
    model = learned(case)
    assert_acts_as(loaded(model, tmp_path), model)


@pytest.mark.parametrize(("case", "norm"), covering(["dqn", "ppo", "sac"], sorted(NORMALIZERS.keys() - {"weight"})))
def test_the_policy_acts_as_the_model_with_every_normalizer(case, norm, tmp_path):
    model = learned(case, norm=norm)
    assert_acts_as(loaded(model, tmp_path), model)


@pytest.mark.slow
@pytest.mark.parametrize("norm", sorted(NORMALIZERS.keys() - {"weight"}))
@pytest.mark.parametrize("case", sorted(CASES.keys() - {"dqn", "ppo", "sac"}))
def test_every_policy_acts_as_the_model_with_every_normalizer(case, norm, tmp_path):
    model = learned(case, norm=norm)
    assert_acts_as(loaded(model, tmp_path), model)


def test_masks_hold(tmp_path):
    model = learned("ppo_mask")
    policy, obs = loaded(model, tmp_path), observations(model, 64)
    masks = np.random.default_rng(0).random((64, 4)) < 0.5
    masks[:, 0] = True
    actions, _ = policy.predict(obs, deterministic=True, action_masks=masks)
    assert np.array_equal(actions, model.predict(obs, deterministic=True, action_masks=masks)[0])
    assert masks[np.arange(64), actions].all()
    assert not masks[np.arange(64), policy.predict(obs, deterministic=True)[0]].all()


# What is in the files


def test_the_files_have_what_acts(tmp_path):
    model = learned("sac")
    random = torch.get_rng_state()
    save_policy(model, tmp_path / "run.1" / "policy", {"game": None, "step": 3})
    assert sorted(path.name for path in (tmp_path / "run.1").iterdir()) == ["policy.json", "policy.safetensors"]
    tensors, about = read_model(tmp_path / "run.1" / "policy")
    assert torch.allclose(tensors["actor.latent_pi.0.weight"], model.actor.latent_pi[0].weight)
    assert all(name.startswith("actor.") and name.rpartition(".")[2] not in ("g", "v") for name in tensors)
    assert json.loads((tmp_path / "run.1" / "policy.json").read_text()) == about
    assert (about["algorithm"], about["policy"].rpartition(".")[0]) == ("SAC", "wnrl.sb3.sac")
    assert (about["game"], about["step"], about["num_timesteps"]) == (None, 3, 16)
    load_policy(tmp_path / "run.1" / "policy", model.observation_space, model.action_space)
    assert torch.equal(torch.get_rng_state(), random)


def test_onnx_is_not_needed(tmp_path, monkeypatch):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    model = learned("dqn")
    assert_acts_as(loaded(model, tmp_path), model)


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    model = learned("dqn")
    save_policy(model, tmp_path / "policy")

    def refuse(*_, **__):
        raise AssertionError("a pickle was read")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    assert_acts_as(load_policy(tmp_path / "policy", model.observation_space, model.action_space), model)


@pytest.mark.parametrize(
    "policy_kwargs",
    [
        {"net_arch": [5, 7], "activation_fn": nn.ELU},
        {"net_arch": {"pi": [6], "vf": [3, 3]}, "share_features_extractor": False},
        {"features_extractor_class": FlattenExtractor, "log_std_init": -1.0},
        {"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {"momentum": 0.5}},
        {"normalize_output": True, "init": "analytic", "units": "paper"},
    ],
)
def test_arguments_of_the_policy_are_those_of_the_model(policy_kwargs, tmp_path):
    model = learned("ppo", **policy_kwargs)
    policy = loaded(model, tmp_path)
    assert_acts_as(policy, model)
    assert policy.activation_fn is policy_kwargs.get("activation_fn", nn.Tanh)


@pytest.mark.parametrize("norm", ["weight", "layer", "none"])
@pytest.mark.parametrize(
    ("case", "layers"),
    [
        ("ppo", lambda name, layer: name.startswith("mlp_extractor")),
        ("ppo", {"mlp_extractor.policy_net.0", "mlp_extractor.value_net.2"}),
        ("dqn", lambda name, layer: name == "q_net.q_net.0"),
    ],
    ids=["ppo-predicate", "ppo-set", "dqn-predicate"],
)
def test_layers_may_be_chosen_by_a_predicate_or_a_set(case, layers, norm, tmp_path):
    model = learned(case, layers=layers, norm=norm)
    assert_acts_as(loaded(model, tmp_path), model)


def test_outputs_may_be_named_in_a_set(tmp_path):
    model = learned("ppo", outputs={"action_net", "value_net"})
    assert_acts_as(loaded(model, tmp_path), model)


class Doubled(BaseFeaturesExtractor):
    """A features extractor that no library has."""

    def __init__(self, observation_space):
        super().__init__(observation_space, 3)

    def forward(self, obs):
        return 2 * obs


def test_an_argument_that_is_no_plain_value_has_to_be_given(tmp_path):
    model = learned("ppo", features_extractor_class=Doubled)
    with pytest.raises(ValueError, match="arguments that are no plain values: give features_extractor_class"):
        loaded(model, tmp_path)
    assert_acts_as(loaded(model, tmp_path, policy_kwargs={"features_extractor_class": Doubled}), model)


# What is refused


def rewritten(path, **changes):
    tensors, about = read_model(path)
    write_model(path, tensors, {**about, **changes})


@pytest.mark.parametrize(
    "name",
    [
        "stable_baselines3.dqn.policies.DQNPolicy",
        "os.system",
        "wnrl.sb3.dqn.NormalizedPolicyX",
        "wnrl.sb3.nothing.MlpPolicy",
        "wnrl.sb3.export.export",
        "wnrl.sb3.dqn.host.MlpPolicy",
    ],
)
def test_a_class_that_is_no_policy_of_ours_is_refused(name, tmp_path):
    model = learned("dqn")
    save_policy(model, tmp_path / "policy")
    rewritten(tmp_path / "policy", policy=name)
    with pytest.raises(ValueError, match=f"has no policy of wnrl.sb3 but {name}"):
        load_policy(tmp_path / "policy", model.observation_space, model.action_space)


def test_a_plain_model_can_be_written_and_not_loaded(tmp_path):
    model = DQN("MlpPolicy", discrete(), device="cpu")
    with pytest.raises(ValueError, match=r"has no policy of wnrl.sb3 but stable_baselines3.dqn.policies.DQNPolicy"):
        loaded(model, tmp_path)
    tensors, _ = read_model(tmp_path / "policy")
    assert torch.equal(tensors["q_net.q_net.0.weight"], model.q_net.q_net[0].weight)


def test_a_name_of_another_module_is_no_argument(tmp_path):
    model = learned("ppo")
    save_policy(model, tmp_path / "policy")
    for name in ("ReLu", "functional", "init"):
        rewritten(tmp_path / "policy", policy_kwargs={"activation_fn": name})
        with pytest.raises(ValueError, match=f"activation_fn '{name}' is no module of torch.nn"):
            load_policy(tmp_path / "policy", model.observation_space, model.action_space)


def test_other_spaces_are_refused(tmp_path):
    model = learned("dqn")
    save_policy(model, tmp_path / "policy")
    with pytest.raises(ValueError, match=r"has the action_space Discrete\(4\), got Discrete\(5\)"):
        load_policy(tmp_path / "policy", model.observation_space, gym.spaces.Discrete(5))
    with pytest.raises(ValueError, match="has the observation_space Box"):
        load_policy(tmp_path / "policy", gym.spaces.Box(-1, 1, (4,)), model.action_space)


LOW = np.linspace(-3, -2, 1200, dtype=np.float32) / 3


class Many(Points):
    """Observations of many bounds."""

    observation_space = gym.spaces.Box(LOW, LOW + 5)


def test_spaces_are_compared_by_their_values(tmp_path):
    model = DQN(dqn.MlpPolicy, Many(gym.spaces.Discrete(4)), device="cpu", policy_kwargs={"net_arch": [4]})
    save_policy(model, tmp_path / "policy")
    with np.printoptions(precision=2):
        same = gym.spaces.Box(LOW, LOW + 5)
        assert str(same) != read_model(tmp_path / "policy")[1]["observation_space"]
        load_policy(tmp_path / "policy", same, model.action_space)
    low = LOW.copy()
    low[600] -= 1
    other = gym.spaces.Box(low, LOW + 5)
    assert str(other) == str(model.observation_space)
    with pytest.raises(ValueError, match=r"has the observation_space Box.*, got one with other bounds: Box"):
        load_policy(tmp_path / "policy", other, model.action_space)


def test_older_files_have_the_texts_of_spaces_alone(tmp_path):
    model = learned("dqn")
    save_policy(model, tmp_path / "policy")
    rewritten(tmp_path / "policy", observation_space_values=None, action_space_values=None)
    assert_acts_as(load_policy(tmp_path / "policy", model.observation_space, model.action_space), model)
    with pytest.raises(ValueError, match=r"has the action_space Discrete\(4\), got Discrete\(5\)"):
        load_policy(tmp_path / "policy", model.observation_space, gym.spaces.Discrete(5))


def test_tensors_that_do_not_fit_the_description_are_refused(tmp_path):
    model = learned("dqn")
    save_policy(model, tmp_path / "policy")
    rewritten(tmp_path / "policy", policy_kwargs={"net_arch": [3]})
    with pytest.raises(ValueError, match=r"tensors of .*policy do not fit its description: q_net.q_net.0.bias"):
        load_policy(tmp_path / "policy", model.observation_space, model.action_space)


@pytest.mark.parametrize(
    "arguments",
    [
        {"net_arch": [20_000, 20_000]},
        {"net_arch": {"pi": [64, 64], "vf": [20_000, 20_000]}},
        {"net_arch": [1] * 100_000},
        {"net_arch": [2**40]},
    ],
)
def test_a_policy_larger_than_its_file_is_refused_before_it_takes_memory(arguments, tmp_path):
    model = learned("ppo")
    save_policy(model, tmp_path / "policy")
    rewritten(tmp_path / "policy", policy_kwargs=arguments)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        CheckpointError, match=r"policy has [\d,]+ numbers and describes a policy of more than .*: it is"
    ):
        load_policy(tmp_path / "policy", model.observation_space, model.action_space)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


@pytest.mark.parametrize(
    "about",
    [{"policy_kwargs": {"evil": 1}}, {"policy_kwargs": None}, {"not_stored": 5}, {"policy_kwargs": {"net_arch": "x"}}],
)
def test_what_describes_no_policy_is_one_line(about, tmp_path):
    model = learned("ppo")
    save_policy(model, tmp_path / "policy")
    rewritten(tmp_path / "policy", **about)
    with pytest.raises(ValueError, match="describes no policy of this version: ") as raised:
        load_policy(tmp_path / "policy", model.observation_space, model.action_space)
    assert "\n" not in str(raised.value)


def test_large_critics_and_large_files_are_a_matter_of_trust(tmp_path, monkeypatch):
    model = learned("ppo", net_arch={"pi": [4], "vf": [64, 64]})
    save_policy(model, tmp_path / "policy")
    spaces = model.observation_space, model.action_space
    monkeypatch.setattr(policy_files, "_SLACK", 0)
    with pytest.raises(
        CheckpointError, match=r"describes a policy of more than .*: it is damaged, or has large critics: add --trust"
    ):
        load_policy(tmp_path / "policy", *spaces)
    assert_acts_as(load_policy(tmp_path / "policy", *spaces, trust=True), model)
    monkeypatch.setattr(policy_files, "MOST_NUMBERS", 9)
    with pytest.raises(CheckpointError, match=r"policy has \d+ numbers: add --trust"):
        load_policy(tmp_path / "policy", *spaces)
    assert_acts_as(load_policy(tmp_path / "policy", *spaces, trust=True), model)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*policy.safetensors"):
        load_policy(tmp_path / "policy", gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2))


def test_a_subclass_of_ones_own_is_written_with_its_name(tmp_path):
    class Mine(dqn.MlpPolicy):
        pass

    model = DQN(Mine, discrete(), device="cpu")
    with pytest.raises(ValueError, match=r"Mine: build it and load the tensors of read_model"):
        loaded(model, tmp_path)


@pytest.mark.parametrize("case", ["ppo", "sac"])
def test_a_compiled_policy_is_written_as_the_policy_that_it_wraps(case, tmp_path):
    model = learned(case)
    save_policy(model, tmp_path / "plain")
    model.policy = torch.compile(model.policy, backend="eager")
    assert_acts_as(loaded(model, tmp_path), model)
    (tensors, about), (plain, expected) = (read_model(tmp_path / name) for name in ("policy", "plain"))
    assert about == expected
    assert tensors.keys() == plain.keys()


def test_ppo_of_an_interval_clips(tmp_path):
    """As the model: actions outside of the space are the nearest in it."""
    model = PPO(ppo.MlpPolicy, IdentityEnvBox(), device="cpu", **ON_POLICY)
    with torch.no_grad():
        model.policy.action_net.bias.fill_(50.0)
    actions, _ = loaded(model, tmp_path).predict(np.zeros((2, 1), np.float32), deterministic=True)
    assert np.array_equal(actions, np.ones((2, 1), np.float32))
