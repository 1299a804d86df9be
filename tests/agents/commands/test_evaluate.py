import re
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from agents.commands import evaluate
from agents.commands.evaluate import IN_THE_RUN, EvaluateSettings, main, play_saved_model, score_line, with_video
from agents.learner.network import make_network
from agents.training import saved_model
from agents.training.saved_model import SavedModel
from agents.watching.bars import BAR, CHOSEN, width_of
from envs import Chain, EnvironmentFault, Gym
from tests.agents.environments import Clockwork, Coloured
from tests.agents.training.chain_models import NETWORK, actor_model, chain_model, save
from tests.envs.faulty import Faulty
from tests.videos import frames_of, full_disk, gif_frames, needs_ffmpeg
from wnrl.normalizers.folding import fold

CALL = {"episodes": 3, "epsilon": None, "model": "last", "num_envs": 8, "seed": 0, "device": "cpu", "video": None}


def said(run_dir, **changes):
    """What the command says."""
    return play_saved_model(EvaluateSettings(run_dir, **{**CALL, **changes}))


@pytest.fixture
def run_dir(tmp_path):
    save(tmp_path / "run", "model", chain_model(right=True))
    return tmp_path / "run"


def test_a_model_that_solves_the_chain_scores_1(run_dir):
    assert said(run_dir) == "Chain: 1.0 ± 0.0 over 3 whole games (epsilon 0, model.safetensors of step 12,000)"


def test_the_best_model_is_played_when_it_is_asked_for_and_the_line_says_that_this_flatters(run_dir):
    save(run_dir, "best", chain_model(right=False), step=5)
    assert said(run_dir).startswith("Chain: 1.0 ± 0.0 over 3 whole games (epsilon 0, model.")
    line = "Chain: 0.0 ± 0.0 over 3 whole games (epsilon 0, best.safetensors of step 5, the best of {} evaluations in "
    line += "training, a choice that flatters)"
    assert said(run_dir, model="best") == line.format("all")
    (run_dir / "progress.csv").write_text("step,eval/mean_reward\n5,1.0\n10,0.0\n15,\n20,0.5\n")
    assert said(run_dir, model="best") == line.format(3)


def test_the_last_model_is_the_default():
    assert EvaluateSettings("run").model == "last"


def test_epsilon_is_the_runs_own_unless_given(run_dir):
    save(run_dir, "model", chain_model(right=True), play={"epsilon": 0.25})
    assert "(epsilon 0.25," in said(run_dir)
    assert "(epsilon 0," in said(run_dir, epsilon=0.0)


def test_a_model_that_is_not_there_is_refused(run_dir):
    with pytest.raises(ValueError, match=r"has no best.safetensors yet: train it longer"):
        said(run_dir, model="best")


def test_a_damaged_model_is_refused(run_dir):
    file = run_dir / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        said(run_dir)


@pytest.mark.parametrize("name", ["episodes", "num_envs"])
def test_no_game_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        EvaluateSettings("run", **{name: 0})


@pytest.mark.parametrize("epsilon", [-0.01, 1.01, 100.0, float("nan")])
def test_an_epsilon_that_is_no_probability_is_refused(epsilon, run_dir, monkeypatch, capsys):
    with pytest.raises(ValueError, match=f"epsilon must lie between 0 and 1, got {epsilon}"):
        EvaluateSettings("run", epsilon=epsilon)
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, run_dir, f"--epsilon={epsilon}")
    assert end.value.code == 2
    assert capsys.readouterr().err == f"evaluate.py: error: epsilon must lie between 0 and 1, got {epsilon}\n"


@pytest.mark.parametrize("epsilon", [0.0, 1.0, None])
def test_probabilities_are_allowed(epsilon):
    assert EvaluateSettings("run", epsilon=epsilon).epsilon == epsilon


def scores_of(run_dir, monkeypatch, **changes):
    """The scores of the games that are played."""
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(saved_model, "make", lambda num_envs, **options: Chain(num_envs, max_steps=7))
        patch.setattr(evaluate, "score_line", lambda model, scores, play: seen.extend(scores) or "")
        said(run_dir, **{"episodes": 40, **changes})
    return seen


def test_random_actions_come_from_the_seed(run_dir, monkeypatch):
    """In games that end before every walk has come to the right."""
    first, again, other = (scores_of(run_dir, monkeypatch, epsilon=0.8, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert scores_of(run_dir, monkeypatch) == [1] * 40


def test_a_policy_plays_as_its_run_did(run_dir, monkeypatch):
    description, network = actor_model()
    save(run_dir, "model", network, network=description, play={"sample": False})
    assert said(run_dir) == "Chain: 1.0 ± 0.0 over 3 whole games (epsilon 0, model.safetensors of step 12,000)"
    save(run_dir, "model", network, network=description, play={"sample": True})
    assert "(actions sampled, model.safetensors" in said(run_dir)
    assert 0 < sum(scores_of(run_dir, monkeypatch)) < 40
    assert "(actions sampled, epsilon 0.5, model" in said(run_dir, epsilon=0.5)


def test_a_game_is_compared_with_a_person():
    about = {"game": "Breakout", "env": None, "step": 1_000_000, "emulator": {}}
    line = score_line(SavedModel(None, about, "model"), [1.7, 59.3], {"epsilon": 0.05})
    assert line.startswith(
        "Breakout: 30.5 ± 28.8 over 2 whole games (epsilon 0.05, model.safetensors of step 1,000,000)"
    )
    normalized = float(re.search(r"human-normalized ([\d.]+)", line)[1])
    assert normalized == pytest.approx((30.5 - 1.7) / (30.5 - 1.7), abs=0.01)


def test_the_conditions_of_a_game_stand_beside_its_score():
    emulator = {
        "noop_max": 0,
        "fire_reset": False,
        "sticky_actions": 0.25,
        "full_action_set": True,
        "max_frames": 9_000,
    }
    about = {"game": "Pong", "env": None, "protocol": "machado", "life_loss": False, "emulator": emulator, "step": 7}
    line = score_line(SavedModel(None, about, "best", 4), [21.0], {"epsilon": 0.25})
    assert line == (
        "Pong: 21.0 ± 0.0 over 1 whole game (epsilon 0.25, best.safetensors of step 7, the best of 4 evaluations in "
        "training, a choice that flatters; protocol machado except max_frames, eval_epsilon: sticky actions 0.25, "
        "no no-ops, FIRE left to the agent, full action set, no life loss, at most 9,000 frames), "
        "human-normalized 1.18 (random play 0, human 1)"
    )


# Videos


@needs_ffmpeg
def test_the_video_is_the_first_game_of_the_first_environment(run_dir, monkeypatch):
    monkeypatch.setattr(saved_model, "make", lambda **options: Coloured(7, 9, obs_shape=(5,)))
    file = run_dir / "videos" / "model-step-12000.mp4"
    assert said(run_dir, video=IN_THE_RUN).splitlines()[1] == f"video of the first game: {file}"
    frames, fps = frames_of(file)
    assert frames.shape == (8, 210, 160, 3)  # the first row and seven steps
    assert fps == 15  # real time at 4 frames a step
    assert np.mean(frames, axis=(1, 2, 3)) == pytest.approx(20 * np.arange(8), abs=6)


@needs_ffmpeg
def test_a_video_of_an_atari_game(tmp_path):
    network = {**NETWORK, "obs_shape": [4, 84, 84], "num_actions": 4, "hidden": [8]}
    emulator = {"noop_max": 0, "max_frames": 80, "fire_reset": True}
    save(tmp_path, "model", fold(make_network(network)), network=network, game="Breakout", env=None, emulator=emulator)
    assert said(tmp_path, episodes=1, video=IN_THE_RUN).startswith("Breakout: ")
    frames, _ = frames_of(next((tmp_path / "videos").iterdir()))
    assert frames.shape == (21, 210, 160, 3)
    assert np.ptp(frames[0]) > 100  # a picture, not a blank


@needs_ffmpeg
def test_what_has_no_picture_is_refused(run_dir, monkeypatch):
    with pytest.raises(ValueError, match=r"no picture"):
        said(run_dir, video=IN_THE_RUN)
    monkeypatch.setattr(saved_model, "make", lambda **options: Clockwork(7, obs_shape=(5,)))
    with pytest.raises(ValueError, match=r"Clockwork has no picture"):
        said(run_dir, video=IN_THE_RUN)


def test_video_without_its_packages_is_refused_with_what_to_install(run_dir, monkeypatch):
    monkeypatch.setattr(saved_model, "make", lambda **options: Coloured(7, obs_shape=(5,)))
    monkeypatch.setitem(sys.modules, "imageio.v2", None)
    with pytest.raises(ValueError, match=r'pip install "wnrl\[video\]"'):
        said(run_dir, video=IN_THE_RUN)
    assert not (run_dir / "videos").exists()


@needs_ffmpeg
def test_a_run_that_may_only_be_read(run_dir, tmp_path, monkeypatch):
    """Its games are played, nothing is written; a video goes elsewhere."""
    monkeypatch.setattr("os.access", lambda path, mode: run_dir not in (path, *Path(path).parents))
    before = sorted(run_dir.rglob("*"))
    assert said(run_dir).startswith("Chain: 1.0")
    monkeypatch.setattr(saved_model, "make", lambda **options: Coloured(7, 9, obs_shape=(5,)))
    with pytest.raises(ValueError, match=r"cannot write a video to .*run/videos: give another folder by --out"):
        said(run_dir, video=IN_THE_RUN)
    file = tmp_path / "out" / "here" / "model-step-12000.mp4"
    assert said(run_dir, video=IN_THE_RUN, out=file.parent).splitlines()[1] == f"video of the first game: {file}"
    assert len(frames_of(file)[0]) == 8
    assert sorted(run_dir.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"out": Path("here")}, "out here has no effect without video"),
        ({"values": True}, "values True has no effect without video"),
        ({"video_fps": 5.0}, "video_fps 5.0 has no effect without video"),
        ({"video_seconds": 5.0}, "video_seconds 5.0 has no effect without video"),
        ({"video": Path("a.gif"), "out": Path("here")}, "out here has no effect without a video without a name"),
        ({"video": IN_THE_RUN, "video_fps": 0.0}, "video_fps must be above 0"),
        ({"video": IN_THE_RUN, "video_seconds": -1.0}, "video_seconds must be above 0"),
    ],
)
def test_what_a_video_does_not_use_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        EvaluateSettings("run", **options)


def test_a_gif_of_the_first_game_with_values_beside_it(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(saved_model, "make", lambda **options: Coloured(7, 9, obs_shape=(5,)))
    plain, valued = tmp_path / "plain.gif", tmp_path / "new" / "valued.gif"
    assert said(run_dir, video=plain).splitlines()[1] == f"video of the first game: {plain}"
    said(run_dir, video=valued, values=True)
    assert not (run_dir / "videos").exists()
    (frames, durations), (beside, _) = gif_frames(plain), gif_frames(valued)
    assert frames.shape == (8, 210, 160, 3)
    assert durations == [70, 60, 70, 70, 60, 70, 70, 60]  # 15 a second, in hundredths
    assert np.mean(frames, axis=(1, 2, 3)) == pytest.approx(20 * np.arange(8))
    assert beside.shape == (8, 210, 160 + width_of(210), 3)
    assert (beside[:, :, :160] == frames).all()
    bars = (beside == BAR).all(-1).sum((1, 2)), (beside == CHOSEN).all(-1).sum((1, 2))
    assert (bars[0] > 500).all()  # -1, to the left
    assert bars[1][:7] == pytest.approx(bars[0][:7], rel=0.2)  # 1, as long, to the right; with the name of its action
    assert bars[1][7] == 0  # none is chosen at the end


def test_the_options_of_a_video_come_through(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(saved_model, "make", lambda **options: Coloured(7, 9, obs_shape=(5,)))
    line = said(run_dir, video=tmp_path / "a.gif", video_fps=5.0, video_seconds=0.4).splitlines()[1]
    assert line == f"video of the first game (its first 0.4 seconds): {tmp_path / 'a.gif'}"
    frames, durations = gif_frames(tmp_path / "a.gif")
    assert np.mean(frames, axis=(1, 2, 3)).tolist() == [0, 60]
    assert durations == [200, 200]


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("run --video", "run --video auto"),
        ("--video run", "--video auto run"),
        ("--video --seed 1 run", "--video auto --seed 1 run"),
        ("run --video a.gif", "run --video a.gif"),
        ("run --video A.MP4 --seed 1", "run --video A.MP4 --seed 1"),
        ("run --video a.avi", "run --video a.avi"),
        ("run --video=a.gif", "run --video=a.gif"),
        ("run --video auto", "run --video auto"),
        ("--video {file}", "--video auto {file}"),
        ("run", "run"),
    ],
)
def test_a_video_without_a_name(given, read, tmp_path):
    """What follows may be the run, or a file in it."""
    file = tmp_path / "best.safetensors"
    file.touch()
    assert with_video(given.format(file=file).split()) == read.format(file=file).split()


def test_the_command_writes_a_video_by_that_name(run_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(saved_model, "make", lambda **options: Coloured(7, obs_shape=(5,)))
    assert call(monkeypatch, run_dir, "--episodes", 1, "--video", tmp_path / "a.gif", "--values") == 0
    assert capsys.readouterr().out.splitlines()[1] == f"video of the first game: {tmp_path / 'a.gif'}"
    with pytest.raises(SystemExit):
        call(monkeypatch, run_dir, "--video", tmp_path / "a.avi")
    assert "a video is a file .mp4 or .gif, got" in capsys.readouterr().err


@pytest.mark.parametrize("name", [pytest.param("a.mp4", marks=needs_ffmpeg), "a.gif"])
def test_a_video_that_cannot_be_written_is_one_line_below_the_scores(run_dir, tmp_path, monkeypatch, capsys, name):
    monkeypatch.setattr(saved_model, "make", lambda **options: Coloured(7, obs_shape=(5,)))
    with full_disk(100), pytest.raises(SystemExit) as end:
        call(monkeypatch, run_dir, "--episodes", 1, "--video", tmp_path / name)
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert re.fullmatch(r"Chain: .* over 1 whole game \(.*\)\n", out)
    assert re.fullmatch(rf"evaluate\.py: error: cannot write {tmp_path / name}: .+\n", err)
    assert [*tmp_path.iterdir()] == [run_dir]


@needs_ffmpeg
@pytest.mark.parametrize("ending", [KeyboardInterrupt, EnvironmentFault(0, "broke")], ids=["ctrl-c", "fault"])
def test_of_games_that_break_off_ctrl_c_alone_keeps_a_video(run_dir, tmp_path, monkeypatch, capsys, ending):
    class Fragile(Coloured):
        steps = 0

        def step(self, actions):
            self.steps += 1
            if self.steps > 3:
                raise ending
            return super().step(actions)

    monkeypatch.setattr(saved_model, "make", lambda **options: Fragile(7, obs_shape=(5,)))
    path = tmp_path / "a.mp4"
    if ending is KeyboardInterrupt:
        assert call(monkeypatch, run_dir, "--video", path) == 130
        assert len(frames_of(path)[0]) == 4  # the first observation, and three steps
    else:
        with pytest.raises(SystemExit):
            call(monkeypatch, run_dir, "--video", path)
    assert {*tmp_path.iterdir()} == {run_dir} | ({path} if ending is KeyboardInterrupt else set())


def test_greedy_and_sampled_actions(run_dir, monkeypatch):
    save(run_dir, "model", chain_model(right=True), play={"epsilon": 0.25})
    assert "(epsilon 0, model" in said(run_dir, greedy=True)
    with pytest.raises(ValueError, match="no-greedy samples the actions of a policy, which this agent does not"):
        said(run_dir, greedy=False)
    with pytest.raises(ValueError, match=r"greedy has no random actions, got epsilon 0\.5"):
        said(run_dir, greedy=True, epsilon=0.5)
    description, network = actor_model()
    save(run_dir, "model", network, network=description, play={"sample": True})
    assert 0 < sum(scores_of(run_dir, monkeypatch)) < 40
    assert sum(scores_of(run_dir, monkeypatch, greedy=True)) == 40
    save(run_dir, "model", network, network=description, play={"sample": False})
    assert 0 < sum(scores_of(run_dir, monkeypatch, greedy=False)) < 40
    assert "(actions sampled, model" in said(run_dir, greedy=False)


def test_a_model_of_stable_baselines3_alone_is_not_unpickled(tmp_path):
    (tmp_path / "ppo.zip").write_bytes(b"never read")
    for path in (tmp_path, tmp_path / "ppo.zip"):
        with pytest.raises(ValueError, match=r"ppo.zip is a model of stable-baselines3 and no run: .* If you trust it"):
            said(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".json", ""])
def test_the_file_of_a_model_means_that_model_of_its_run(run_dir, suffix, monkeypatch, capsys):
    save(run_dir, "best", chain_model(right=False), step=5)
    assert call(monkeypatch, run_dir / f"best{suffix}", "--episodes", 2) == 0
    assert call(monkeypatch, run_dir / f"model{suffix}", "--episodes", 2) == 0
    assert call(monkeypatch, run_dir / f"best{suffix}", "--episodes", 2, "--model", "best") == 0
    assert re.findall(r"\w+\.safetensors of step \d+", capsys.readouterr().out) == [
        "best.safetensors of step 5",
        "model.safetensors of step 12",
        "best.safetensors of step 5",
    ]
    with monkeypatch.context() as patch:
        patch.chdir(run_dir)
        assert call(patch, f"best{suffix}", "--episodes", 2) == 0


@pytest.mark.parametrize(
    ("part", "flags", "said"),
    [
        (
            "model.safetensors",
            ["--model", "best"],
            "{0}/model.safetensors is the model of --model last, got --model best",
        ),
        ("config.json", [], "{0}/config.json is in the folder of a run: give {0}"),
        ("checkpoints", [], "{0}/checkpoints is in the folder of a run: give {0}"),
        ("checkpoints/000000000060.safetensors", [], "60.safetensors is in the folder of a run: give {0}"),
        ("checkpoints/best.safetensors", [], "best.safetensors is in the folder of a run: give {0}"),
    ],
)
def test_another_part_of_a_run_is_refused_with_what_to_give(run_dir, part, flags, said, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, run_dir / part, *flags)
    assert end.value.code == 2
    assert said.format(run_dir) in capsys.readouterr().err


def test_a_fault_of_an_environment_is_one_line_and_code_1(run_dir, monkeypatch, capsys):
    save(run_dir, "model", fold(make_network({**NETWORK, "obs_shape": [2]})), network={**NETWORK, "obs_shape": [2]})
    options = {"env_kwargs": {"fault": "nan", "index": -1}}
    monkeypatch.setattr(saved_model, "make", lambda num_envs, **_: Gym(Faulty, num_envs, **options))
    monkeypatch.setattr(Faulty, "reset", lambda self, **_: (self._row()[0], {}))
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, run_dir, "--episodes", 1)
    assert end.value.code == 1
    assert capsys.readouterr().err == "evaluate.py: error: environment 0 returned a reward of nan\n"


EVIL = """
import gymnasium
from envs.chain import Chain

class Line(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Box(0, 1, (5,)), gymnasium.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}
    def step(self, action):
        return self.observation_space.sample(), 1.0, True, False, {}

gymnasium.register("Line-v0", Line)
"""


def test_a_module_that_a_model_names_is_imported_with_trust_alone(run_dir, tmp_path, monkeypatch, capsys):
    (tmp_path / "evaluated_module.py").write_text(EVIL)
    monkeypatch.syspath_prepend(tmp_path)
    save(run_dir, "model", chain_model(right=True), env="evaluated_module:Line-v0")
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, run_dir, "--episodes", 1)
    assert end.value.code == 2
    assert "learned in evaluated_module:Line-v0, for which a module" in (said := capsys.readouterr().err)
    assert "add --trust" in said
    assert "evaluated_module" not in sys.modules
    try:
        assert call(monkeypatch, run_dir, "--episodes", 1, "--trust") == 0
        assert "evaluated_module" in sys.modules
    finally:
        sys.modules.pop("evaluated_module", None)
        gymnasium.registry.pop("Line-v0", None)
    assert capsys.readouterr().out.startswith("evaluated_module:Line-v0: 1.0 ± 0.0 over 1 whole game")


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_environments_are_closed(run_dir, monkeypatch, error):
    closed = []

    class Watched(Chain):
        def step(self, action):
            if error:
                raise error
            return super().step(action)

        def close(self):
            closed.append(None)

    monkeypatch.setattr(saved_model, "make", lambda num_envs, **options: Watched(num_envs))
    if error:
        with pytest.raises(error):
            said(run_dir)
    else:
        said(run_dir)
    assert len(closed) == 1


# The command


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
    return main("A program.")


def test_the_result_is_printed_and_the_code_is_0(run_dir, monkeypatch, capsys):
    assert call(monkeypatch, run_dir, "--episodes", 2, "--device", "cpu") == 0
    assert capsys.readouterr().out == (
        "Chain: 1.0 ± 0.0 over 2 whole games (epsilon 0, model.safetensors of step 12,000)\n"
    )


def test_what_is_wrong_is_one_line_and_code_2(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, tmp_path)
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        f"evaluate.py: error: {tmp_path} is not the folder of a run: it has no config.json\n"
    )


def test_ctrl_c_is_code_130(run_dir, monkeypatch):
    def interrupted(settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "play_saved_model", interrupted)
    assert call(monkeypatch, run_dir) == 130
