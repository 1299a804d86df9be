import sys

from agents.training.agent_spec import AgentSpec

BUILDER = """
def build_toy(run, settings, environment):
    return run, settings, environment
"""


def test_the_builder_is_imported_when_it_is_called(tmp_path, monkeypatch):
    (tmp_path / "toy_builder.py").write_text(BUILDER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_builder", raising=False)
    spec = AgentSpec("toy", dict, None, "toy_builder:build_toy")
    assert "toy_builder" not in sys.modules
    assert spec.build("run", "settings", "environment") == ("run", "settings", "environment")
    assert not spec.supports_torchrun
    monkeypatch.delitem(sys.modules, "toy_builder")
