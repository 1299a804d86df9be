import itertools

import numpy as np
import pytest

from envs import EpisodeStatistics, Recall


def test_rows_of_an_episode():
    env = Recall(delay=3, cues=2)
    rows = [env.reset(seed=0)]
    cue = int(rows[0].obs[0].argmax())
    rows += [env.step(np.array([cue])) for _ in range(5)]
    shown = [1.0, 0.0, 0.0] if cue == 0 else [0.0, 1.0, 0.0]
    assert [r.obs[0].tolist() for r in rows[:5]] == [shown, [0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert rows[5].obs[0, :2].sum() == 1
    assert [r.reward[0] for r in rows] == [0, 0, 0, 0, 1, 0]
    assert [r.discount[0] for r in rows] == [1, 1, 1, 1, 0, 1]
    assert [r.first[0] for r in rows] == [True, False, False, False, False, True]
    assert [r.last[0] for r in rows] == [False, False, False, False, True, False]
    assert [field.dtype for field in rows[1][:3]] == [np.float32, np.float64, np.float32]


def test_only_the_answer_to_the_question_counts():
    env = Recall(64, delay=2, cues=3)
    cue = env.reset(seed=0).obs[:, :3].argmax(1)
    for wrong in range(3):
        if wrong:
            cue = env.step(cue).obs[:, :3].argmax(1)  # the action of the reset row is ignored
        for _ in range(2):
            assert not env.step((cue + 1) % 3).reward.any()
        end = env.step((cue + wrong) % 3)
        assert end.last.all()
        assert (end.discount == 0).all()
        np.testing.assert_array_equal(end.reward, np.full(64, wrong == 0, np.float32))


def mean_score(policy, delay, cues, episodes=4000):
    """Mean score of ``policy(obs, cue)``: actions ``[N]`` from the present rows and the remembered cues."""
    env, statistics = Recall(500, delay=delay, cues=cues), EpisodeStatistics(500, window=episodes)
    step = env.reset(seed=0)
    cue, finished = step.obs[:, :cues].argmax(1), 0
    statistics.update(step)
    while finished < episodes:
        step = env.step(policy(step.obs, cue))
        finished += len(statistics.update(step))
        cue = np.where(step.first, step.obs[:, :cues].argmax(1), cue)
    assert statistics.mean_length == delay + 1
    return statistics.mean_score


@pytest.mark.parametrize(("delay", "cues"), [(1, 2), (8, 2), (3, 4)])
def test_with_memory_every_answer_is_right(delay, cues):
    assert mean_score(lambda obs, cue: cue, delay, cues) == 1


@pytest.mark.parametrize(("delay", "cues"), [(1, 2), (8, 2), (3, 4)])
def test_without_memory_no_policy_is_better_than_chance(delay, cues):
    for answer in range(cues):
        score = mean_score(lambda obs, cue, a=answer: np.where(obs[:, -1] == 1, a, obs[:, :-1].argmax(1)), delay, cues)
        assert score == pytest.approx(1 / cues, abs=0.03)


def test_optimal_values():
    env = Recall(delay=3, cues=4)
    np.testing.assert_allclose(env.optimal_values(0.5), [0.125, 0.25, 0.5, 1, 0])
    np.testing.assert_allclose(env.optimal_values(0.5, memory=False), [0.03125, 0.0625, 0.125, 0.25, 0])
    np.testing.assert_allclose(Recall(delay=1).optimal_values(0.0), [0, 1, 0])


def discounted(policy, gamma):
    """Mean return over both cues of ``policy(obs, cue)``, an action from one row and the remembered cue."""
    env = Recall(2, delay=2, cues=2)
    step = next(step for step in map(env.reset, range(9)) if (step.obs[0] != step.obs[1]).any())
    cues, returns, weight = step.obs[:, :2].argmax(1).tolist(), np.zeros(2), 1.0
    while not step.last.any():
        step = env.step(np.array([policy(tuple(obs), cue) for obs, cue in zip(step.obs.tolist(), cues, strict=True)]))
        returns, weight = returns + weight * step.reward, weight * gamma
    return returns.mean()


def test_optimal_values_are_those_of_the_best_of_all_policies():
    rows, pairs = [(1, 0, 0), (0, 1, 0), (0, 0, 0), (0, 0, 1)], list(itertools.product(range(2), repeat=2))
    tables = [dict(zip(rows, actions, strict=True)) for actions in itertools.product(range(2), repeat=4)]
    without = max(discounted(lambda obs, cue, table=table: table[obs], 0.9) for table in tables)
    remembering = max(discounted(lambda obs, cue, answers=answers: answers[cue], 0.9) for answers in pairs)
    env = Recall(delay=2, cues=2)
    assert env.optimal_values(0.9)[0] == pytest.approx(remembering)
    assert env.optimal_values(0.9, memory=False)[0] == pytest.approx(without)


def test_cues_are_uniform():
    cues = Recall(9000, delay=1, cues=3).reset(seed=0).obs[:, :3]
    assert (cues.sum(1) == 1).all()
    np.testing.assert_allclose(cues.mean(0), 1 / 3, atol=0.02)


def play(env, actions):
    return np.array([np.concatenate([np.ravel(field) for field in env.step(a)]) for a in actions])


@pytest.mark.parametrize("before", [0, 7, 50])
def test_state_round_trips_bit_for_bit(before):
    actions = np.random.default_rng(0).integers(0, 3, (200, 3))
    env, other = Recall(3, delay=4, cues=3), Recall(3, delay=4, cues=3)
    env.reset(seed=5)
    play(env, actions[:before])
    state = env.get_state()
    assert {type(v) for v in state.values()} == {np.ndarray}
    expected = play(env, actions[before:])
    other.reset(seed=6)
    assert (play(other, actions[before:]) != expected).any()
    other.set_state(state)
    for key, value in other.get_state().items():
        np.testing.assert_array_equal(value, state[key], strict=True)
    np.testing.assert_array_equal(play(other, actions[before:]), expected)
    assert env.resumable


def cues_of(env, seed, episodes=40):
    rows = [env.reset(seed=seed).obs]
    for _ in range(episodes):
        rows += [env.step(np.zeros(env.num_envs, np.int64)).obs for _ in range(env.delay + 2)][-1:]
    return np.array(rows)[..., :-1].argmax(-1)  # [episodes + 1, N]


def test_each_environment_has_a_seed_of_its_own():
    seeds = np.array([5, 9, 6])
    three = cues_of(Recall(3, delay=1), seed=seeds)
    np.testing.assert_array_equal(three, cues_of(Recall(3, delay=1), seed=seeds))
    for i in range(3):
        np.testing.assert_array_equal(three[:, i], cues_of(Recall(1, delay=1), seed=seeds[i : i + 1])[:, 0])
    assert (three[:, 0] != three[:, 1]).any()


def test_a_reset_without_a_seed_lets_the_generators_go_on():
    env = Recall(64, delay=1)
    seeded, second = env.reset(seed=1).obs, env.reset().obs
    assert (seeded != second).any()
    env.reset(seed=1)
    np.testing.assert_array_equal(env.reset().obs, second)


@pytest.mark.parametrize("wrong", [{"delay": 0}, {"cues": 1}])
def test_wrong_numbers(wrong):
    with pytest.raises(ValueError, match=r"^needs delay >= 1 and cues >= 2, got delay=\d and cues=\d$"):
        Recall(**wrong)


def test_a_wrong_action_is_named():
    env = Recall(2)
    env.reset()
    with pytest.raises(ValueError, match=r"action must be in 0 … 1, got \[0, 2\]"):
        env.step(np.array([0, 2]))
