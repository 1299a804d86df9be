"""What the training script of every on-policy agent must do: a test class inherits this and names its script."""

import math
import signal

import pytest

from tests.products import mostly_slow
from tests.scripts.processes import call, checkpoints, model, read_progress, refused_by, start, stopped_line
from wnrl.checkpoints.tensor_files import read_model

CHAIN = ["--env", "Chain", "--hidden", 16, "--device", "cpu", "--num-envs", 3]
NUMBERS = ["--log-interval", 60, "--eval-interval", 150, "--eval-episodes", 4, "--checkpoint-interval", 100]
FIGURES = {
    *("train/loss", "train/policy_gradient_loss", "train/value_loss", "train/entropy_loss", "train/grad_norm"),
    *("train/learning_rate", "train/n_updates", "train/explained_variance"),
    *("rollout/ep_rew_mean", "rollout/ep_len_mean", "eval/mean_reward", "eval/mean_ep_length"),
}


class TrainingScript:
    """Tests of one script."""

    script = ""
    flags: list = []  # noqa: RUF012 - rollouts short enough for a short run
    figures: set = set()  # noqa: RUF012 - beside those of all
    words: tuple = ()  # of its help

    def run(self, *arguments):
        """A run on the chain that must succeed."""
        result = call(self.script, *CHAIN, *self.flags, *arguments)
        assert result.code == 0, result.err
        return result

    @pytest.fixture(scope="class")
    def whole(self, tmp_path_factory):
        """A run of 450 steps from beginning to end, and what it said."""
        run_dir = tmp_path_factory.mktemp("whole") / "run"
        return run_dir, self.run("--run-dir", run_dir, "--steps", 450, *NUMBERS)

    def test_a_run_leaves_all_its_files(self, whole):
        run_dir, result = whole
        names = {path.name for path in run_dir.iterdir() if not path.name.startswith("events.out.tfevents")}
        assert names == {
            *("config.json", "progress.csv", "evaluations.csv", "checkpoints"),
            *("model.safetensors", "model.json", "best.safetensors", "best.json"),
        }
        assert result.out.splitlines()[0] == f"training in {run_dir}"
        assert result.err == ""
        assert len(checkpoints(run_dir)) == 2

    def test_every_figure_is_written_and_finite(self, whole):
        rows = read_progress(whole[0])
        written = {name for row in rows for name, value in row.items() if value}
        assert FIGURES | self.figures <= written
        assert all(math.isfinite(float(value)) for row in rows for value in row.values() if value)

    def test_the_model_says_how_it_plays(self, whole):
        description = read_model(whole[0] / "model")[1]
        assert f"train_{description['agent']}" == self.script
        assert description["play"] == {"sample": False}

    def test_the_model_is_measured(self, whole):
        result = call("evaluate", whole[0], "--episodes", 3)
        assert (result.code, result.err) == (0, "")

    @pytest.mark.parametrize("interval", mostly_slow([230, 41]))
    def test_a_run_cut_in_two_is_the_uncut_run(self, whole, tmp_path, interval):
        """It goes on from the checkpoint before the last one: schedules end where they were to end."""
        run_dir = tmp_path / "run"
        self.run("--run-dir", run_dir, "--steps", 450, *NUMBERS[:-1], interval)
        max((run_dir / "checkpoints").iterdir()).unlink()
        result = call(self.script, "--resume", run_dir)
        assert result.code == 0, result.err
        assert f"resuming at step {checkpoints(run_dir)[0]} in {run_dir}" in result.out
        assert model(run_dir) == model(whole[0])
        assert read_progress(run_dir) == read_progress(whole[0])

    @pytest.mark.slow
    def test_an_interrupt_leaves_a_checkpoint_and_the_run_goes_on(self, tmp_path):
        run_dir = tmp_path / "run"
        arguments = ["--run-dir", run_dir, "--steps", 10_000_000, "--log-interval", 100]
        process = start(self.script, *CHAIN, *self.flags, *arguments)
        for line in process.stdout:
            if line.startswith("step "):
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=60)
        (step,) = checkpoints(run_dir)
        assert (process.returncode, err) == (130, "")
        assert out.splitlines()[-1] == stopped_line(self.script, step, run_dir)
        result = call(self.script, "--resume", run_dir, "--steps", step + 40)
        assert result.code == 0, result.err

    def test_continuous_actions_with_all_that_is_scaled(self, tmp_path):
        flags = ["--normalize-obs", "--normalize-return", "--num-envs", 2, "--eval-episodes", 2]
        arguments = ["--env", "Pendulum-v1", "--hidden", 16, "--device", "cpu", *self.flags, *flags]
        result = call(self.script, *arguments, "--run-dir", tmp_path / "run", "--steps", 450, "--log-interval", 200)
        assert result.code == 0, result.err
        result = call("evaluate", tmp_path / "run", "--episodes", 2)
        assert (result.code, result.err) == (0, "")

    @pytest.mark.parametrize(
        ("arguments", "saying"),
        [
            (["--game", "Brekout"], ["'Brekout'", "Breakout"]),
            (["--env", "Chain", "--gamma", "2"], ["gamma must lie between 0 and 1, got 2"]),
            (["--env", "Chain", "--entropy-coef", "-1"], ["entropy_coef must not be negative, got -1"]),
            (["--env", "Chain", "--preset", "rainbow"], ["unknown preset 'rainbow': choose from fast"]),
            (["--env", "Chain", "--epsilon-start", "1"], ["--epsilon-start"]),
            (["--game", "Pong", "--normalize-obs"], ["normalize_obs is for vectors"]),
            (["--env", "Chain", "--norm", "spectral", "--init", "data"], ["init data sets the lengths of rows"]),
            ([], ["one of the two"]),
        ],
    )
    def test_bad_input_is_one_line_and_leaves_nothing(self, tmp_path, monkeypatch, arguments, saying):
        monkeypatch.chdir(tmp_path)
        self.refused(*arguments, saying=saying)
        assert list(tmp_path.iterdir()) == []

    def refused(self, *arguments, saying):
        refused_by(self.script, *arguments, saying=saying)

    def test_help_names_the_flags_and_their_units(self):
        result = call(self.script, "--help-all")
        assert result.code == 0
        text = " ".join(result.out.replace("│", " ").split())
        for words in ("--entropy-coef", "in nats", "--normalize-obs", "--separate", "default", *self.words):
            assert words in text
