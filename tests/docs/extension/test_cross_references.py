"""Names between backticks on a small site: links, code, and warnings."""

import io
import re

import pytest

from tests.metadata import ROOT

CONF = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "docs")!r}]
extensions = ["sphinx.ext.autodoc", "extension.site"]
default_role, nitpicky = "py:obj", True
"""
PAGE = """
Names
=====

.. py:class:: agents.Trainer

.. py:class:: wnrl.weight_norm.recurrent.WeightNormRecurrent

.. autoclass:: wnrl.WeightNormLSTM
   :show-inheritance:
   :no-members:

Right: `Trainer`, `agents.settings.dqn.DQNSettings`, `wnrl.normalizers.folding.FoldedCopy`, `[B, H]`, `norm`.

Wrong: `Trainers`, `wnrl.normalizers.folding.FoldedCopies`, :py:exc:`NoError`.
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The page, and the warnings."""
    application = pytest.importorskip("sphinx.application", reason='needs pip install -e ".[docs]"')
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("out")
    (source / "conf.py").write_text(CONF)
    (source / "index.rst").write_text(PAGE)
    (source / "reference").mkdir()
    (source / "reference" / "train-dqn.rst").write_text(":orphan:\n\nFlags\n=====\n")
    warnings = io.StringIO()
    sphinx = application.Sphinx(source, source, out, out / "trees", "html", status=None, warning=warnings)
    sphinx.build()
    return (out / "index.html").read_text(), warnings.getvalue()


@pytest.mark.slow
def test_only_wrong_names_are_warned_of(built):
    found = re.findall(r"reference target not found: (\S+)", built[1])
    ours = [name for name in found if not name.startswith("torch.")]
    assert ours == ["Trainers", "wnrl.normalizers.folding.FoldedCopies", "NoError"]


@pytest.mark.slow
def test_right_names_are_links_or_code(built):
    right = re.search(r"<p>Right:.*?</p>", built[0], flags=re.DOTALL)[0]
    assert re.findall(r'href="([^"]+)"', right) == ["#agents.Trainer", "reference/train-dqn.html"]
    assert "FoldedCopy" in right


@pytest.mark.slow
def test_private_bases_give_way_to_public_ones(built):
    bases = re.search(r"<p>Bases:.*?</p>", built[0], flags=re.DOTALL)[0]
    assert "WeightNormLayer" in bases
    assert "LSTM" in bases
    assert "_Sequence" not in bases
