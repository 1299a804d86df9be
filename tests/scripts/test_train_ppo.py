import pytest

from tests.scripts.policy_gradient_runs import CHAIN, TrainingScript
from tests.scripts.processes import call, read_json


class TestPPO(TrainingScript):
    script = "train_ppo"
    flags = ["--rollout-length", 16, "--minibatches", 2, "--epochs", 2]  # noqa: RUF012
    figures = {"train/approx_kl", "train/clip_fraction", "train/clip_range"}  # noqa: RUF012
    words = ("--clip-range", "--lstm", "--target-kl", "this, in nats", "in units of value", "--rollout-length")

    @pytest.mark.parametrize(
        ("arguments", "saying"),
        [
            (["--env", "Chain", "--lstm", "8", "--separate", "True"], ["separate has no effect with lstm"]),
            (["--env", "Chain", "--lstm", "8", "--minibatches", "9"], ["at most 8, the sequences of a rollout, got 9"]),
            (["--env", "Chain", "--clip-range", "0"], ["clip_range must be above 0, got 0"]),
        ],
    )
    def test_what_ppo_refuses(self, tmp_path, monkeypatch, arguments, saying):
        monkeypatch.chdir(tmp_path)
        self.refused(*arguments, saying=saying)
        assert list(tmp_path.iterdir()) == []


def test_memory(tmp_path):
    arguments = [*CHAIN, "--lstm", 8, "--minibatches", 3, "--run-dir", tmp_path / "run"]
    result = call("train_ppo", *arguments, "--steps", 250, "--norm", "weight")
    assert result.code == 0, result.err
    assert read_json(tmp_path / "run" / "model.json")["network"]["lstm"] == 8
    assert call("evaluate", tmp_path / "run", "--episodes", 2).code == 0
