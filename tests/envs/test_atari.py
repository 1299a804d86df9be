import itertools

import cv2
import gymnasium
import numpy as np
import pytest
from ale_py.vector_env import AtariVectorEnv
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

from envs import Atari, EpisodeStatistics, atari
from envs.atari import usable_cores
from envs.seeds import environment_seeds


def play(env, steps, seed=0, actions=None):
    """The rows of a reset and of random play, fields stacked to ``[T + 1, N, ...]``."""
    if actions is None:
        actions = np.random.default_rng(0).integers(0, env.num_actions, (steps, env.num_envs))
    rows = [env.reset(seed=seed)] + [env.step(a) for a in actions]
    return type(rows[0])(*map(np.stack, zip(*rows, strict=True)))


def assert_same(rows, others):
    for field, other in zip(rows, others, strict=True):
        np.testing.assert_array_equal(field, other, strict=True)


class PressFire(gymnasium.Wrapper):
    def reset(self, **kwargs):
        self.env.reset(**kwargs)
        obs, _, _, _, info = self.env.step(1)
        return obs, info


def reference(game, fire_reset, max_frames):
    """Gymnasium's wrappers on the plain emulator, whose own frame limit counts the FIRE of a reset too."""
    env = gymnasium.make(
        f"ALE/{game}-v5",
        frameskip=1,
        repeat_action_probability=0.0,
        max_num_frames_per_episode=max_frames + int(fire_reset),
    )
    env = AtariPreprocessing(PressFire(env) if fire_reset else env, noop_max=0, frame_skip=4, screen_size=84)
    return FrameStackObservation(env, 4, padding_type="zero")


@pytest.mark.parametrize(
    ("game", "fire_reset", "max_frames", "steps", "ends"),
    [
        ("Breakout", False, 108_000, 450, 2),
        ("SpaceInvaders", True, 108_000, 560, 1),
        ("Breakout", True, 300, 160, 2),
        ("Pong", False, 301, 160, 2),
    ],
)
def test_frame_for_frame_as_gymnasiums_wrappers(game, fire_reset, max_frames, steps, ends):
    """No difference at all, an episode's last frames and the pixels of the resizing included."""
    truth = reference(game, fire_reset, max_frames)
    env = Atari(game, noop_max=0, fire_reset=fire_reset, max_frames=max_frames)
    rng, step, ended = np.random.default_rng(0), env.reset(seed=1), 0
    np.testing.assert_array_equal(step.obs[0], truth.reset(seed=1)[0])
    for _ in range(steps):
        action, over = rng.integers(env.num_actions), step.last[0]
        step = env.step(np.array([action]))
        assert step.first[0] == over
        if over:
            obs, reward, terminated, truncated = truth.reset()[0], 0.0, False, False
        else:
            obs, reward, terminated, truncated, _ = truth.step(action)
        np.testing.assert_array_equal(step.obs[0], obs)
        assert (step.reward[0], step.discount[0]) == (reward, 1 - terminated)
        assert step.last[0] == (terminated or truncated)
        ended += step.last[0]
    assert ended == ends
    truth.close()
    env.close()


def test_what_is_sent_and_received_is_what_is_stepped():
    options = {"max_frames": 120, "life_loss": True, "noop_max": 5}
    sent, stepped = (Atari("Breakout", 3, seed=1, **options) for _ in range(2))
    sent.reset(), stepped.reset()
    rng = np.random.default_rng(0)
    for action in rng.integers(4, size=(70, 3)):
        sent.send(action)
        for ours, truth in zip(sent.recv(), stepped.step(action), strict=True):
            np.testing.assert_array_equal(ours, truth)
    with pytest.raises(ValueError, match="action must be in 0 … 3"):
        sent.send(np.array([0, 4, 0]))


def test_what_an_environment_says_of_itself():
    env = Atari("space_invaders", 2, frame_skip=3, stack=2, num_threads=1)
    assert (env.num_envs, env.num_actions, env.frame_skip, env.stack) == (2, 6, 3, 2)
    assert (env.obs_shape, env.obs_dtype, env.resumable) == ((2, 84, 84), np.uint8, False)
    step = env.reset(seed=0)
    assert [field.dtype for field in step] == [np.uint8, np.float64, np.float32, np.bool_, np.bool_]
    step = env.step(np.array([0, 5], np.int32))
    assert [field.dtype for field in step] == [np.uint8, np.float64, np.float32, np.bool_, np.bool_]
    assert [field.shape for field in step] == [(2, 2, 84, 84), (2,), (2,), (2,), (2,)]
    assert Atari("Breakout").num_actions == 4
    assert Atari("Breakout", full_action_set=True).num_actions == 18


def test_the_number_of_threads_does_not_change_play():
    options = {"sticky_actions": 0.25, "max_frames": 200}
    assert_same(play(Atari("Breakout", 3, num_threads=1, **options), 80), play(Atari("Breakout", 3, **options), 80))


@pytest.mark.parametrize(
    ("num_envs", "options", "threads"), [(5, {}, 3), (2, {}, 2), (5, {"num_threads": 4}, 4), (5, {"num_threads": 0}, 3)]
)
def test_threads_are_those_that_the_process_may_use(num_envs, options, threads, monkeypatch):
    made = []

    def emulators(rom, number, *, num_threads, **others):
        made.append(num_threads)
        return AtariVectorEnv(rom, number, num_threads=num_threads, **others)

    monkeypatch.setattr(atari, "AtariVectorEnv", emulators)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 5, 9}, raising=False)
    Atari("Breakout", num_envs, **options)
    assert made == [threads]


@pytest.mark.parametrize("missing", ["folder", "file", "content"])
def test_a_missing_rom_is_one_line(tmp_path, monkeypatch, missing):
    roms = tmp_path / "roms"
    if missing != "folder":
        roms.mkdir()
    if missing == "content":
        (roms / "pong.bin").write_bytes(b"not that game")
    monkeypatch.setenv("ALE_ROMS_DIR", str(roms))
    with pytest.raises(ValueError, match=r"^the ROM of Pong cannot be read \(.*\): unset ALE_ROMS_DIR, or ") as refusal:
        Atari("Pong")
    assert "\n" not in str(refusal.value)


def test_usable_cores_without_an_affinity(monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert usable_cores() == 6


@pytest.fixture(scope="module")
def breakout():
    """The same 500 steps of 2 games, without and with an end of the discount at each lost life."""
    return [play(Atari("Breakout", 2, life_loss=life_loss), 500) for life_loss in (False, True)]


def test_a_lost_life_changes_nothing_but_the_discount(breakout):
    plain, lives = breakout
    assert_same(plain._replace(discount=lives.discount), lives)
    ends = plain.last.sum()
    assert ends >= 2
    assert (plain.discount == 0).sum() == ends
    np.testing.assert_array_equal(plain.discount == 0, plain.last)
    for env in range(2):
        whole = slice(0, np.flatnonzero(plain.last[:, env])[0] + 1)
        assert (lives.discount[whole, env] == 0).sum() == 5  # the fifth is the end of the game
    assert not lives.first[1:][lives.discount[:-1] == 0].all()  # the game goes on after most of them


def test_first_rows_follow_last_rows_and_are_no_transitions(breakout):
    for rows in breakout:
        assert rows.first[0].all()
        np.testing.assert_array_equal(rows.first[1:], rows.last[:-1])
        assert (rows.reward[rows.first] == 0).all()
        assert (rows.discount[rows.first] == 1).all()
        assert not rows.obs[rows.first][:, :3].any()  # the stack is zero-padded, and starts with one frame
        assert rows.obs[rows.first][:, 3].any(axis=(1, 2)).all()


def test_stacks_go_on_except_at_a_start(breakout):
    for rows in breakout:
        goes_on = ~rows.first[1:]
        np.testing.assert_array_equal(rows.obs[1:, :, :3][goes_on], rows.obs[:-1, :, 1:][goes_on])


def test_rewards_are_not_clipped():
    rows = play(Atari("SpaceInvaders"), 150)
    assert {5.0, 10.0} <= set(rows.reward.ravel().tolist())


class Lives:
    """Stands for the emulators: rows of `lives` and of whether the game is over, with a reward of 1 a step."""

    def __init__(self, rows):
        self.rows, self.t = rows, 0

    def reset(self, seed=None):
        self.t = 0
        return np.zeros((1, 4, 84, 84), np.uint8), self._row()[2]

    def send(self, actions):
        self.t += 1

    def recv(self):
        obs, over, info = self._row()
        return obs, np.ones(1, np.int32), np.array([over]), np.array([False]), info

    def _row(self):
        lives, over = self.rows[self.t]
        info = {"lives": np.array([lives], np.int32), "episode_frame_number": np.array([4 * self.t], np.int32)}
        return np.zeros((1, 4, 84, 84), np.uint8), over, info


def lost(*lives, over=()):
    """Where the return ends, for these lives row by row, of which those numbered in `over` end the game."""
    env = Atari("Breakout", life_loss=True)
    env._emulators = Lives([(number, t in over) for t, number in enumerate(lives)])
    rows = [env.reset(seed=0)] + [env.step(np.array([0])) for _ in lives[1:]]
    return [t for t, row in enumerate(rows) if row.discount[0] == 0]


@pytest.mark.parametrize(
    ("lives", "over", "ends"),
    [
        ((3, 3, 2, 2, 1, 0), (5,), [2, 4, 5]),
        ((1, 0, 1, 1, 0, 0, 1, 0), (7,), [7]),  # as in Atlantis
        ((1, 0, 0, 0), (3,), [3]),
        ((2, 0, 1, 1), (), [2]),
        ((2, 0, 2, 1), (), [3]),
        ((2, 3, 2, 1), (), [2, 3]),
        ((2, 1, 0, 5, 5, 4), (2,), [1, 2, 5]),  # the next game begins after the end
        ((3, 3, 2, 2), (1,), [1]),  # with fewer lives than the last one had
        ((0, 0, 0, 0), (3,), [3]),  # a game without lives
    ],
)
def test_a_return_ends_with_a_life_of_which_some_are_left_and_with_the_game(lives, over, ends):
    assert lost(*lives, over=over) == ends


def test_in_atlantis_lives_flicker():
    """The game itself, with 0 lives for a while, then 1 again: the return goes on, the score is the whole game's."""
    env, rng, statistics = Atari("Atlantis", life_loss=True), np.random.default_rng(0), EpisodeStatistics(1)
    row, games, seen = env.reset(seed=np.array([0])), [], []
    while not games:
        games = statistics.update(row)
        seen.append((int(env.lives[0]), bool(row.discount[0] == 0), float(row.reward[0])))
        row = env.step(rng.integers(env.num_actions, size=8)[:1])
    lives, ends, rewards = zip(*seen, strict=True)
    assert [(0, 1) in itertools.pairwise(lives), lives[-1], ends[-1]] == [True, 0, True]
    assert not any(end for number, end in zip(lives[:-1], ends, strict=False) if number == 0)
    assert (games[0].score, games[0].length) == (sum(rewards), len(seen) - 1)


def test_scores_are_of_whole_games(breakout):
    _, lives = breakout
    statistics = EpisodeStatistics(2)
    episodes = [e for t in range(501) for e in statistics.update(type(lives)(*(field[t] for field in lives)))]
    assert len(episodes) == lives.last.sum()
    for env in range(2):
        end = np.flatnonzero(lives.last[:, env])[0]
        first = next(e for e in episodes if e.env == env)
        assert (first.score, first.length) == (lives.reward[: end + 1, env].sum(), end)


def test_the_frame_limit_is_in_frames_after_the_first_row_and_truncates():
    rows = play(Atari("Breakout", 2, max_frames=42, life_loss=True), 36)  # 10 steps and half a one, then a reset row
    assert np.flatnonzero(rows.last[:, 0]).tolist() == np.flatnonzero(rows.last[:, 1]).tolist() == [11, 23, 35]
    assert (rows.discount == 1).all()
    newest = rows.obs[rows.last][:, -2:]
    np.testing.assert_array_equal(newest[:, 1], newest[:, 0])  # the ending frame is not drawn


def test_the_action_of_a_reset_row_is_ignored():
    env = Atari("Breakout", 1, max_frames=40)
    actions = np.random.default_rng(1).integers(0, 4, (35, 1))
    rows = play(env, 35, actions=actions)
    changed = actions.copy()
    changed[rows.last[:-1, 0]] = (changed[rows.last[:-1, 0]] + 1) % 4
    assert (changed != actions).sum() == 3
    assert_same(play(env, 35, actions=changed), rows)
    changed[5:] = (changed[5:] + 1) % 4
    assert (play(env, 35, actions=changed).obs != rows.obs).any()


def test_a_time_step_is_not_overwritten_by_later_ones():
    env = Atari("Breakout", 2, max_frames=20)
    held = [env.reset(seed=0)]
    copies = [[field.copy() for field in held[0]]]
    for _ in range(15):
        held.append(env.step(np.array([2, 3])))
        copies.append([field.copy() for field in held[-1]])
    for step, copy in zip(held, copies, strict=True):
        assert_same(step, copy)


@pytest.mark.parametrize("seed", [3, np.array([5, 2**31 - 1]), 2**32 - 1, 2**64])
def test_each_environment_has_a_seed_of_its_own_and_reproduces(seed):
    two, one = Atari("Breakout", 2, seed=seed), Atari("Breakout", 1)
    ignored = two.reset()
    rows = play(two, 30, seed=seed, actions=np.ones((30, 2), np.int64))
    assert_same(ignored, [field[0] for field in rows])
    again = play(one, 30, seed=environment_seeds(seed, 2)[1:], actions=np.ones((30, 1), np.int64))
    assert_same([field[:, 1:] for field in rows], again)
    assert (rows.obs[:, 0] != rows.obs[:, 1]).any()


def test_without_a_seed_one_is_drawn():
    unseeded = [play(Atari("Breakout", 2, sticky_actions=0.5), 30, seed=None).obs for _ in range(2)]
    assert (unseeded[0] != unseeded[1]).any()


def test_noops_vary_the_start():
    varied, same = Atari("Breakout", 4).reset(seed=0).obs, Atari("Breakout", 4, noop_max=0).reset(seed=0).obs
    assert (varied != varied[:1]).any()
    np.testing.assert_array_equal(same, same[:1].repeat(4, axis=0))


def test_noops_are_up_to_noop_max():
    env = Atari("Breakout", 1, noop_max=2, fire_reset=False)
    numbers = {int(env._emulators.reset(seed=seed)[1]["episode_frame_number"][0]) for seed in range(12)}
    assert numbers == {0, 1, 2}


def test_sticky_actions_repeat_the_last_one():
    env = Atari("Breakout", 1, sticky_actions=1.0, noop_max=0)
    left, right = (play(env, 20, actions=np.full((20, 1), a)) for a in (2, 3))
    assert_same(left, right)
    env = Atari("Breakout", 1, noop_max=0)
    left, right = (play(env, 20, actions=np.full((20, 1), a)) for a in (2, 3))
    assert (left.obs != right.obs).any()


def test_the_picture_shows_what_environment_0_sees():
    env = Atari("Breakout", 2, sticky_actions=0.25, max_frames=60, render_mode="rgb_array")
    rng, step, others = np.random.default_rng(0), env.reset(seed=0), 0
    for t in range(40):
        picture = env.render()
        assert (picture.shape, picture.dtype) == ((210, 160, 3), np.uint8)
        grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (84, 84), interpolation=cv2.INTER_AREA)
        error = np.abs(grey.astype(int) - step.obs[:, -1])  # [2, 84, 84]
        assert error[0].max() <= 4, t
        others += error[1].max() > 4
        step = env.step(rng.integers(0, 4, 2))
    assert others > 20  # where both games have just begun they may show the same
    env.close()


def test_no_picture_unless_asked_for():
    with pytest.raises(RuntimeError, match='render_mode="rgb_array"'):
        Atari("Breakout").render()
    with pytest.raises(ValueError, match="render_mode must be None or 'rgb_array', got 'human'"):
        Atari("Breakout", render_mode="human")


def test_wrong_actions_and_calls_are_told():
    env = Atari("Breakout", 2)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.array([0, 0]))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action must be in 0 … 3, got \[0, 4\]"):
        env.step(np.array([0, 4]))  # the emulator would wait for ever
    assert not env.step(np.array([0, 3])).first.any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"game": "Brekout"}, "unknown game 'Brekout': did you mean Breakout?"),
        ({"num_envs": 0}, "num_envs must be at least 1, got 0"),
        ({"noop_max": -1}, "noop_max must be at least 0, got -1"),
        ({"max_frames": 0}, "max_frames must be at least 1, got 0"),
        ({"frame_skip": 0}, "frame_skip must be at least 1, got 0"),
        ({"stack": 0}, "stack must be at least 1, got 0"),
        ({"num_threads": -2}, "num_threads must be at least 0, got -2"),
        ({"sticky_actions": 1.5}, "sticky_actions must be a probability, got 1.5"),
    ],
)
def test_wrong_arguments_are_told(wrong, message):
    with pytest.raises(ValueError, match="^" + message.replace("?", r"\?") + "$"):
        Atari(**{"game": "Breakout", **wrong})


def test_a_restart_begins_the_next_episode_instead_of_the_next_step():
    """The rows of next-step autoreset without the reset steps, whose actions are ignored."""
    options = {"noop_max": 8, "max_frames": 60, "sticky_actions": 0.25, "render_mode": "rgb_array"}
    env, truth = (Atari("Breakout", 3, **options) for _ in range(2))
    rng, starts = np.random.default_rng(0), 0
    step, true_step = env.reset(seed=3), truth.reset(seed=3)
    for _ in range(50):
        if true_step.last.any():
            np.testing.assert_array_equal(step.last, true_step.last)
            true_step = truth.step(np.zeros(3, int))
            np.testing.assert_array_equal(env.restart(), true_step.obs, strict=True)
            np.testing.assert_array_equal(env.lives, truth.lives)
            np.testing.assert_array_equal(env.episode_frames, truth.episode_frames)
            np.testing.assert_array_equal(env.render(), truth.render())
            starts += true_step.first.sum()
        action = rng.integers(0, 4, 3)
        step, true_step = env.step(action), truth.step(action)
        assert_same(step, true_step)
        np.testing.assert_array_equal(env.render(), truth.render())
    assert starts == 3 * 3


def test_a_restart_leaves_other_environments_as_they_are():
    env, truth = (Atari("Breakout", 2, noop_max=0, render_mode="rgb_array") for _ in range(2))
    rng, step = np.random.default_rng(1), env.reset()
    truth.reset()
    while not step.last.any():
        action = rng.integers(0, 4, 2)
        step, true_step = env.step(action), truth.step(action)
        np.testing.assert_array_equal(env.restart()[~step.last], step.obs[~step.last])
        if not step.last[0]:
            np.testing.assert_array_equal(env.render(), truth.render())
        if not step.last.any():
            assert_same(step, true_step)
    (other,) = np.flatnonzero(~step.last)
    for _ in range(5):
        step, true_step = env.step(np.array([2, 2])), truth.step(np.array([2, 2]))
        np.testing.assert_array_equal(step.obs[other], true_step.obs[other])
        assert not step.first.any()


def test_lives_and_frames_are_those_of_the_last_row():
    env = Atari("Breakout", 1, noop_max=0)
    assert env.action_meanings == ["NOOP", "FIRE", "RIGHT", "LEFT"]
    assert env.render_fps == 15  # 60 frames a second
    env.reset()
    assert (env.lives.tolist(), env.episode_frames.tolist()) == ([5], [1])  # FIRE
    while env.lives[0] == 5:
        env.step(np.array([0]))
    assert env.lives.tolist() == [4]
    assert env.episode_frames[0] % 4 == 1
    with pytest.raises(RuntimeError, match=r"reset\(\) comes before restart\(\)"):
        Atari("Breakout").restart()
