"""wnrl.sb3.outputs: which layers compute outputs, in networks of the host's form and of the user's."""

import numpy as np
import pytest
import torch
from sb3_contrib import TQC, RecurrentPPO
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.envs import IdentityEnv, IdentityEnvBox
from stable_baselines3.common.policies import ActorCriticPolicy, BaseModel
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, MlpExtractor
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from stable_baselines3.sac.policies import Actor, SACPolicy
from torch import nn

import wnrl.sb3.dqn
import wnrl.sb3.policies
import wnrl.sb3.ppo
import wnrl.sb3.ppo_recurrent
import wnrl.sb3.sac
import wnrl.sb3.td3
from tests.wnrl.sb3.contract import OFF_POLICY
from wnrl.sb3.outputs import find_roles, learner_name
from wnrl.weight_norm.dense import WeightNormLinear
from wnrl.weight_norm.normalized_layer import NormalizedLayer


def roles_of(policy, **keywords):
    """By role, the names of layers."""
    roles = vars(find_roles(policy, **keywords))
    return {role: {name for name, m in policy.named_modules() if m in layers} for role, layers in roles.items()}


def dqn(network, norm="weight", **policy_keywords):
    """A DQN whose Q network is `network`."""

    class Policy(wnrl.sb3.dqn.MlpPolicy):
        def make_q_net(self):
            return network(**self._update_features_extractor(self.net_args, features_extractor=None)).to(self.device)

    keywords = {"norm": norm, "net_arch": [8], **policy_keywords}
    return DQN(Policy, IdentityEnv(3), seed=0, policy_kwargs=keywords, device="cpu", **OFF_POLICY)


class Dueling(QNetwork):
    """Two heads, which the host does not know, on what it takes for a head."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.q_net = nn.Sequential(nn.Linear(self.features_dim, 32), nn.ReLU())
        self.advantage, self.value = nn.Linear(32, int(self.action_space.n)), nn.Linear(32, 1)

    def forward(self, obs):
        hidden = self.q_net(self.extract_features(obs, self.features_extractor))
        advantage = self.advantage(hidden)
        return self.value(hidden) + advantage - advantage.mean(1, keepdim=True)


class Streams(nn.Module):
    """A dueling head in one module."""

    def __init__(self, inputs, actions):
        super().__init__()
        self.trunk = nn.Linear(inputs, 16)
        self.value = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1))
        self.advantage = nn.Linear(16, actions)

    def forward(self, x):
        hidden = self.trunk(x)
        return self.value(hidden) + self.advantage(hidden)


class OneModule(QNetwork):
    """The host's one head, of a form that the host does not have."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.q_net = Streams(self.features_dim, int(self.action_space.n))


class Skips(nn.Sequential):
    """A sequence by class, but not by its forward pass."""

    def forward(self, x):
        return self[0](x) + self[1](x)


class Skipping(QNetwork):
    """A head in which two layers compute outputs."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.q_net = nn.Sequential(nn.Linear(self.features_dim, 8), nn.ReLU(), Skips(nn.Linear(8, 3), nn.Linear(8, 3)))


SKIPPING = {"outputs": {"q_net.2.0", "q_net.2.1"}, "last_hidden": {"q_net.0"}, "policy": set()}
DUELING = {"outputs": {"advantage", "value"}, "last_hidden": {"q_net.0"}, "policy": set()}
ONE_MODULE = {
    "outputs": {"q_net.value.3", "q_net.advantage"},
    "last_hidden": {"q_net.value.1", "q_net.trunk"},
    "policy": set(),
}


@pytest.mark.parametrize(("network", "expected"), [(Dueling, DUELING), (OneModule, ONE_MODULE), (Skipping, SKIPPING)])
def test_outputs_of_networks_of_another_form_are_found_by_a_call(network, expected):
    policy = dqn(network, "none").policy
    expected = {
        role: {f"{net}.{name}" for net in ("q_net", "q_net_target") for name in names}
        for role, names in expected.items()
    }
    assert roles_of(policy) == expected


@pytest.mark.parametrize("norm", ["weight", "mean-batch", "batch", "layer", "spectral", "projected"])
def test_heads_of_ones_own_are_output_layers_and_what_is_before_them_is_hidden(norm):
    model = dqn(Dueling, norm)
    for net in (model.q_net, model.q_net_target):
        assert isinstance(net.q_net[0], NormalizedLayer)
        for head in (net.advantage, net.value):
            assert isinstance(head, NormalizedLayer) == (norm in ("weight", "mean-batch"))
            assert type(head).__name__ in ("Linear", "WeightNormLinear")
    model.learn(40)
    net = model.q_net.eval()
    with torch.no_grad():
        values = net.value(net.q_net(torch.eye(3)))
    assert values.std() > 1e-3  # layer norm of one unit would be constant


def test_a_call_leaves_the_network_and_the_generators_as_they_are():
    class Noisy(Dueling):
        calls = 0

        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            self.norm, self.dropout = nn.BatchNorm1d(32), nn.Dropout(0.5)

        def forward(self, obs):
            type(self).calls += 1
            torch.rand(1)
            hidden = self.dropout(self.norm(self.q_net(self.extract_features(obs, self.features_extractor))))
            return self.value(hidden) + self.advantage(hidden)

    policy = dqn(Noisy, "none").policy
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    modes = {name: module.training for name, module in policy.named_modules()}
    assert modes["q_net.norm"]
    assert Noisy.calls == 0  # none is the host's policy
    torch.manual_seed(1), np.random.seed(1), policy.observation_space.seed(1)
    find_roles(policy)
    drawn = torch.rand(1), np.random.rand(), policy.observation_space.sample()
    assert Noisy.calls == 2
    torch.manual_seed(1), np.random.seed(1), policy.observation_space.seed(1)
    assert drawn == (torch.rand(1), np.random.rand(), policy.observation_space.sample())
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())
    assert {name: module.training for name, module in policy.named_modules()} == modes
    assert not any(module._forward_hooks for module in policy.modules())


class Separate(ActorCriticPolicy):
    """An actor-critic with heads of other names."""

    def _build(self, lr_schedule):
        super()._build(lr_schedule)
        self.action_net = nn.Identity()
        self.trunk, self.actor_head = nn.Linear(self.mlp_extractor.latent_dim_pi, 6), nn.Linear(6, 3)
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def _get_action_dist_from_latent(self, latent_pi):
        return super()._get_action_dist_from_latent(self.actor_head(torch.tanh(self.trunk(latent_pi))))


def test_the_policy_layer_of_an_actor_critic_is_the_one_that_its_actions_come_from():
    class Mine(wnrl.sb3.policies.NormalizedPolicy, Separate):
        pass

    model = PPO(Mine, IdentityEnv(3), device="cpu", n_steps=8, batch_size=8, policy_kwargs={"net_arch": [8]})
    assert roles_of(model.policy) == {
        "outputs": {"actor_head", "value_net"},
        "policy": {"actor_head"},
        "last_hidden": {"trunk", "mlp_extractor.value_net.0"},
    }
    assert type(model.policy.actor_head) is nn.Linear
    assert isinstance(model.policy.trunk, NormalizedLayer)
    assert isinstance(model.policy.value_net, NormalizedLayer)
    model.learn(16)
    keywords = {"net_arch": [8], "outputs": ["actor_head", "value_net"]}
    named = PPO(Mine, IdentityEnv(3), device="cpu", n_steps=8, batch_size=8, policy_kwargs=keywords)
    assert type(named.policy.actor_head) is nn.Linear


class Residual(MlpExtractor):
    """An extractor with a layer that the host does not know."""

    def __init__(self, features, net_arch, activation_fn, device="auto"):
        super().__init__(features, net_arch, activation_fn, device)
        self.after = nn.Linear(8, 8)

    def forward_actor(self, features):
        return self.after(super().forward_actor(features))


def test_extractors_of_ones_own_are_hidden():
    class Mine(wnrl.sb3.ppo.MlpPolicy):
        def _build_mlp_extractor(self):
            self.mlp_extractor = Residual(self.features_dim, [8], nn.Tanh, self.device)

    policy = PPO(Mine, IdentityEnv(3), device="cpu", policy_kwargs={"norm": "spectral"}).policy
    found = {name for name, m in policy.named_modules() if isinstance(m, NormalizedLayer)}
    assert found == {"mlp_extractor.after", "mlp_extractor.value_net.0"}  # the last hidden layers
    assert {*map(id, policy._wnrl_output_layers)} == {id(policy.action_net), id(policy.value_net)}


class OwnActor(Actor):
    """The actor of SAC with a layer before its outputs."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.before_mu = nn.Linear(8, 8)
        self.unused = nn.Linear(8, 8)

    def get_action_dist_params(self, obs):
        latent = self.latent_pi(self.extract_features(obs, self.features_extractor))
        return self.mu(self.before_mu(latent)), self.log_std(latent).clamp(-20, 2), {}


def test_the_actor_of_sac_and_layers_that_are_never_called():
    class Own(SACPolicy):
        def make_actor(self, features_extractor=None):
            keywords = self._update_features_extractor(self.actor_kwargs, features_extractor)
            return OwnActor(**keywords).to(self.device)

    policy = SAC(Own, IdentityEnvBox(), device="cpu", policy_kwargs={"net_arch": [8]}).policy
    critics = {f"{net}.qf{i}" for net in ("critic", "critic_target") for i in (0, 1)}
    assert roles_of(policy) == {
        "outputs": {"actor.mu", "actor.log_std", "actor.unused", *(f"{name}.2" for name in critics)},
        "policy": set(),
        "last_hidden": {"actor.before_mu", "actor.latent_pi.0", *(f"{name}.0" for name in critics)},
    }


class Ensemble(BaseModel):
    """A critic of a form of its own."""

    def __init__(self, *, net_arch, features_dim, activation_fn, n_critics, share_features_extractor, **keywords):
        super().__init__(**keywords)
        self.body = nn.Sequential(nn.Linear(features_dim + 1, 8), nn.ReLU())
        self.head = nn.Linear(8, n_critics)

    def forward(self, obs, action):
        features = self.extract_features(obs, self.features_extractor)
        return tuple(self.head(self.body(torch.cat([features, action], dim=1))).split(1, dim=1))


def test_a_critic_of_ones_own_gets_actions():
    class Own(wnrl.sb3.sac.MlpPolicy):
        def make_critic(self, features_extractor=None):
            return Ensemble(**self._update_features_extractor(self.critic_kwargs, features_extractor))

    keywords = {"net_arch": [8], "norm": "layer"}
    model = SAC(Own, IdentityEnvBox(), device="cpu", policy_kwargs=keywords, **OFF_POLICY)
    assert isinstance(model.critic.body[0], NormalizedLayer)
    assert isinstance(model.critic_target.body[0], NormalizedLayer)
    assert type(model.critic.head) is type(model.critic_target.head) is nn.Linear
    model.learn(16)


def test_outputs_of_one_network_leave_those_of_the_others_as_they_are():
    class Own(wnrl.sb3.sac.MlpPolicy):
        def make_critic(self, features_extractor=None):
            return Ensemble(**self._update_features_extractor(self.critic_kwargs, features_extractor))

    for name in ("critic.head", "critic_target.head"):
        keywords = {"net_arch": [8], "norm": "batch", "outputs": [name]}
        policy = SAC(Own, IdentityEnvBox(), device="cpu", policy_kwargs=keywords).policy
        assert type(policy.actor.mu) is type(policy.actor.log_std) is nn.Linear
        assert type(policy.critic.head) is type(policy.critic_target.head) is nn.Linear
        assert isinstance(policy.critic.body[0], NormalizedLayer)


class Own(nn.Module):
    """A layer that torch does not know."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight_mu = nn.Parameter(torch.ones(outputs, inputs))

    def forward(self, x):
        return x @ self.weight_mu.T


@pytest.mark.parametrize("head", [Own, lambda i, o: nn.utils.parametrizations.spectral_norm(nn.Linear(i, o))])
@pytest.mark.filterwarnings("ignore:these layers stay plain")
def test_what_is_before_a_head_of_another_kind_is_hidden(head):
    class Network(QNetwork):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            self.q_net[-1] = head(8, 3)

    for norm in ("layer", "spectral"):
        assert isinstance(dqn(Network, norm).q_net.q_net[0], NormalizedLayer)

    class Mine(wnrl.sb3.ppo.MlpPolicy):
        def _build(self, lr_schedule):
            super()._build(lr_schedule)
            self.action_net = head(8, 3)
            self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1))

    policy = PPO(Mine, IdentityEnv(3), device="cpu", policy_kwargs={"net_arch": [8]}).policy
    assert isinstance(policy.mlp_extractor.policy_net[0], NormalizedLayer)


def test_a_call_that_fails_is_a_warning_and_what_is_unknown_stays_an_output_layer():
    class Failing(Dueling):
        ready = False

        def forward(self, obs):
            if not self.ready:
                raise RuntimeError("not yet")
            return super().forward(obs)

    with pytest.warns(
        UserWarning, match=r"of Failing .* \(RuntimeError: not yet\); q_net.advantage, q_net.value count"
    ):
        model = dqn(Failing, "mean-batch")
    assert type(model.q_net.advantage) is type(model.q_net.value) is WeightNormLinear  # not of the outputs' means
    model = dqn(Failing, "layer", outputs=["q_net.advantage", "q_net.value"])  # no warning
    assert isinstance(model.q_net.q_net[0], NormalizedLayer)
    assert isinstance(model.q_net_target.q_net[0], NormalizedLayer)
    assert type(model.q_net.advantage) is type(model.q_net_target.value) is nn.Linear


def test_outputs_by_name_take_the_place_of_those_that_are_found():
    model = dqn(Dueling, "layer", outputs=["q_net.value"])
    assert isinstance(model.q_net.advantage, NormalizedLayer)
    assert isinstance(model.q_net_target.advantage, NormalizedLayer)
    assert type(model.q_net.value) is nn.Linear
    assert isinstance(dqn(Dueling, "layer", outputs="q_net.value").q_net.advantage, NormalizedLayer)
    with pytest.raises(ValueError, match=r"unknown output layer 'q_net.values' \(nearest: q_net.value"):
        dqn(Dueling, outputs=["q_net.values"])


def calls(monkeypatch, *kinds):
    """Counts the calls of forward passes of these classes."""
    counted = []
    for kind in kinds:
        monkeypatch.setattr(kind, "forward", lambda self, *_, **__: counted.append(self) or 1 / 0)
    return counted


@pytest.mark.parametrize(
    ("algorithm", "policy", "env"),
    [
        (PPO, wnrl.sb3.ppo.MlpPolicy, IdentityEnv),
        (DQN, wnrl.sb3.dqn.MlpPolicy, IdentityEnv),
        (SAC, wnrl.sb3.sac.MlpPolicy, IdentityEnvBox),
        (TD3, wnrl.sb3.td3.MlpPolicy, IdentityEnvBox),
        (RecurrentPPO, wnrl.sb3.ppo_recurrent.MlpLstmPolicy, IdentityEnv),
    ],
)
def test_networks_of_the_host_are_not_called(algorithm, policy, env, monkeypatch):
    counted = calls(monkeypatch, nn.Linear)
    for net_arch in ([], [8], [8, 8]):
        model = algorithm(policy, env(), policy_kwargs={"net_arch": net_arch}, device="cpu")  # it warns on a GPU
        assert len(model.policy._wnrl_output_layers) >= 2
    assert not counted


def test_the_roles_of_the_host_by_name_are_those_that_a_call_finds(monkeypatch):
    models = [
        PPO("MlpPolicy", IdentityEnv(3), device="cpu"),
        PPO("MlpPolicy", IdentityEnvBox(), device="cpu", use_sde=True),
        DQN("MlpPolicy", IdentityEnv(3), device="cpu"),
        SAC("MlpPolicy", IdentityEnvBox(), device="cpu"),
        TD3("MlpPolicy", IdentityEnvBox(), device="cpu"),
        TQC("MlpPolicy", IdentityEnvBox(), device="cpu"),
        RecurrentPPO("MlpLstmPolicy", IdentityEnv(3), device="cpu"),
    ]
    by_name = [roles_of(model.policy) for model in models]
    monkeypatch.setattr("wnrl.sb3.outputs._unexplained", lambda network, paths: list(network.modules()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: pytest.fail("a call failed"))
        traced = [roles_of(model.policy) for model in models]
    assert traced == by_name


def test_features_extractors_of_ones_own_are_hidden_and_not_called():
    class Extractor(BaseFeaturesExtractor):
        def __init__(self, space):
            super().__init__(space, 4)
            self.branches = nn.ModuleDict({"q_net": nn.Linear(3, 4), "mu": nn.Linear(3, 4)})

        def forward(self, obs):
            return sum(branch(obs) for branch in self.branches.values())

    keywords = {"features_extractor_class": Extractor, "net_arch": [8]}
    policy = DQN("MlpPolicy", IdentityEnv(3), device="cpu", policy_kwargs=keywords).policy
    assert roles_of(policy)["outputs"] == {"q_net.q_net.2", "q_net_target.q_net.2"}
    assert isinstance(policy, DQNPolicy)


def test_the_learner_of_a_layer():
    policy = DQN("MlpPolicy", IdentityEnv(3), device="cpu").policy
    policy.rnd_target = nn.Linear(1, 1)
    names = {"q_net_target.q_net.0": "q_net.q_net.0", "q_net.x_target": "q_net.x_target", "q_net_target": "q_net"}
    names |= {"rnd_target": "rnd_target"}
    assert {name: learner_name(policy, name) for name in names} == names
