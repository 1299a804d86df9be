"""Names on the site: which are ours, and where they lead."""

import sys

from torch import nn

import agents
import wnrl
from tests.metadata import ROOT

sys.path.append(str(ROOT / "docs"))
from extension.own_names import PUBLIC, exists, is_name, page_of_settings, public_bases


def test_what_counts_as_a_name():
    names = ("wnrl.fold", "agents", "Trainer", "TimeStep.obs")
    code = ("[B, H]", "norm", "wnrl evaluate", "fold(network)", "Trainer()", "wnrlish", "PATH file")
    assert all(map(is_name, names))
    assert not any(map(is_name, code))


def test_only_names_in_the_code_exist():
    assert exists("wnrl")
    assert exists("wnrl.normalizers.folding.FoldedCopy.refresh")
    assert exists("agents.training.protocols.Agent")
    for wrong in (
        "wnrl.normalizers.folding.FoldedCopies",
        "wnrl.no_such_module",
        "agents.DQN.no_such",
        "torch.nn",
        "v",
    ):
        assert not exists(wrong)


def test_settings_lead_to_the_flags_of_their_command():
    pages = [page_of_settings(f"agents.settings.{name}") for name in ("dqn.DQNSettings", "sac.SACSettings")]
    assert pages == ["reference/train-dqn", "reference/train-sac"]
    assert all((ROOT / "docs" / f"{page}.md").is_file() for page in pages)
    assert page_of_settings("agents.settings.run.RunSettings") is None


def test_bases_are_public_or_of_others():
    assert public_bases(wnrl.WeightNormLSTM.__bases__) == [wnrl.WeightNormLayer, nn.LSTM]
    assert public_bases(agents.DQN.__bases__) == [agents.algorithm.Algorithm]
    assert public_bases([object]) == [object]
    assert {"WeightNormLayer", "NormalizedPolicy", "DQN"} <= PUBLIC
