"""What the policies of every algorithm must do: a test class inherits this and says which algorithm and policies."""

import copy
import io
import pickle
from functools import partial
from importlib import import_module

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import FakeImageEnv, IdentityEnv, IdentityEnvBox, SimpleMultiObsEnv
from torch import nn

from tests.products import mostly_slow
from wnrl.normalizers.folding import fold, normalized_layers
from wnrl.sb3.learner import Learner
from wnrl.sb3.policies import NormalizedPolicy
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

OFF_POLICY = {"learning_starts": 4, "buffer_size": 64, "batch_size": 4, "train_freq": 4}
ON_POLICY = {"n_steps": 8}


class Small(FakeImageEnv):
    """Images as small as the host's convolutions take them."""

    def __init__(self, discrete):
        super().__init__(screen_height=36, screen_width=36, discrete=discrete, action_dim=3)


class Masked(gym.Wrapper):
    """Allows every action but the last."""

    def action_masks(self):
        return [*[True] * (self.action_space.n - 1), False]


def environment(policy, discrete, masked=False):
    """That which a policy of the host's name is for."""
    if "Cnn" in policy:
        env = Small(discrete)
    elif "Multi" in policy:
        env = SimpleMultiObsEnv(discrete_actions=discrete)
    else:
        env = IdentityEnv(dim=3) if discrete else IdentityEnvBox()
    return Masked(env) if masked else env


def observations(model, number=3):
    """The same at each call: `[number, ...]`, an array or a dict of arrays."""
    space = copy.deepcopy(model.observation_space)
    space.seed(0)
    samples = [space.sample() for _ in range(number)]
    if isinstance(space, gym.spaces.Dict):
        return {name: np.stack([sample[name] for sample in samples]) for name in space}
    return np.stack(samples)


def seeded_predict(policy, obs, deterministic=True):
    """What `policy` does, from the same random numbers at each call."""
    torch.manual_seed(0)
    return policy.predict(obs, deterministic=deterministic)[0]


def values(module):
    """Copies of all parameters, by name."""
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def close(first, second):
    """Whether two policies have the same parameters, but for rounding."""
    assert first.keys() == second.keys()
    return all(torch.allclose(first[name], second[name], rtol=1e-4, atol=1e-6) for name in first)


def network_outputs(policy, gradients, number=3):
    """What all networks of a policy, targets too, compute in evaluation mode of the same inputs: `[number, ...]`."""
    policy.set_training_mode(False)
    obs, actions = policy.obs_to_tensor(observations(policy, number))[0], copy.deepcopy(policy.action_space)
    actions.seed(0)
    actions = torch.as_tensor(np.stack([actions.sample() for _ in range(number)]))
    memory = ()
    if hasattr(policy, "lstm_actor"):
        state = torch.zeros(number, policy.lstm_actor.num_layers, policy.lstm_actor.hidden_size)
        memory = [state] * 4, torch.zeros(number)
    with torch.set_grad_enabled(gradients):
        outputs = [Learner(policy)(obs, actions, *memory)]
        for _, target in targets(policy):
            values = target(obs, actions) if hasattr(target, "q_networks") else target(obs)
            outputs += values if isinstance(values, tuple) else [values]
    return torch.cat([each.detach().flatten(1) for each in outputs], dim=1)


def check_up_to_date(policy):
    """Without gradients, when layers keep what they computed, a policy has the function that it has with them."""
    for _ in range(2):
        acting, expected = network_outputs(policy, False), network_outputs(policy, True)
        assert acting.isfinite().all()
        torch.testing.assert_close(acting, expected, rtol=1e-4, atol=1e-5)


def optimizers(policy):
    """By the name of what holds them."""
    held = {"policy": policy, "actor": getattr(policy, "actor", None), "critic": getattr(policy, "critic", None)}
    return {name: part.optimizer for name, part in held.items() if hasattr(part, "optimizer")}


def held_names(policy, optimizer):
    """Names of the parameters that an optimizer holds, in order."""
    names = {id(parameter): name for name, parameter in policy.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def normalized_names(policy, name):
    """Names of the parameters of a normalized policy that stand for a parameter of the host's."""
    own = dict(policy.named_parameters())
    if name in own:
        return {name}
    path, _, leaf = name.rpartition(".")
    letters = (leaf.replace("weight", letter) for letter in "gv")
    return {f"{path}.{leaf}" for leaf in letters} & own.keys()


def targets(policy):
    """Pairs of a learner and its target network."""
    parts = dict(policy.named_children())
    return [(parts[name.removesuffix("_target")], part) for name, part in parts.items() if name.endswith("_target")]


# What policies for dictionaries, which hold an image, show fast, and policies for images in the slow tests.
SHOWN_BY_DICTIONARIES = {
    "test_learning_moves_what_it_moves_in_the_host",
    "test_copies_act_alike_and_learn_alone",
    "test_acts_as_its_layers_compute_with_gradients_and_calls_their_hooks",
}


class PolicyContract:
    """Tests of the policies of one algorithm."""

    algorithm = None
    module = None  # of wnrl.sb3
    policies = ("MlpPolicy", "CnnPolicy", "MultiInputPolicy")
    discrete = True
    masked = False
    keywords = ON_POLICY
    policy_keywords = {"net_arch": [16]}  # noqa: RUF012
    steps = 16
    steps_as_the_host, keywords_as_the_host = 80, {}
    stranger = "wnrl.sb3.sac.MlpPolicy"  # of another algorithm
    refusal = (
        (AttributeError, TypeError),
        r"; each algorithm takes the policies of its own module, wnrl\.sb3\.ALGORITHM$",
    )
    not_acting = ("value_net", "mlp_extractor.value_net", "vf_features", "critic", "lstm_critic")  # layers' names
    relative = ""  # of an algorithm so near that the host notices it only when it learns

    def pytest_generate_tests(self, metafunc):
        if "policy" in metafunc.fixturenames:
            others = [name for name in self.policies if "Cnn" not in name]
            images_too = metafunc.function.__name__ in SHOWN_BY_DICTIONARIES
            metafunc.parametrize("policy", mostly_slow(self.policies, *others) if images_too else self.policies)

    def ours(self, policy):
        return getattr(import_module(f"wnrl.sb3.{self.module}"), policy)

    def model(self, policy, kind=None, env=None, seed=0, **policy_keywords):
        """Of our policy class, or of `kind`."""
        np.random.seed(0)  # the host's environments draw from it
        env = environment(policy, self.discrete, self.masked) if env is None else env
        extractor = {} if "Mlp" in policy else {"features_extractor_kwargs": {"cnn_output_dim": 32}}
        extractor = {"features_extractor_kwargs": {"features_dim": 32}} if "Cnn" in policy else extractor
        keywords = {**self.policy_keywords, **extractor, **policy_keywords}
        kind = self.ours(policy) if kind is None else kind
        return self.algorithm(kind, env, seed=seed, policy_kwargs=keywords, device="cpu", **self.keywords)

    def hosts(self, policy, **keywords):
        return self.model(policy, kind=policy, **keywords)

    def test_names_are_those_of_the_host(self):
        assert set(self.policies) == set(self.algorithm.policy_aliases)
        for name, host in self.algorithm.policy_aliases.items():
            assert issubclass(self.ours(name), host)
            assert issubclass(self.ours(name), NormalizedPolicy)
            assert self.ours(name).__name__ == host.__name__  # the host compares them
            assert pickle.loads(pickle.dumps(self.ours(name))) is self.ours(name)

    def test_learns_saves_loads_and_predicts_the_same(self, policy, tmp_path):
        model = self.model(policy)
        before = values(model.policy)
        model.learn(self.steps)
        assert any(not torch.equal(before[name], value) for name, value in values(model.policy).items())
        obs = observations(model)
        expected = [seeded_predict(model, obs, deterministic) for deterministic in (True, False)]
        model.save(tmp_path / "model")
        loaded = self.algorithm.load(tmp_path / "model", env=model.get_env(), device="cpu")
        other = self.model(policy, seed=7)
        assert any(not torch.equal(value, values(other.policy)[name]) for name, value in values(model.policy).items())
        other.set_parameters(model.get_parameters())
        for twin in (loaded, other):
            assert [type(m) for m in twin.policy.modules()] == [type(m) for m in model.policy.modules()]
            for deterministic in (True, False):
                actions = seeded_predict(twin, obs, deterministic)
                np.testing.assert_allclose(actions, expected[not deterministic], rtol=1e-5, atol=1e-6)
        loaded.learn(self.steps, reset_num_timesteps=False)

    def test_starts_with_the_effective_weights_of_the_host(self, policy):
        host, model = self.hosts(policy), self.model(policy)
        assert any(isinstance(m, WeightNormLayer) for m in model.policy.modules())
        plain = [name for name, m in model.policy.named_modules() if type(m) in (nn.Linear, nn.Conv2d, nn.LSTM)]
        assert plain == (["action_net"] if hasattr(model.policy, "action_net") else [])
        assert close(values(fold(model.policy)), values(host.policy))
        assert not close(values(fold(self.model(policy, seed=7).policy)), values(host.policy))
        for learner, target in targets(model.policy):
            assert all(torch.equal(a, b) for a, b in zip(learner.parameters(), target.parameters(), strict=True))

    def test_none_is_the_policy_of_the_host_bit_for_bit(self):
        trained = []
        self.keywords = {**self.keywords, **self.keywords_as_the_host}
        for make in (self.hosts, partial(self.model, norm="none")):
            model = make(self.policies[0])
            model.learn(self.steps_as_the_host)
            trained.append((values(model.policy), seeded_predict(model, observations(model, 20), deterministic=False)))
        (hosts, host_actions), (ours, actions) = trained
        assert hosts.keys() == ours.keys()
        assert all(torch.equal(ours[name], value) for name, value in hosts.items())
        assert np.array_equal(actions, host_actions)

    def test_optimizers_hold_the_new_parameters_in_the_order_of_the_host(self, policy):
        host, model = self.hosts(policy), self.model(policy)
        assert optimizers(model.policy).keys() == optimizers(host.policy).keys() != set()
        for part, optimizer in optimizers(model.policy).items():
            held = held_names(model.policy, optimizer)
            hosts = held_names(host.policy, optimizers(host.policy)[part])
            assert len(held) == len(set(held))
            assert set(held) == {new for name in hosts for new in normalized_names(model.policy, name)}
            assert any(name.endswith(".g") for name in held)

    def test_learning_moves_what_it_moves_in_the_host(self, policy):
        moved = []
        for make in (self.hosts, self.model):
            model = make(policy)
            before = values(model.policy)
            model.learn(2 * self.steps)
            moved.append({name for name, value in values(model.policy).items() if not torch.equal(before[name], value)})
        hosts, ours = moved
        expected = {new for name in hosts for new in normalized_names(model.policy, name)}
        assert ours == expected != set()

    def test_copies_act_alike_and_learn_alone(self, policy):
        model = self.model(policy)
        obs = observations(model)
        expected = seeded_predict(model.policy, obs)
        copies = [copy.deepcopy(model.policy), pickle.loads(cloudpickle.dumps(model.policy))]
        for twin in copies:
            assert np.array_equal(seeded_predict(twin, obs), expected)
            assert not {id(p) for p in twin.parameters()} & {id(p) for p in model.policy.parameters()}
            for part, optimizer in optimizers(twin).items():
                assert held_names(twin, optimizer) == held_names(model.policy, optimizers(model.policy)[part])
        model.learn(self.steps)
        for twin in copies:
            assert np.array_equal(seeded_predict(twin, obs), expected)

    def test_acts_as_its_layers_compute_with_gradients_and_calls_their_hooks(self, policy):
        model = self.model(policy)
        model.learn(self.steps)
        check_up_to_date(model.policy)
        layers, called = normalized_layers(Learner(model.policy)), []
        for name, layer in layers.items():
            layer.register_forward_hook(lambda *_, name=name: called.append(name))
        seeded_predict(model, observations(model))
        assert set(called) == {name for name in layers if not name.startswith(self.not_acting)}

    def test_many_environments(self):
        policy = self.policies[0]
        env = make_vec_env(lambda: environment(policy, self.discrete, self.masked), n_envs=2)
        model = self.model(policy, env=env)
        model.learn(2 * self.steps)
        assert len(model.predict(env.reset())[0]) == 2

    def test_saves_and_loads_the_policy_alone(self):
        if "Lstm" in self.policies[0]:
            pytest.skip("the host does not save the size of the LSTM")
        model = self.model(self.policies[0], norm="mean-batch", units="paper", normalize_output=False)
        model.learn(self.steps)
        file = io.BytesIO()
        model.policy.save(file)
        file.seek(0)
        loaded = type(model.policy).load(file, device="cpu")
        obs = observations(model)
        assert [type(m) for m in loaded.modules()] == [type(m) for m in model.policy.modules()]
        np.testing.assert_allclose(seeded_predict(loaded, obs), seeded_predict(model.policy, obs), rtol=1e-6)

    def test_policies_of_another_algorithm_are_refused(self):
        error, message = self.refusal
        with pytest.raises(error, match=message):
            self.model(self.policies[0], kind=named(self.stranger))

    def test_policies_of_a_relative_do_not_learn(self):
        if not self.relative:
            pytest.skip("all others are refused when the model is made")
        model = self.model(self.policies[0], kind=named(self.relative))
        with pytest.raises((AttributeError, TypeError, ValueError)):
            model.learn(self.steps)

    def test_training_mode(self):
        model = self.model(self.policies[0])
        for mode in (True, False, True):
            model.policy.set_training_mode(mode)
            learners = [m for name, m in model.policy.named_modules() if "_target" not in name]
            assert {m.training for m in learners} == {mode}
            assert not any(m.training for _, target in targets(model.policy) for m in target.modules())


def named(path):
    """The class of that full name."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
