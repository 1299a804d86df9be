from agents.training.protocols import NullProgress
from envs import EpisodeStatistics


def test_no_display_shows_nothing(capfd):
    progress = NullProgress()
    progress.start(0, 10)
    progress.learned(5)
    progress.update(5, EpisodeStatistics(1))
    progress.report(5, {"train/loss": 1.0})
    progress.message("hello")
    progress.close()
    assert capfd.readouterr() == ("", "")
