"""wnrl.sb3.callbacks: the paper's initialization, and metrics in the host's logger."""

import csv
import json
from functools import partial
from importlib import import_module

import numpy as np
import pytest
import sb3_contrib
import stable_baselines3
import torch
from gymnasium.wrappers import TimeLimit
from sb3_contrib import CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import FakeImageEnv, IdentityEnv, IdentityEnvBox, SimpleMultiObsEnv
from stable_baselines3.common.logger import KVWriter, Logger, configure
from stable_baselines3.common.vec_env import VecNormalize
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.wnrl.sb3.contract import environment
from wnrl.diagnostics.norms import depends_on_minibatch, norm_metrics
from wnrl.initialization.weighted_layers import layers_to_initialize
from wnrl.normalizers.folding import fold
from wnrl.sb3 import DataDependentInit, NormDiagnostics, a2c, callbacks, crossq, dqn, ppo, ppo_mask, ppo_recurrent, sac
from wnrl.sb3 import td3 as td3_policies
from wnrl.sb3.learner import Learner, rollout_inputs

OFF_POLICY = {"learning_starts": 40, "buffer_size": 64, "batch_size": 4}
PPO_NUMBERS = {"n_steps": 16, "batch_size": 16, "n_epochs": 2}


def images(discrete=True):
    return FakeImageEnv(screen_height=36, screen_width=36, discrete=discrete)


def make(algorithm, policy, env, norm="weight", **keywords):
    """A model on the CPU."""
    return algorithm(policy, env, seed=0, device="cpu", policy_kwargs={"norm": norm}, **keywords)


def make_dqn(**keywords):
    return make(DQN, dqn.MlpPolicy, IdentityEnv(3), **{**OFF_POLICY, **keywords})


def make_ppo(algorithm=PPO, **keywords):
    return make(algorithm, ppo.MlpPolicy, IdentityEnv(3), **{**PPO_NUMBERS, **keywords})


def values(module):
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def cases(names):
    """Each under weight norm, and the first two plain."""
    return [*((name, "weight") for name in names), *((name, "none") for name in list(names)[:2])]


@pytest.fixture
def minibatches(monkeypatch):
    """What `data_init` is given, at each call."""
    given = []

    def init(learner, *inputs, generator):
        given.append(inputs)
        callbacks_data_init(learner, *inputs, generator=generator)

    callbacks_data_init = callbacks.FROM_DATA["data"]
    monkeypatch.setitem(callbacks.FROM_DATA, "data", init)
    return given


def assert_standardized(policy, inputs):
    """Every unit's pre-activations have mean 0 and variance 1."""
    learner, seen = Learner(policy), []
    for layer in layers_to_initialize(learner):
        bias = 0.0 if layer.layer.bias is None else layer.layer.bias.detach().abs()
        layer.layer.register_forward_hook(
            lambda *call, dim=layer.channel_dim, bias=bias: seen.append((call[2].movedim(dim, 0).flatten(1), bias))
        )
    with torch.no_grad():
        learner.eval()(*inputs)
    assert len(seen) >= len(layers_to_initialize(learner))
    for t, bias in seen:
        assert (t.mean(1).abs() < 1e-3 + 1e-5 * bias).all()  # rounding, of units that hardly vary
        assert (t.var(1, correction=0) - 1).abs().max() < 1e-2


OFF_POLICY_CASES = {
    "dqn": lambda norm: make(DQN, dqn.MlpPolicy, IdentityEnv(3), norm, **OFF_POLICY, gradient_steps=0),
    "images": lambda norm: make(DQN, dqn.CnnPolicy, images(), norm, **OFF_POLICY, gradient_steps=0),
    "dictionaries": lambda norm: make(
        TD3,
        td3_policies.MultiInputPolicy,
        SimpleMultiObsEnv(discrete_actions=False),
        norm,
        **OFF_POLICY,
        gradient_steps=0,
    ),
    "sac": lambda norm: make(SAC, sac.MlpPolicy, IdentityEnvBox(), norm, **OFF_POLICY, gradient_steps=0),
    "crossq": lambda norm: make(CrossQ, crossq.MlpPolicy, IdentityEnvBox(), norm, **OFF_POLICY, gradient_steps=0),
}


@pytest.mark.parametrize(("case", "norm"), cases(OFF_POLICY_CASES))
def test_off_policy_networks_start_standardized_on_what_was_played(case, norm, minibatches):
    model = OFF_POLICY_CASES[case](norm)
    model.learn(40, callback=DataDependentInit(30))
    assert not minibatches  # learning would begin after this step
    model.learn(45, callback=DataDependentInit(30), reset_num_timesteps=False)
    assert len(minibatches) == 1
    assert len(minibatches[0][1]) == 30
    assert_standardized(model.policy, minibatches[0])


def test_an_extractor_of_two_networks_is_initialized_once_for_both(minibatches):
    kind = {"norm": "weight", "share_features_extractor": True}
    model = SAC(sac.CnnPolicy, images(False), seed=0, device="cpu", policy_kwargs=kind, **OFF_POLICY, gradient_steps=0)
    model.learn(41, callback=DataDependentInit(30))
    assert_standardized(model.policy, minibatches[0])


@pytest.mark.parametrize("maker", [make_dqn, make_ppo])
def test_a_compiled_policy_is_initialized_and_measured_as_the_policy_that_it_wraps(maker):
    results = []
    for compiled in (False, True):
        model, records = maker(), Records()
        policy = model.policy
        if compiled:
            model.policy = torch.compile(policy, backend="eager")
        model.set_logger(Logger(None, [records]))
        model.learn(80, callback=[DataDependentInit(20), NormDiagnostics(20)])
        model.logger.dump()
        results.append((values(policy), {tag for _, metrics in records.dumps for tag in metrics}))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-3, atol=1e-4)
    assert results[0][1] == results[1][1] != set()


def test_targets_equal_their_learners_and_optimizers_learn_on():
    model = make(SAC, sac.MlpPolicy, IdentityEnvBox(), **OFF_POLICY, gradient_steps=0)
    first = values(model.policy)
    model.learn(41, callback=DataDependentInit(30))
    critic = values(model.critic)
    assert not torch.equal(first["critic.qf0.0.v"], critic["qf0.0.v"])
    assert equal(critic, values(model.critic_target))
    model.gradient_steps = 1
    model.learn(41)
    assert not torch.equal(critic["qf0.0.v"], model.critic.qf0[0].v)


class Watching:
    """Notes each update, and whether the rollout is of the policy that learns from it."""

    def train(self):
        buffer = self.rollout_buffer
        outputs = Learner(self.policy.eval())(*rollout_inputs(self)).detach()
        of_policy = np.allclose(outputs[:, 1], buffer.log_probs.flatten(), atol=1e-3)
        self.watched = [*getattr(self, "watched", []), of_policy]
        super().train()


class WatchingPPO(Watching, PPO):
    pass


class WatchingA2C(Watching, A2C):
    pass


class WatchingMaskablePPO(Watching, MaskablePPO):
    pass


class WatchingRecurrentPPO(Watching, RecurrentPPO):
    pass


class Masked(IdentityEnv):
    def action_masks(self):
        return [True] * 3


ON_POLICY_CASES = {
    "ppo": (partial(make, WatchingPPO, ppo.MlpPolicy, **PPO_NUMBERS), IdentityEnvBox),
    "dictionaries": (partial(make, WatchingPPO, ppo.MultiInputPolicy, **PPO_NUMBERS), SimpleMultiObsEnv),
    "images": (partial(make, WatchingPPO, ppo.CnnPolicy, **PPO_NUMBERS), images),
    "a2c": (partial(make, WatchingA2C, a2c.MlpPolicy, n_steps=16), partial(IdentityEnv, 3)),
    "masked": (partial(make, WatchingMaskablePPO, ppo_mask.MlpPolicy, **PPO_NUMBERS), partial(Masked, 3)),
    "recurrent": (
        partial(make, WatchingRecurrentPPO, ppo_recurrent.MlpLstmPolicy, **PPO_NUMBERS),
        partial(IdentityEnv, 3),
    ),
}


@pytest.mark.parametrize(("case", "norm"), cases(ON_POLICY_CASES))
def test_on_policy_networks_start_standardized_and_learn_from_rollouts_of_their_own(case, norm, minibatches):
    build, env = ON_POLICY_CASES[case]
    model = build(make_vec_env(env, 2), norm)
    model.learn(65, callback=DataDependentInit(40))  # rollouts of 32 steps: two are skipped, one is learned from
    assert model.watched == [True]
    assert len(minibatches) == 1
    assert len(minibatches[0][1]) == 40


def test_on_policy_networks_are_standardized(minibatches):
    model = make_ppo(learning_rate=0.0)
    model.learn(64, callback=DataDependentInit(20))
    assert_standardized(model.policy, minibatches[0])
    assert "train" not in vars(model)


class Saving(BaseCallback):
    """Saves the model where `DataDependentInit` skips an update."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        if not self.path.exists():
            self.model.save(self.path)


def test_a_model_that_is_saved_where_an_update_is_skipped_makes_all_of_its_own(tmp_path):
    model, saving = make_ppo(), Saving(tmp_path / "model.zip")
    model.learn(48, callback=[DataDependentInit(20), saving])
    assert model._n_updates == 2  # epochs: the third rollout alone is learned from
    loaded = PPO.load(tmp_path / "model.zip", env=IdentityEnv(3), device="cpu")
    assert vars(loaded).keys().isdisjoint({"train", "_excluded_save_params"})
    loaded.learn(32)
    assert loaded._n_updates == 4


def test_observations_are_those_that_a_normalizing_environment_gives(minibatches):
    env = VecNormalize(make_vec_env(IdentityEnvBox, 1), norm_obs=True)
    model = make(SAC, sac.MlpPolicy, env, **OFF_POLICY, gradient_steps=0)
    model.learn(45, callback=DataDependentInit(40))
    assert minibatches[0][0].std() == pytest.approx(1.0, abs=0.3)  # 0.6 as played
    assert_standardized(model.policy, minibatches[0])


def test_a_model_that_has_learned_stays_as_it_is(tmp_path, minibatches):
    model = make_dqn().learn(60)
    model.save(tmp_path / "model")
    loaded = DQN.load(tmp_path / "model", env=IdentityEnv(3), device="cpu")
    loaded.gradient_steps = 0
    loaded.learn(60, callback=DataDependentInit(30))
    assert equal(values(loaded.policy), values(model.policy))
    assert not minibatches


@pytest.mark.parametrize(
    ("model", "steps", "message"),
    [
        (partial(make_dqn, learning_starts=29), 60, "learning_starts=29 and buffer_size=64 give 29"),
        (partial(make_dqn, buffer_size=29), 60, "buffer_size=29 give 29"),
        (make_ppo, 32, "takes the first 32 steps, in rollouts of 16"),
        (lambda: DQN("MlpPolicy", IdentityEnv(3)), 60, "norm='none' gives the plain ones"),
    ],
)
def test_too_few_observations_and_plain_policies_are_refused(model, steps, message):
    with pytest.raises(ValueError, match=message):
        model().learn(steps, callback=DataDependentInit(30))


def test_a_minibatch_has_two_observations():
    with pytest.raises(ValueError, match="got 1"):
        DataDependentInit(1)


def test_a_line_is_printed_if_asked_for(capsys):
    make_dqn().learn(45, callback=DataDependentInit(30, verbose=1))
    assert capsys.readouterr().out == "initialized from 30 observations after 44 steps\n"


# NormDiagnostics


class Records(KVWriter):
    """What is dumped, at each dump."""

    def __init__(self):
        self.dumps = []

    def write(self, key_values, key_excluded, step=0):
        self.dumps.append((step, {tag: value for tag, value in key_values.items() if tag.startswith("weights/")}))

    def close(self):
        pass


def recorded(model, steps, interval=1):
    """The readings of a model that learns, in order."""
    records = Records()
    model.set_logger(Logger(folder=None, output_formats=[records]))
    model.learn(steps, callback=NormDiagnostics(interval), log_interval=1)
    model.logger.dump()
    return [metrics for _, metrics in records.dumps if metrics]


DIAGNOSED = {
    "dqn": partial(make_dqn, learning_starts=8),
    "mean-batch": lambda: make(
        DQN, dqn.MlpPolicy, IdentityEnv(3), "mean-batch", **{**OFF_POLICY, "learning_starts": 8}
    ),
    "ppo": make_ppo,
    "sac": lambda: make(SAC, sac.MlpPolicy, IdentityEnvBox(), **OFF_POLICY, use_sde=True),
    "recurrent": lambda: make(RecurrentPPO, ppo_recurrent.MlpLstmPolicy, IdentityEnv(3), **PPO_NUMBERS),
}


@pytest.mark.parametrize("case", DIAGNOSED)
def test_learning_is_the_same_to_the_bit(case):
    ends = []
    for callback in (None, NormDiagnostics(5)):
        model = DIAGNOSED[case]()
        model.learn(60, callback=callback)
        ends.append((values(model.policy), np.random.get_state()[2], torch.get_rng_state()))
    assert equal(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]
    assert torch.equal(ends[0][2], ends[1][2])


def test_every_layer_of_the_learner_has_metrics_and_its_optimizers_step_an_angle():
    model = make(TD3, td3_policies.MlpPolicy, IdentityEnvBox(), **OFF_POLICY)
    last = recorded(model, 60, interval=10)[-1]
    count = len([name for name in values(Learner(model.policy)) if name.endswith(".v")])
    parts = {"actor.mu": ("fc1", "fc2", "fc3"), "critic.qf0": ("fc1", "fc2", ""), "critic.qf1": ("fc1", "fc2", "")}
    layers = {f"{part}.{layer}".rstrip(".") for part, names in parts.items() for layer in names}
    assert len(layers) == count
    for figure in ("v_norm", "w_norm", "effective_lr", "angle"):
        assert {tag for tag in last if tag.endswith(f"/{figure}")} == {f"weights/{layer}/{figure}" for layer in layers}
    assert all(
        last[f"weights/{layer}/angle"] > 0 for layer in layers if not layer.endswith("fc1")
    )  # these have 1 input
    assert 0 <= last["weights/critic.qf0.fc1/dead"] <= 1


def test_a_shared_extractor_has_the_metrics_of_the_optimizer_that_moves_it():
    kind = {"norm": "weight", "share_features_extractor": True}
    model = SAC(sac.CnnPolicy, images(False), seed=0, device="cpu", policy_kwargs=kind, **OFF_POLICY)
    last = recorded(model, 45, interval=1)[-1]
    assert last["weights/actor.conv1/angle"] > 0
    assert "weights/critic.conv1/angle" not in last


def test_recurrent_matrices_have_metrics():
    model = make(RecurrentPPO, ppo_recurrent.MlpLstmPolicy, IdentityEnv(3), **PPO_NUMBERS)
    last = recorded(model, 48)[-1]
    assert last["weights/lstm_actor.weight_ih_l0/angle"] > 0


def test_the_angle_is_that_of_one_update():
    model = make_ppo(n_epochs=1)
    rows = lambda: torch.nn.functional.normalize(fold(model.policy).action_net.weight.detach(), dim=1)  # noqa: E731
    readings, directions = [], []

    class Note(NormDiagnostics):
        def _on_rollout_end(self):
            super()._on_rollout_end()
            readings.append(dict(self.logger.name_to_value))
            directions.append(rows())

    model.learn(32, callback=Note(1))
    angle = torch.rad2deg(torch.arccos((directions[0] * directions[1]).sum(1).clamp(max=1))).mean()
    assert "weights/action_net/angle" not in readings[0]
    assert readings[1]["weights/action_net/angle"] == pytest.approx(angle.item(), rel=0.05)
    assert angle > 0


def test_noise_is_that_of_the_normalizer():
    assert "weights/minibatch_noise" not in recorded(DIAGNOSED["dqn"](), 20)[0]  # it would be 0
    assert recorded(DIAGNOSED["mean-batch"](), 20)[0]["weights/minibatch_noise"] > 0


def test_readings_are_an_interval_apart_and_leave_nothing_behind():
    model = make_ppo()
    assert len(recorded(model, 160, interval=32)) == 5
    assert not model.policy.optimizer._optimizer_step_pre_hooks
    assert not model.policy.optimizer._optimizer_step_post_hooks
    with pytest.raises(ValueError, match="got 0"):
        NormDiagnostics(0)


def test_a_model_that_is_trained_again_is_read_before_its_actor_acts():
    model = DIAGNOSED["sac"]().learn(50)
    assert recorded(model, 50, interval=1)


def test_metrics_are_in_tensorboard(tmp_path):
    model = make_ppo(tensorboard_log=str(tmp_path))
    model.learn(48, callback=[DataDependentInit(16), NormDiagnostics(16)])
    events = EventAccumulator(str(tmp_path / "PPO_1")).Reload()
    assert "weights/policy_net.fc1/v_norm" in events.Tags()["scalars"]


EVERY_FOURTH = {**OFF_POLICY, "learning_starts": 8, "train_freq": 4}
ALGORITHMS = {  # class: module of wnrl.sb3, and keywords
    "DQN": ("dqn", EVERY_FOURTH),
    "QRDQN": ("qrdqn", EVERY_FOURTH),
    "A2C": ("a2c", {}),
    "PPO": ("ppo", PPO_NUMBERS),
    "TRPO": ("trpo", {"n_steps": 16, "batch_size": 16}),
    "MaskablePPO": ("ppo_mask", PPO_NUMBERS),
    "RecurrentPPO": ("ppo_recurrent", PPO_NUMBERS),
    "SAC": ("sac", EVERY_FOURTH),
    "TD3": ("td3", EVERY_FOURTH),
    "DDPG": ("ddpg", EVERY_FOURTH),
    "TQC": ("tqc", EVERY_FOURTH),
    "CrossQ": ("crossq", EVERY_FOURTH),
}
CONTINUOUS = ("SAC", "TD3", "DDPG", "TQC", "CrossQ")
FILES = ["log", "csv", "json", "tensorboard"]


def policies_of(algorithm):
    """The three names of the host's policies; CrossQ has one."""
    suffix = "LstmPolicy" if algorithm == "RecurrentPPO" else "Policy"
    return [f"Mlp{suffix}"] if algorithm == "CrossQ" else [f"{kind}{suffix}" for kind in ("Mlp", "Cnn", "MultiInput")]


def verbose_model(algorithm, policy, norm):
    module, keywords = ALGORITHMS[algorithm]
    package = stable_baselines3 if hasattr(stable_baselines3, algorithm) else sb3_contrib
    kind = getattr(import_module(f"wnrl.sb3.{module}"), policy)
    env = TimeLimit(environment(policy, algorithm not in CONTINUOUS, algorithm == "MaskablePPO"), 5)
    small = {} if "Mlp" in policy else {"features_extractor_kwargs": {"cnn_output_dim": 8}}
    small = {"features_extractor_kwargs": {"features_dim": 8}} if "Cnn" in policy else small
    keywords = {**keywords, "policy_kwargs": {"norm": norm, "net_arch": [8], **small}}
    return getattr(package, algorithm)(kind, env, verbose=1, seed=0, device="cpu", **keywords)


def norm_tags(entries):
    return {tag for tag, value in entries.items() if tag.startswith("weights/") and value not in ("", None)}


def tags_in_files(folder):
    """Those of the normalizer in csv, json and TensorBoard files."""
    rows = [*csv.DictReader((folder / "progress.csv").read_text().splitlines())]
    lines = [json.loads(line) for line in (folder / "progress.json").read_text().splitlines()]
    events = EventAccumulator(str(folder)).Reload().Tags()["scalars"]
    return [
        set().union(*map(norm_tags, rows)),
        set().union(*map(norm_tags, lines)),
        norm_tags(dict.fromkeys(events, 1)),
    ]


def check_logs(algorithm, policy, norm, folder, printed):
    """Trains with the host's table and all files; returns the tags that the files hold."""
    model = verbose_model(algorithm, policy, norm)
    model.set_logger(configure(str(folder), ["stdout", *FILES]))
    masks = {"use_masking": False} if algorithm == "MaskablePPO" else {}
    model.learn(40, callback=NormDiagnostics(8), log_interval=1, **masks)
    model.logger.close()
    noisy = depends_on_minibatch(Learner(model.policy))
    for table in (printed.readouterr().out, (folder / "log.txt").read_text()):
        assert ("|    minibatch_noise" in table) == noisy
        assert "w_norm" not in table
        assert "..." not in table
    in_csv, in_json, in_events = tags_in_files(folder)
    layers = set(norm_metrics(Learner(model.policy), 0.0))
    assert layers < in_csv == in_json == in_events  # a shared extractor is measured once
    return in_csv


@pytest.mark.parametrize("norm", ["weight", "none", "batch"])
def test_the_hosts_table_leaves_the_layers_to_the_files(norm, tmp_path, capsys):
    tags = check_logs("DQN", "CnnPolicy", norm, tmp_path, capsys)
    layers = ["q_net.conv1", "q_net.conv2", "q_net.conv3", "q_net"]
    layers += ["q_net.features_extractor.linear.0", "q_net.q_net.0"]  # which would both be q_net.fc
    assert {f"weights/{layer}/angle" for layer in layers} < tags
    assert ("weights/minibatch_noise" in tags) == (norm == "batch")
    verbose_model("DQN", "CnnPolicy", norm).learn(20, callback=NormDiagnostics(1), log_interval=1)  # its own logger
    assert ("|    minibatch_noise" in capsys.readouterr().out) == (norm == "batch")


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["weight", "none"])
@pytest.mark.parametrize(("algorithm", "policy"), [(name, kind) for name in ALGORITHMS for kind in policies_of(name)])
def test_every_algorithm_prints_its_table(algorithm, policy, norm, tmp_path, capsys):
    check_logs(algorithm, policy, norm, tmp_path, capsys)


def test_another_initialization_from_data(minibatches):
    model = make_ppo(learning_rate=0.0)
    model.learn(4 * PPO_NUMBERS["n_steps"], callback=DataDependentInit(batch_size=8, init="lsuv"))
    layer = model.policy.mlp_extractor.policy_net[2]
    rows = layer.weight.detach()
    torch.testing.assert_close(rows @ rows.T, rows[0].square().sum() * torch.eye(len(rows)), rtol=1e-3, atol=1e-4)
    assert not layer.bias.any()
    assert not minibatches  # of `data`


def test_an_unknown_initialization_is_refused():
    with pytest.raises(ValueError, match=r"unknown init 'lsuvv' \(nearest: lsuv\); known: data, lsuv, within-layer"):
        DataDependentInit(init="lsuvv")
    with pytest.raises(ValueError, match=r"init 'lsuv' needs observations: .*DataDependentInit\(init='lsuv'\)"):
        PPO(ppo.MlpPolicy, IdentityEnv(3), policy_kwargs={"init": "lsuv"})
