import copy

import numpy as np
import pytest
import torch

from agents.policy_gradient.actor_critic_loss import LossWeights, actor_critic_loss
from agents.policy_gradient.actors import steps_of
from agents.policy_gradient.ppo import ppo_loss
from agents.training.trainer import Trainer
from envs import Chain, Gym, Recall
from tests.agents.contract import VariantContract, differences
from tests.agents.environments import Clockwork
from tests.agents.policy_gradient_family import (
    KINDS,
    PolicyGradientContract,
    PolicyGradientVariant,
    draw,
    flat_settings,
    loss_example,
    make,
    naive_advantages,
    outputs,
    parameters,
    random_rollout,
    trained,
)
from tests.agents.tape import tape
from tests.products import covering
from wnrl.checkpoints.tensor_files import read_checkpoint, write_checkpoint
from wnrl.initialization.data import data_init
from wnrl.networks.actor_critic import ActorCriticValues
from wnrl.networks.policy_heads import CategoricalPolicy
from wnrl.normalizers.batch_statistics import batch_norms
from wnrl.weight_norm import formula

NUMBERS = KINDS["ppo"][2]
PER_ROLLOUT = NUMBERS["epochs"] * NUMBERS["minibatches"]


class TestWeight(PolicyGradientContract):
    kind = "ppo"

    def expected_updates(self, steps, num_envs):
        return steps // num_envs // NUMBERS["rollout_length"] * PER_ROLLOUT


class TestLSTM(PolicyGradientContract):
    kind = "ppo"
    changes = {"lstm": 8, "minibatches": 1, "epochs": 6, "learning_rate": 0.02}  # noqa: RUF012

    def expected_updates(self, steps, num_envs):
        return steps // num_envs // NUMBERS["rollout_length"] * PER_ROLLOUT

    @pytest.mark.parametrize(("terminates", "value"), [(False, 1 / (1 - 0.8)), (True, 1 + 0.8 + 0.8**2 + 0.8**3)])
    def test_truncation_is_bootstrapped_and_discount_0_is_not(self, terminates, value):
        """A world that pays 1 a step; games are long enough for the state after the last step to be like others."""
        world = Clockwork(4, 4, 4, terminates=terminates)
        agent = self.trained(900, environment=world, gamma=0.8).agent
        assert self.values(agent, np.ones((1, 1), np.float32)) == pytest.approx(value, rel=0.1)


class TestNone(PolicyGradientVariant):
    kind = "ppo"
    changes = {"norm": "none"}  # noqa: RUF012


class TestWeightFromData(PolicyGradientVariant):
    kind = "ppo"
    steps_to_solve = 1_500
    changes = {"init": "data", "normalize_obs": True}  # noqa: RUF012


class TestLSTMFromData(PolicyGradientVariant):
    kind = "ppo"
    steps_to_solve = 1_500
    changes = {"lstm": 8, "init": "data", "minibatches": 1, "learning_rate": 0.02}  # noqa: RUF012


class TestEverythingElse(PolicyGradientVariant):
    """Both running scales, both clips, entropy, early stops and schedules, in one."""

    kind = "ppo"
    changes = {  # noqa: RUF012
        "normalize_obs": True,
        "normalize_return": True,
        "value_clip": 0.5,
        "target_kl": 0.05,
        "entropy_coef": 0.003,
        "clip_range_schedule": "linear",
        "learning_rate_schedule": "linear",
        "separate": False,
        "epochs": 6,
    }
    steps_to_solve = 1_200

    def check_solution(self, trainer):
        """The values are of scaled rewards."""


class TestRunningStatistics(PolicyGradientVariant):
    kind = "ppo"
    changes = {"norm": "batch", "normalize_obs": True}  # noqa: RUF012


class TestMinibatchStatistics(PolicyGradientVariant):
    kind = "ppo"
    steps_to_solve = 1_500
    changes = {"norm": "mean-batch", "batch_statistics": "minibatch"}  # noqa: RUF012


class TestContinuous(VariantContract):
    """What of the contract has a meaning where actions are continuous."""

    num_envs = 2

    def make(self, environment, seed, **changes):
        return make("ppo", environment, seed, **{"normalize_obs": True, "normalize_return": True, **changes})

    def environment(self, num_envs=None):
        return Gym("Pendulum-v1", num_envs or self.num_envs)

    def test_solves_the_chain(self):
        pytest.skip("the chain's actions are discrete")

    def test_acts_on_one_state_and_on_many(self, short):
        agent = short.agent
        obs = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
        policy = outputs(agent.acting, obs).policy
        assert policy.mode().shape == (5, 1)
        for row, action in zip(obs, policy.mode(), strict=True):
            assert outputs(agent.acting, row[None]).policy.mode()[0].numpy() == pytest.approx(action.numpy(), abs=1e-5)

    def test_figures_of_changes_go_on_from_a_saved_state(self):
        pytest.skip("the physics cannot be saved")

    def test_the_same_seed_is_the_same_run_and_goes_on_from_a_saved_state_as_if_it_had_not_stopped(
        self, ended, tmp_path
    ):
        """The physics cannot be saved, but all of the agent can."""
        trainer = self.trained(self.steps_to_stop)
        write_checkpoint(tmp_path / "state", trainer.agent.get_state())
        rest = self.trainer(seed=5).agent
        rest.set_state(read_checkpoint(tmp_path / "state"))
        assert differences(trainer.agent.get_state(), rest.get_state()) == []
        trainer.run(self.steps_in_all)
        assert differences(trainer.agent.get_state(), ended[1]["agent"]) == []


# The loss


def test_each_clip_changes_its_own_part():
    outputs, batch = loss_example()
    base, wide, valued = (
        ppo_loss(outputs, batch, LossWeights(1, 0), normalize=False, clip=clip, value_clip=value_clip)[1]
        for clip, value_clip in ((0.2, 0.0), (10.0, 0.0), (0.2, 0.1))
    )
    assert base["train/clip_fraction"] > 0.2 > wide["train/clip_fraction"] == 0
    assert base["train/policy_gradient_loss"] > wide["train/policy_gradient_loss"]  # the surrogate is a lower bound
    assert valued["train/value_loss"] > base["train/value_loss"]
    assert valued["train/policy_gradient_loss"] == base["train/policy_gradient_loss"]


def test_where_the_policy_has_not_moved_the_gradient_is_the_policy_gradient():
    logits = draw(40, 2).requires_grad_()
    outputs, batch = loss_example()
    outputs = ActorCriticValues(CategoricalPolicy(logits), outputs.value)
    batch = batch._replace(log_prob=outputs.policy.log_prob(batch.action).detach())
    losses = (
        actor_critic_loss(outputs, batch, LossWeights(0.7, 0.1), normalize=False)[0],
        ppo_loss(outputs, batch, LossWeights(0.7, 0.1), normalize=False, clip=0.2, value_clip=0.0)[0],
    )
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in losses))


# An update


def after_naive_update(agent, rollout, timestep, clip, lambda_=0.95):
    """The parameters after one epoch over the whole rollout, one step after the other."""
    s, network = flat_settings(agent), copy.deepcopy(agent.network)
    optimizer = torch.optim.Adam(network.parameters(), lr=s.learning_rate, eps=s.optimizer_eps)
    last_value = outputs(agent.acting, timestep.obs).value
    advantages = naive_advantages(rollout, last_value, s.gamma, lambda_)
    numbers = np.array(list(advantages.values()))
    mean, std = (numbers.mean(), numbers.std(ddof=1)) if s.normalize_advantage else (0.0, 1.0)
    loss = 0.0
    for (t, n), advantage in advantages.items():
        policy, value = network(rollout.obs[t, n][None])
        old_value = float(rollout.value[t, n])
        target, advantage = advantage + old_value, (advantage - mean) / std
        ratio = (policy.log_prob(rollout.action[t, n][None])[0] - rollout.log_prob[t, n]).exp()
        surrogate = min(ratio * advantage, min(max(ratio, 1 - clip), 1 + clip) * advantage)
        error = (value[0] - target) ** 2
        if s.value_clip:
            near = old_value + min(max(value[0] - old_value, -s.value_clip), s.value_clip)
            error = max(error, (near - target) ** 2)
        loss += -surrogate + s.value_coef * 0.5 * error - s.entropy_coef * policy.entropy()[0]
    (loss / len(advantages)).backward()
    norm = torch.cat([p.grad.flatten() for p in network.parameters()]).norm()
    for p in network.parameters():
        p.grad *= min(1.0, s.max_grad_norm / norm)
    optimizer.step()
    return parameters(network)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"normalize_advantage": False},
        {"value_clip": 0.2},
        {"entropy_coef": 0.1, "separate": False},
        {"clip_range": 0.4, "value_coef": 2.0},
        {"optimizer_eps": 0.1},  # the size of the gradient matters, and with it how it is cut
    ],
)
@pytest.mark.parametrize("continuous", [False, True])
def test_an_update_is_that_of_a_naive_implementation(changes, continuous):
    environment = Gym("Pendulum-v1", 3) if continuous else Chain(3, length=4)
    agent = make("ppo", environment, epochs=1, minibatches=1, **changes)
    rollout, timestep = random_rollout(agent, 12, 3, environment.obs_shape)
    expected = after_naive_update(agent, rollout, timestep, agent.settings.clip_range)
    before = parameters(agent.network)
    agent.learner.anneal(0)
    agent.update(rollout, timestep, 0)
    assert (expected - before).abs().max() > 1e-3
    torch.testing.assert_close(parameters(agent.network), expected, rtol=0, atol=2e-5)


def test_the_rollout_of_the_naive_test_is_clipped_both_ways():
    agent = make("ppo", Chain(3, length=4))
    rollout, _ = random_rollout(agent, 12, 3, (4,))
    log_prob = outputs(agent.network, rollout.obs.flatten(0, 1)).policy.log_prob(rollout.action.flatten())
    ratio = (log_prob - rollout.log_prob.flatten()).exp()[rollout.valid.flatten()]
    assert (ratio > 1.2).any()
    assert (ratio < 0.8).any()
    assert ((ratio > 0.8) & (ratio < 1.2)).any()


def metrics_of_updates(agent):
    """The metrics of each gradient step from now on."""
    seen, step = [], agent.learner.step

    def spy(parts, **options):
        ((_, metrics),) = parts
        seen.append({name: float(value.detach()) for name, value in metrics.items()})
        step(parts, **options)

    agent.learner.step = spy
    return seen


ACTORS = {
    "vectors": {},
    "uneven": {"minibatches": 5},
    "shared": {"separate": False, "minibatches": 2},
    "continuous": {},
    "lstm": {"lstm": 8, "minibatches": 1},
    "scaled": {"normalize_obs": True, "normalize_return": True},
    "lstm, uneven": {"lstm": 8, "minibatches": 2},
    "data": {"init": "data", "normalize_obs": True},
}
STATISTICS = {
    **{norm: (norm, {}) for norm in ("none", "weight", "layer", "layer-channels", "weight-clip")},
    "spectral": ("spectral", {"learning_rate": 1e-3}),  # its power iteration goes on in training
    **{
        f"{norm}, {statistics}": (norm, {"batch_statistics": statistics})
        for norm in ("mean-batch", "batch", "batch+projected")
        for statistics in ("running", "minibatch")
    },
}


def before_gradient_steps(agent):
    """From now on, of each rollout: the largest |ratio − 1| and |value − old value| before its first gradient step."""
    seen, learn_from = [], agent._learn_from

    def spy(rollout, order, *rest):
        twin, steps, far = copy.deepcopy(agent.network), steps_of(rollout, rollout.value, rollout.value), [0.0, 0.0]
        for indices in order:
            batch = agent.actor.take(steps, indices)
            with torch.no_grad():
                found = agent.actor.evaluate(twin, batch)
                ratio = (found.policy.log_prob(batch.action) - batch.log_prob).exp()[batch.valid]
                value = (found.value - batch.value)[batch.valid]
            far = [max(most, float(x.abs().max())) for most, x in zip(far, (ratio - 1, value), strict=True)]
        seen.append(far)
        learn_from(rollout, order, *rest)

    agent._learn_from = spy
    return seen


@pytest.mark.parametrize(("name", "statistics"), covering(ACTORS, STATISTICS))
def test_the_ratio_is_1_before_the_first_gradient_step_of_each_rollout(name, statistics):
    norm, changes = STATISTICS[statistics]
    if (name, norm) == ("data", "spectral"):
        pytest.skip("the initialization does not apply to it")
    environment = Gym("Pendulum-v1", 3) if name == "continuous" else Chain(3, length=4, max_steps=7)
    agent = make("ppo", environment, norm=norm, **{"minibatches": 1, **ACTORS[name], **changes})
    before, seen = before_gradient_steps(agent), metrics_of_updates(agent)
    Trainer(agent, environment, seed=0).run(300)
    kl, rollouts = [metrics["train/approx_kl"] for metrics in seen], len(before)
    far = 0.007 if norm == "spectral" else 1e-4
    assert rollouts >= 4
    assert max(ratio for ratio, _ in before) < far
    assert max(value for _, value in before) < 10 * far
    assert max(map(abs, kl[:: len(kl) // rollouts])) < far**2
    assert max(kl) > 1e-6


@pytest.mark.parametrize("norm", ["mean-batch", "batch"])
@pytest.mark.parametrize(("statistics", "least", "most"), [("running", 1, 1), ("minibatch", PER_ROLLOUT, PER_ROLLOUT)])
def test_running_statistics_move_once_a_rollout_and_the_minibatchs_with_each_pass(norm, statistics, least, most):
    environment = Chain(3, length=4, max_steps=7)
    agent = make("ppo", environment, norm=norm, batch_statistics=statistics)
    seen, step = [], agent.learner.step
    mean = batch_norms(agent.network)[0].running_mean

    def spy(*arguments, **options):
        seen.append(mean.tolist())
        step(*arguments, **options)

    agent.learner.step = spy
    Trainer(agent, environment, seed=0).run(300)
    for rollout in range(0, len(seen), PER_ROLLOUT):
        assert least <= len(set(map(tuple, seen[rollout : rollout + PER_ROLLOUT]))) <= most
    assert len(set(map(tuple, seen))) == len(seen) // PER_ROLLOUT * most
    assert len(seen) > 4 * PER_ROLLOUT


@pytest.mark.parametrize("norm", ["mean-batch", "batch"])
@pytest.mark.parametrize("statistics", ["running", "minibatch"])
@pytest.mark.parametrize("changes", [{}, {"normalize_obs": True, "value_clip": 0.2}])
def test_an_update_with_batch_statistics_is_that_of_a_naive_implementation(norm, statistics, changes):
    """Whatever the rollout's log-probabilities and values were."""
    agent = make("ppo", Chain(3, length=4), norm=norm, batch_statistics=statistics, epochs=1, minibatches=1, **changes)
    rollout, timestep = random_rollout(agent, 12, 3, (4,))
    network, s = copy.deepcopy(agent.network), flat_settings(agent)
    obs, action, valid = rollout.obs.flatten(0, 1), rollout.action.flatten(), rollout.valid.flatten()
    if changes:
        network.obs_norm.update(obs)
    for layer in batch_norms(network):
        layer.held, layer.momentum = False, 0.01 if statistics == "running" else layer.momentum
    with torch.no_grad():
        network(obs)  # moves the running statistics
        last_value = outputs(copy.deepcopy(network).eval(), timestep.obs).value
    policy, value = network.train(statistics == "minibatch")(obs)
    old = rollout._replace(value=value.detach().view(12, 3))
    advantage = torch.zeros(12, 3)
    for place, number in naive_advantages(old, last_value, s.gamma, s.gae_lambda).items():
        advantage[place] = number
    target, advantage = (advantage + old.value).flatten(), advantage.flatten()
    advantage = (advantage - advantage[valid].mean()) / advantage[valid].std()
    losses = -policy.log_prob(action) * advantage + s.value_coef * 0.5 * (value - target) ** 2  # nothing is clipped yet
    losses[valid].mean().backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), s.max_grad_norm)
    torch.optim.Adam(network.parameters(), lr=s.learning_rate, eps=s.optimizer_eps).step()
    before = parameters(agent.network)
    agent.learner.anneal(0)
    agent.update(rollout, timestep, 0)
    assert (parameters(network) - before).abs().max() > 1e-3
    torch.testing.assert_close(parameters(agent.network), parameters(network), rtol=0, atol=2e-5)


@pytest.mark.parametrize("statistics", ["running", "minibatch"])
@pytest.mark.parametrize("norm", ["mean-batch", "batch"])
def test_nothing_before_or_in_a_gradient_step_waits_for_the_device(norm, statistics, monkeypatch):
    monkeypatch.setattr(formula, "HOST_READABLE", ())  # as on a GPU
    agent = make("ppo", Chain(3, length=4), norm=norm, batch_statistics=statistics, minibatches=5)
    rollout, _ = random_rollout(agent, 12, 3, (4,))
    order = agent.actor.order(rollout.valid.shape, 5, agent._generator)
    batch = agent.actor.take(steps_of(rollout, rollout.reward, rollout.value), order[0])
    agent.gradient_step.step(batch)
    steps = [tape(lambda: agent.gradient_step.step(batch)) for _ in range(2)]
    assert steps[0].lines == steps[1].lines
    for work in (
        *steps,
        tape(lambda: agent._move_statistics(rollout.obs)),
        tape(lambda: agent._evaluated(rollout, order)),
    ):
        assert work.lines
        assert work.waits == []


@pytest.mark.parametrize("statistics", ["running", "minibatch"])
@pytest.mark.parametrize("norm", ["mean-batch", "batch"])
def test_a_target_divergence_leaves_something_to_learn_of_each_rollout(norm, statistics):
    environment = Chain(3, length=4, max_steps=7)
    agent = make("ppo", environment, norm=norm, batch_statistics=statistics, target_kl=1e-4)
    made, learn_from = [], agent._learn_from

    def spy(*arguments):
        before = agent.learner.num_updates
        learn_from(*arguments)
        made.append(agent.learner.num_updates - before)

    agent._learn_from = spy
    Trainer(agent, environment, seed=0).run(600)
    assert len(made) > 8
    assert min(made) >= 1
    assert sum(made) < len(made) * PER_ROLLOUT


def test_a_rollout_begins_with_the_state_that_acted():
    """Without it the ratios would not be 1: the cue was shown in the rollout before."""
    environment = Recall(2, delay=20)
    agent = make("ppo", environment, lstm=8, minibatches=1, orthogonal=False)
    agent.actor.start_rollout = lambda: None  # the state at the very beginning, zeros, for all rollouts
    seen = metrics_of_updates(agent)
    Trainer(agent, environment, seed=0).run(200)
    assert max(metrics["train/approx_kl"] for metrics in seen[:: NUMBERS["epochs"]]) > 1e-6


def test_learning_rate_and_clip_range_fall_towards_0_with_the_rollouts():
    """openai/baselines: update u of U has the share 1 - (u - 1) / U, the last one 1 / U."""
    environment, shares = Chain(4, length=50, max_steps=10**6), []
    changes = {"clip_range_schedule": "linear", "learning_rate_schedule": "linear", "rollout_length": 16}
    agent = make("ppo", environment, steps=256, **changes)
    update = agent.update

    def measured(*arguments):
        update(*arguments)
        metrics = {**agent.metrics(0), "in use": agent.learner.optimizer.param_groups[0]["lr"], "clip": agent._clip}
        sizes = {"train/clip_range": 0.2, "train/learning_rate": 0.01, "in use": 0.01, "clip": 0.2}
        shares.append([float(metrics[name]) / size for name, size in sizes.items()])

    agent.update = measured
    Trainer(agent, environment, seed=0).run(256)
    assert shares == [pytest.approx([share] * 4) for share in (1.0, 0.75, 0.5, 0.25)]
    constant = make("ppo", Chain(1), steps=1_000).metrics(1_000)
    assert (constant["train/clip_range"], constant["train/learning_rate"]) == (0.2, 0.01)


def test_the_update_uses_the_clip_range_and_the_learning_rate_of_its_step():
    steps = []
    for step in (0, 500):
        changes = {"clip_range_schedule": "linear", "learning_rate_schedule": "linear", "optimizer_eps": 0.1}
        agent = make("ppo", Chain(3, length=4), epochs=1, minibatches=1, steps=1_000, **changes)
        rollout, timestep = random_rollout(agent, 12, 3, (4,))
        seen, before = metrics_of_updates(agent), parameters(agent.network)
        agent.learner.anneal(step)
        agent.update(rollout, timestep, step)
        steps.append((seen[0]["train/clip_fraction"], float((parameters(agent.network) - before).norm())))
    (wide, far), (narrow, near) = steps
    assert narrow > wide
    assert near < 0.9 * far


@pytest.mark.parametrize(("target_kl", "least", "most"), [(0.0, PER_ROLLOUT, PER_ROLLOUT), (1e-6, 1, 2), (1.0, 6, 6)])
def test_a_rollout_is_left_once_the_divergence_is_over_its_target(target_kl, least, most):
    trainer = trained("ppo", Clockwork(10_000, 10_000), 32, target_kl=target_kl)
    assert least <= trainer.agent.learner.num_updates <= most


def test_no_gradient_enters_what_is_stored():
    """A Gaussian policy's standard deviations are parameters: with their gradients the memory would never be freed."""
    agent = trained("ppo", Gym("Pendulum-v1", 2), 100).agent
    assert not any(values.requires_grad for values in agent.storage.read())


def test_actions_are_stored_as_they_were_drawn_and_clipped_by_the_environment():
    environment = Gym("Pendulum-v1", 2)
    agent = make("ppo", environment)
    with torch.no_grad():
        agent.acting.policy.log_std += 3.0
    Trainer(agent, environment, seed=0).run(20)
    rollout = agent.storage.read()
    assert rollout.action.abs().max() > 2  # the bounds
    found = outputs(agent.acting, rollout.obs.flatten(0, 1)).policy
    expected = found.log_prob(rollout.action.flatten(0, 1)).view(rollout.log_prob.shape)
    torch.testing.assert_close(rollout.log_prob, expected, rtol=1e-5, atol=1e-5)


def test_the_first_rollout_initializes_and_is_not_learned_from():
    environment = Chain(3, length=4, max_steps=7)
    agent = make("ppo", environment, init="data", normalize_obs=True)
    trainer = Trainer(agent, environment, seed=0)
    trainer.run(1)
    while len(agent.storage) < NUMBERS["rollout_length"] - 1:
        trainer.run(trainer.steps + 1)
    plain = copy.deepcopy(agent.network)
    trainer.run(trainer.steps + 1)
    assert agent.learner.num_updates == 0
    rollout = agent.storage._on_device["obs"]
    plain.obs_norm.update(rollout)  # what comes next is scaled as this rollout is
    data_init(plain, rollout.flatten(0, 1))
    found = outputs(agent.network, rollout.flatten(0, 1))
    for values in (found.policy.logits, found.value):
        assert values.mean(0).abs().max() < 1e-3
        assert values.std(0, correction=0).numpy() == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(agent.network.obs_norm.running_mean, plain.obs_norm.running_mean)
    trainer.run(trainer.steps + 3 * NUMBERS["rollout_length"])
    assert agent.learner.num_updates == PER_ROLLOUT


# What is refused


@pytest.mark.parametrize(
    ("changes", "saying"),
    [
        ({"lstm": 8, "separate": True}, "separate has no effect with lstm"),
        ({"lstm": 8, "minibatches": 4}, "minibatches must be at most 3, the sequences of a rollout, got 4"),
        ({"minibatches": 49}, "minibatches must be at most 48, the steps of a rollout, got 49"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"minibatches": 0}, "minibatches must be at least 1, got 0"),
        ({"clip_range": 0.0}, "clip_range must be above 0, got 0.0"),
        ({"value_clip": -1.0}, "value_clip must not be negative, got -1.0"),
        ({"target_kl": -1.0}, "target_kl must not be negative, got -1.0"),
        ({"rollout_length": 0}, "rollout_length must be at least 1, got 0"),
        (
            {"norm": "weight", "batch_statistics": "minibatch"},
            "batch_statistics minibatch has no effect without norm batch",
        ),
        (
            {"norm": "batch", "batch_statistics": "minibatch", "minibatches": 25},
            "need 2 examples or more in each minibatch, here it is 1",
        ),
        ({"gae_lambda": 1.5}, "gae_lambda must lie between 0 and 1, got 1.5"),
        ({"entropy_coef": -0.1}, "entropy_coef must not be negative, got -0.1"),
    ],
)
def test_refuses_by_name(changes, saying):
    with pytest.raises(ValueError, match=saying):
        make("ppo", Chain(3), **changes)


def test_minibatches_of_one_step_do_for_running_statistics_and_for_sequences():
    for changes in (
        {"minibatches": 48, "normalize_advantage": False},
        {"lstm": 4, "minibatches": 3, "batch_statistics": "minibatch"},
    ):
        environment = Chain(3, length=4)
        agent = make("ppo", environment, norm="batch", epochs=1, **changes)
        Trainer(agent, environment, seed=0).run(100)
        assert agent.learner.num_updates > 0


def test_scaling_pictures_is_refused():
    with pytest.raises(ValueError, match="normalize_obs is for vectors"):
        make("ppo", Clockwork(3, obs_shape=(4, 84, 84)), normalize_obs=True)
