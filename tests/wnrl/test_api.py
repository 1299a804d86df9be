"""The public names, which come when one is first used, and what pickles name."""

import pickle
import pickletools
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import wnrl
from wnrl import api

ROOT = Path(__file__).parents[2]


def in_a_process(code):
    """What a new process prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_names_are_those_of_the_api():
    assert wnrl.__all__ == api.__all__
    assert all(getattr(wnrl, name) is getattr(api, name) for name in api.__all__)
    assert {"normalize", "fold", "WeightNormLinear", "NORMALIZERS", "__version__"} <= {*dir(wnrl)}


def test_a_name_that_is_none():
    with pytest.raises(AttributeError, match="module 'wnrl' has no attribute 'normalise'"):
        _ = wnrl.normalise
    with pytest.raises(ImportError, match="cannot import name 'normalise' from 'wnrl'"):
        exec("from wnrl import normalise", {})


@pytest.mark.parametrize(
    ("statement", "torch_comes"),
    [
        ("import wnrl; wnrl.__version__; hasattr(wnrl, '__wrapped__')", False),
        ("from wnrl import *; normalize, NormDiagnostics, INITIALIZATIONS; from wnrl import weight_norm", True),
        pytest.param(
            "import wnrl; wnrl.normalizers.conversions, wnrl.weight_norm; assert 'normalize' in dir(wnrl)",
            True,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_torch_comes_with_the_first_name(statement, torch_comes):
    assert in_a_process(f"{statement}\nimport sys; print('torch' in sys.modules)") == [str(torch_comes)]


def test_every_class_is_pickled_by_the_name_that_stays():
    kinds = [
        kind for kind in (*api.IN_PICKLES, *(getattr(api, name) for name in api.__all__)) if isinstance(kind, type)
    ]
    assert len(kinds) == 28
    assert {kind.__module__ for kind in kinds} == {"wnrl"}


def test_pickles_need_no_api(tmp_path):
    """A pickle is loaded by a process that has not used wnrl; names from their own modules are pickled in one (its
    child) that has not imported `wnrl.api`."""
    layer = wnrl.normalizers.layer_norm.LayerNormalized.convert(torch.nn.Linear(2, 3))
    (tmp_path / "layer.pickle").write_bytes(stored := pickle.dumps(layer))
    named = {text for _, text, _ in pickletools.genops(stored) if isinstance(text, str) and text.startswith("wnrl")}
    assert named == {"wnrl"}
    code = f"""
import os, pickle, sys, torch
if not os.fork():
    from wnrl.weight_norm.dense import WeightNormLinear
    from wnrl.normalizers.layer_norm import LayerNormalized
    from wnrl.diagnostics.norms import NormDiagnostics
    print(*(kind.__module__ for kind in (WeightNormLinear, LayerNormalized, NormDiagnostics)))
    print("wnrl.api" in sys.modules)
else:
    os.wait()
    assert not any(name.startswith("wnrl") for name in sys.modules)
    print(type(pickle.load(open({str(tmp_path / "layer.pickle")!r}, "rb"))).__mro__)
"""
    out = in_a_process(code)
    assert out[:4] == ["wnrl", "wnrl", "wnrl", "False"]
    assert "'wnrl.LayerNormalized'>," in out
