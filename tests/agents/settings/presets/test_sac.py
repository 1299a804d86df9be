"""agents.settings.presets.sac: the paper's numbers, and which of them a fixed temperature has no use for."""

import pytest

from agents.settings.flat import flat_defaults, from_flat
from agents.settings.presets.sac import sac_preset
from agents.settings.run import TrainSettings
from agents.settings.sac import SACSettings

PUBLISHED = {  # Christodoulou 2019, appendix B
    "learning_rate": 3e-4,
    "optimizer": "adam",
    "batch_size": 64,
    "gamma": 0.99,
    "train_interval": 4,
    "learning_starts": 20_000,
    "target_interval": 8_000,
    "tau": 1.0,
    "reward_clip": 1.0,
    "max_grad_norm": 0.0,
    "critic": "min",
    "n_step": 1,
    "replay_size": 1_000_000,
    # --- github.com/vwxyzjn/cleanrl, cleanrl/sac_atari.py; Christodoulou 2019 has 0.98
    "target_entropy": 0.89,
}


def values(images=True, **flags):
    """Every value of a run: the preset's, or else the dataclass's own default."""
    return {
        **flat_defaults(TrainSettings[SACSettings]),
        **sac_preset("fast", images=images, norm="weight", flags=flags),
    }


def test_atari_is_as_published():
    found = values()
    assert {name: found[name] for name in PUBLISHED} == PUBLISHED


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("flags", [{}, {"temperature": 0.2}, {"temperature": "auto"}])
def test_a_fixed_temperature_leaves_no_setting_of_the_automatic_one(images, flags):
    task = {"game": "Pong"} if images else {"env": "Chain"}
    values = {**sac_preset("fast", images=images, norm="none", flags=flags), **task, **flags}
    from_flat(TrainSettings[SACSettings], values)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="unknown preset 'nature': choose from fast"):
        sac_preset("nature", images=True, norm="weight")
