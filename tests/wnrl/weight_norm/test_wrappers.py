"""wnrl.weight_norm.wrappers: the names of wrapped networks."""

import pytest
from torch import nn

from wnrl.weight_norm.wrappers import register_stripping, strip_wrappers, unregister_stripping, unwrapped


@pytest.mark.parametrize(
    ("children", "prefix", "before", "after"),
    [
        ([], "", ["module.0.g", "module._orig_mod"], ["0.g", "_orig_mod"]),
        ([], "", ["_orig_mod.module.0.g", "n"], ["0.g", "n"]),
        ([], "a.", ["a.module.0", "module.0"], ["a.0", "module.0"]),
        ([], "", ["modules.0", "x.module.0"], ["modules.0", "x.module.0"]),
        (["module"], "", ["module.0", "_orig_mod.1"], ["module.0", "1"]),
        ([], "", ["module.0", "0"], ["module.0", "0"]),  # both: which is meant is not known
    ],
)
def test_names_are_stripped(children, prefix, before, after):
    module, state = nn.Module(), {name: index for index, name in enumerate(before)}
    for child in children:
        module.add_module(child, nn.Identity())
    strip_wrappers(module, state, prefix)
    assert state == {name: index for index, name in enumerate(after)}


def test_names_of_modules():
    assert [unwrapped(name) for name in ("", "0", "module.0._orig_mod", "_orig_mod")] == ["", "0", "0", ""]


def test_it_is_registered_once_and_other_hooks_stay():
    module = nn.Linear(1, 1)
    module.register_load_state_dict_pre_hook(lambda *_: None)
    register_stripping(module)
    register_stripping(module)
    assert len(module._load_state_dict_pre_hooks) == 2
    module.load_state_dict({"module.weight": module.weight, "module.bias": module.bias})
    unregister_stripping(module)
    assert len(module._load_state_dict_pre_hooks) == 1
    with pytest.raises(RuntimeError, match="Missing key"):
        module.load_state_dict({"module.weight": module.weight, "module.bias": module.bias})
