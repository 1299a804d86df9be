import pytest

from tests.scripts.policy_gradient_runs import TrainingScript


class TestREINFORCE(TrainingScript):
    script = "train_reinforce"
    words = ("--episodes-per-update", "--chunk-size", "Whole episodes of each environment")

    @pytest.mark.parametrize(
        ("arguments", "saying"),
        [
            (["--env", "Chain", "--chunk-size", "0"], ["chunk_size must be at least 1, got 0"]),
            (["--env", "Chain", "--rollout-length", "8"], ["--rollout-length"]),
        ],
    )
    def test_what_reinforce_refuses(self, tmp_path, monkeypatch, arguments, saying):
        monkeypatch.chdir(tmp_path)
        self.refused(*arguments, saying=saying)
        assert list(tmp_path.iterdir()) == []
