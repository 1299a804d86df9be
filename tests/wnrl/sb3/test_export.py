"""wnrl.sb3.export: files that act as the model does."""

import json
import random
import sys
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from packaging.version import Version
from sb3_contrib import QRDQN, TQC, CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.envs import (
    FakeImageEnv,
    IdentityEnv,
    IdentityEnvBox,
    IdentityEnvMultiBinary,
    IdentityEnvMultiDiscrete,
    SimpleMultiObsEnv,
)
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from tests.products import mostly_slow
from tests.wnrl.onnx_operators import operators_translated_once  # noqa: F401
from wnrl.checkpoints.tensor_files import read_model
from wnrl.sb3 import crossq, dqn, export, load_policy, ppo, ppo_mask, ppo_recurrent, qrdqn, sac, td3, tqc

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

OFF_POLICY = {"learning_starts": 4, "buffer_size": 64, "batch_size": 4}
ON_POLICY = {"n_steps": 8, "batch_size": 8}


class Wide(IdentityEnvBox):
    """Actions in an interval that is not [-1, 1], and narrow enough for a Gaussian to leave it."""

    def __init__(self):
        super().__init__()
        self.observation_space = self.action_space = gym.spaces.Box(np.float32([0.1, -3.0]), np.float32([0.2, 5.0]))

    def _get_reward(self, action):
        return 0.0


class Keyed(gym.Env):
    """Observations under the given keys."""

    action_space = gym.spaces.Box(-1, 1, (2,))

    def __init__(self, *keys):
        self.observation_space = gym.spaces.Dict({key: gym.spaces.Box(-1, 1, (3,)) for key in keys})

    def reset(self, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


def images():
    return FakeImageEnv(screen_height=36, screen_width=36)


FAST = {
    "dqn-mean-batch": (
        DQN,
        dqn.MlpPolicy,
        partial(IdentityEnv, 3),
        {**OFF_POLICY, "policy_kwargs": {"norm": "mean-batch"}},
    ),
    "ppo": (PPO, ppo.MlpPolicy, Wide, ON_POLICY),
    "ppo-dictionaries": (PPO, ppo.MultiInputPolicy, SimpleMultiObsEnv, ON_POLICY),
}
SLOW = {
    "dqn-images": (DQN, dqn.CnnPolicy, images, OFF_POLICY),
    "dqn-host": (DQN, "MlpPolicy", partial(IdentityEnv, 3), OFF_POLICY),
    "ppo-discrete": (PPO, ppo.MlpPolicy, partial(IdentityEnv, 3), ON_POLICY),
    "ppo-multidiscrete": (PPO, ppo.MlpPolicy, partial(IdentityEnvMultiDiscrete, 3), ON_POLICY),
    "ppo-multibinary": (PPO, ppo.MlpPolicy, partial(IdentityEnvMultiBinary, 3), ON_POLICY),
    "ppo-sde": (PPO, ppo.MlpPolicy, Wide, {**ON_POLICY, "use_sde": True}),
    "sac": (SAC, sac.MlpPolicy, Wide, OFF_POLICY),
    "sac-sde": (SAC, sac.MlpPolicy, Wide, {**OFF_POLICY, "use_sde": True}),
    "td3": (TD3, td3.MlpPolicy, Wide, OFF_POLICY),
    "qrdqn": (QRDQN, qrdqn.MlpPolicy, partial(IdentityEnv, 3), OFF_POLICY),
    "tqc": (TQC, tqc.MlpPolicy, Wide, OFF_POLICY),
    "crossq": (CrossQ, crossq.MlpPolicy, Wide, OFF_POLICY),
    "masked": (MaskablePPO, ppo_mask.MlpPolicy, partial(IdentityEnv, 3), ON_POLICY),
}


def learned(algorithm, policy, env, keywords):
    """A model that has learned a little."""
    masking = {"use_masking": False} if algorithm is MaskablePPO else {}
    return algorithm(policy, env(), seed=0, device="cpu", **keywords).learn(16, **masking)


def observations(model, number):
    """By the names of inputs: arrays `[number, ...]`."""
    space = model.observation_space
    space.seed(0)
    samples = [space.sample() for _ in range(number)]
    if isinstance(space, gym.spaces.Dict):
        return {name: np.stack([sample[name] for sample in samples]) for name in space}
    return {"obs": np.stack(samples)}


def session(files):
    return onnxruntime.InferenceSession(str(files.onnx), providers=["CPUExecutionProvider"])


def assert_acts_as(model, files):
    running = session(files)
    for number in (1, 33):
        obs = observations(model, number)
        expected, _ = model.predict(obs.get("obs", obs), deterministic=True)
        (actions,) = running.run(["action"], obs)
        assert actions.dtype == expected.dtype
        assert actions.shape == expected.shape
        np.testing.assert_allclose(actions, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", FAST)
def test_the_graph_acts_as_the_model(case, tmp_path):
    model = learned(*FAST[case])
    assert_acts_as(model, export(model, tmp_path / "policy"))


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW)
def test_the_graph_acts_as_the_model_of_every_algorithm(case, tmp_path):
    model = learned(*SLOW[case])
    assert_acts_as(model, export(model, tmp_path / "policy"))


@pytest.mark.parametrize("layers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_recurrent_graph_remembers_as_the_model(layers, tmp_path):
    kind = {"n_lstm_layers": layers, "lstm_hidden_size": 8}
    model = learned(RecurrentPPO, ppo_recurrent.MlpLstmPolicy, Wide, {**ON_POLICY, "policy_kwargs": kind})
    running = session(export(model, tmp_path / "policy"))
    state = tuple(np.float32(np.random.default_rng(0).normal(size=(2, layers, 5, 8))))
    obs, start = observations(model, 5), np.float32([0, 1, 0, 1, 0])
    memory = {"hidden": state[0], "cell": state[1], "episode_start": start}
    action, hidden, cell = running.run(["action", "next_hidden", "next_cell"], {**obs, **memory})
    expected, states = model.predict(obs["obs"], state=state, episode_start=start, deterministic=True)
    for ours, theirs in zip((action, hidden, cell), (expected, *states), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model that learned with an exploration that cannot be copied, and its files."""
    model = learned(SAC, sac.MlpPolicy, IdentityEnvBox, {**OFF_POLICY, "use_sde": True})
    random = torch.get_rng_state()
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    files = export(model, tmp_path_factory.mktemp("run") / "folder" / "best.v1")
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.policy.state_dict().items())
    return model, files


def test_the_tensors_are_folded_and_those_that_act(exported):
    model, files = exported
    tensors, meta = read_model(files.safetensors.with_suffix(""))
    layer = model.actor.latent_pi[0]
    assert torch.allclose(tensors["actor.latent_pi.0.weight"], layer.weight)
    assert all(name.startswith("actor.") and name.rpartition(".")[2] not in ("g", "v") for name in tensors)
    assert json.loads(files.json.read_text()) == meta
    assert meta["algorithm"] == "SAC"
    assert meta["policy"] == "wnrl.sb3.sac.SACPolicy"
    assert meta["inputs"] == {"obs": "float32"}


def test_the_graph_acts_as_the_model_that_explores_by_state(exported):
    assert_acts_as(*exported)


def test_files_are_named_by_the_path(exported):
    _, files = exported
    assert [path.name for path in files] == ["best.v1.safetensors", "best.v1.json", "best.v1.onnx"]
    assert set(files[0].parent.iterdir()) == set(files)


@pytest.mark.parametrize("suffix", mostly_slow([".onnx", ".safetensors", ".json"]))
def test_a_path_may_have_the_suffix_of_a_file(tmp_path, suffix):
    model = PPO(ppo.MlpPolicy, IdentityEnvBox(), device="cpu")
    assert_acts_as(model, export(model, tmp_path / f"y.1{suffix}"))
    names = ["y.1.json", "y.1.onnx", "y.1.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    load_policy(tmp_path / f"y.1{suffix}", model.observation_space, model.action_space)


def test_a_compiled_policy_is_exported_as_the_policy_that_it_wraps(tmp_path):
    model = PPO(ppo.MlpPolicy, IdentityEnvBox(), device="cpu")
    model.policy = torch.compile(model.policy, backend="eager")
    files = export(model, tmp_path / "policy")
    assert_acts_as(model, files)
    assert json.loads(files.json.read_text())["policy"] == "wnrl.sb3.ppo.ActorCriticPolicy"


def test_a_model_goes_on_learning(exported):
    model, _ = exported
    model.learn(8, reset_num_timesteps=False)
    assert model.num_timesteps == 24


class Joined(BaseFeaturesExtractor):
    """Observations side by side, under keys with dots too, which the host's own extractor refuses."""

    def __init__(self, space):
        super().__init__(space, sum(get_flattened_obs_dim(part) for part in space.values()))

    def forward(self, obs):
        return torch.cat([obs[key].flatten(1) for key in sorted(obs)], dim=1)


class Conditional(Joined):
    """With a branch, which becomes subgraphs."""

    def forward(self, obs):
        joined = super().forward(obs)
        if torch.compiler.is_exporting():
            return torch.cond(joined.sum() > 0, self.positive, self.negative, (joined,))
        return self.positive(joined) if joined.sum() > 0 else self.negative(joined)

    def positive(self, joined):
        return torch.sinh(joined) * 2

    def negative(self, joined):
        return torch.cosh(joined) - 3


class Choosing(Keyed):
    action_space = gym.spaces.Discrete(3)


class Mixed(Keyed):
    """Every third observation is an image, every third one of some values."""

    def __init__(self, *keys):
        super().__init__(*keys)
        kinds = gym.spaces.Box(-1, 1, (3,)), gym.spaces.Box(0, 255, (1, 9, 9), np.uint8), gym.spaces.Discrete(3)
        self.observation_space = gym.spaces.Dict({key: kinds[i % 3] for i, key in enumerate(keys)})


def joined(extractor=Joined, **keywords):
    return {**keywords, "policy_kwargs": {"features_extractor_class": extractor, "net_arch": [4]}}


KEYED = {
    "ppo": (PPO, ppo.MultiInputPolicy, Keyed, joined(**ON_POLICY)),
    "ppo-branch": (PPO, ppo.MultiInputPolicy, Keyed, joined(Conditional, **ON_POLICY)),
    "ppo-mixed": (PPO, ppo.MultiInputPolicy, Mixed, joined(**ON_POLICY)),
    "dqn": (DQN, dqn.MultiInputPolicy, Choosing, joined(**OFF_POLICY)),
    "sac": (SAC, sac.MultiInputPolicy, Keyed, joined(**OFF_POLICY)),
    "td3": (TD3, td3.MultiInputPolicy, Keyed, joined(**OFF_POLICY)),
    "tqc": (TQC, tqc.MultiInputPolicy, Keyed, joined(**OFF_POLICY)),
    "qrdqn": (QRDQN, qrdqn.MultiInputPolicy, Choosing, joined(**OFF_POLICY)),
}


def names_inside(graph):
    """Of the weights, results, nodes and operators of a graph and its subgraphs."""
    names = {weight.name for weight in graph.initializer}
    for node in graph.node:
        names |= {node.name, node.op_type, *node.output}
        names = names.union(*(names_inside(attribute.g) for attribute in node.attribute if attribute.HasField("g")))
    return names - {""}


def exported_under(keys, case, path):
    algorithm, policy, env, keywords = KEYED[case]
    model = learned(algorithm, policy, partial(env, *keys), keywords)
    return model, export(model, path)


def own_names(case, path, number=32):
    """That many keys of observations, all or most of them names inside the graph of such a policy."""
    _, files = exported_under([f"key{i}" for i in range(number)], case, path)
    names = sorted(names_inside(onnx.load(files.onnx).graph) - {"action"})
    assert len(names) > 20
    keys = random.Random(0).sample(names, min(len(names), number))
    return keys + [f"key{i}" for i in range(number - len(keys))]


@pytest.mark.slow
@pytest.mark.parametrize("case", KEYED)
def test_keys_of_observations_may_be_any_name_inside_the_graph(case, tmp_path):
    keys = own_names(case, tmp_path / "plain")
    model, files = exported_under(keys, case, tmp_path / "keyed")
    onnx.checker.check_model(str(files.onnx), full_check=True)
    assert set(keys) == {value.name for value in onnx.load(files.onnx).graph.input}
    assert_acts_as(model, files)


NAMES = "low", "low_", "high", "val_0", "cat", "linear", "mean", "relu", "tanh", "hidden", "node_cat", "Gemm"


def test_keys_of_observations_may_be_names_that_the_exporter_gives(tmp_path, monkeypatch):
    keys = *NAMES, "policy.mlp_extractor.policy_net.0.weight", "policy.action_net.bias"
    model, files = exported_under(keys, "ppo", tmp_path / "keyed")
    onnx.checker.check_model(str(files.onnx), full_check=True)
    assert_acts_as(model, files)
    if Version(torch.__version__) < Version("2.9"):
        return  # the exporter of torch 2.8 sets them apart itself
    monkeypatch.setattr(sys.modules["wnrl.sb3.export"], "_set_apart", lambda program: None)
    with pytest.raises(Exception, match=r"Duplicate|must be unique|SSA|shape"):
        session(export(model, tmp_path / "clashing"))


@pytest.mark.slow
def test_the_hosts_extractor_takes_keys_that_the_exporter_gives(tmp_path):
    model = learned(PPO, ppo.MultiInputPolicy, partial(Keyed, *NAMES), ON_POLICY)
    assert_acts_as(model, export(model, tmp_path / "policy"))


def test_keys_of_observations_that_are_names_of_the_graph_are_refused(tmp_path):
    model = learned(PPO, ppo.MultiInputPolicy, partial(Keyed, "action"), ON_POLICY)
    with pytest.raises(ValueError, match="named 'action': rename those observation keys"):
        export(model, tmp_path / "policy")
    env = partial(Keyed, "cell", "vector", "hidden")
    model = learned(RecurrentPPO, ppo_recurrent.MultiInputLstmPolicy, env, ON_POLICY)
    with pytest.raises(ValueError, match="named 'cell' and 'hidden': rename"):
        export(model, tmp_path / "policy")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r'needs the package onnxscript: pip install "wnrl\[onnx\]"'):
        export(PPO(ppo.MlpPolicy, IdentityEnvBox(), device="cpu"), tmp_path / "policy")
    assert not list(tmp_path.iterdir())


def test_a_policy_that_branches_on_values_is_refused(tmp_path):
    class Branching(torch.nn.Tanh):
        def forward(self, x):
            return -x if x.sum() > 0 else x

    kind = {"activation_fn": Branching}
    model = PPO(ppo.MlpPolicy, IdentityEnvBox(), device="cpu", policy_kwargs=kind, **ON_POLICY)
    with pytest.raises(ValueError, match="ActorCriticPolicy cannot be an ONNX graph: it branches on values"):
        export(model, tmp_path / "policy")
    assert not list(tmp_path.iterdir())
