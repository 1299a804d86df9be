import functools
import pickle
import sys
from dataclasses import dataclass

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from envs.makers import Maker, describe, one_line
from tests.envs.own import Own


class Rendered(Own):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012

    def __init__(self, render_mode=None, size=1):
        self.render_mode, self.size = render_mode, size


class Broken(Own):
    def __init__(self):
        raise KeyError("no\nlevel")


class NoSpace(Own):
    observation_space = 3


def make_rendered():
    return Rendered(size=5)


@pytest.fixture
def registered():
    made = {"WnrlOwn-v0": Own, "WnrlRendered-v0": Rendered, "WnrlBroken-v0": Broken}
    for name, kind in made.items():
        gymnasium.register(name, kind)
    yield
    for name in made:
        del gymnasium.registry[name]


def test_a_render_mode_is_passed_where_it_is_set_and_taken(registered):
    assert type(Maker("WnrlOwn-v0")().unwrapped) is Own
    assert type(Maker(Own)()) is Own
    assert type(Maker(Own, render_mode="rgb_array")()) is Own
    assert type(Maker("WnrlOwn-v0", render_mode="rgb_array")().unwrapped) is Own
    assert Maker("CartPole-v1", render_mode="rgb_array")().render_mode == "rgb_array"
    assert Maker(Rendered)().render_mode is None
    assert Maker(Rendered, render_mode="rgb_array")().render_mode == "rgb_array"
    assert Maker(lambda **kwargs: Rendered(**kwargs), render_mode="rgb_array")().render_mode == "rgb_array"
    assert Maker(make_rendered, render_mode="rgb_array")().size == 5
    assert Maker("WnrlRendered-v0", render_mode="rgb_array")().unwrapped.render_mode == "rgb_array"


def installed(monkeypatch, folder, body):
    """A package for the namespace WnrlPlugin, as MinAtar is one for its own."""
    (folder / "wnrl_plugin.py").write_text(f"import gymnasium\n\n\ndef register():\n    {body}\n")
    about = folder / "wnrl_plugin-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: wnrl-plugin\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[gymnasium.envs]\nWnrlPlugin = wnrl_plugin:register\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "wnrl_plugin", raising=False)


def test_a_package_registers_what_its_namespace_has(monkeypatch, tmp_path):
    installed(monkeypatch, tmp_path, "gymnasium.register('WnrlPlugin/Own-v0', 'tests.envs.own:Own')")
    try:
        for _ in range(2):  # registered once
            assert type(Maker("WnrlPlugin/Own-v0")().unwrapped) is Own
        with pytest.raises(ValueError, match="unknown environment 'WnrlPlugin/Onw-v0': did you mean WnrlPlugin/Own-v0"):
            Maker("WnrlPlugin/Onw-v0")()
    finally:
        del gymnasium.registry["WnrlPlugin/Own-v0"]


def test_a_package_that_cannot_register(monkeypatch, tmp_path):
    installed(monkeypatch, tmp_path, "raise ImportError('no game engine')")
    with pytest.raises(ValueError, match=r"^cannot make WnrlPlugin/Own-v0: no game engine$"):
        Maker("WnrlPlugin/Own-v0")()


def test_arguments_reach_the_environment(registered):
    for source in ("WnrlRendered-v0", Rendered):
        assert Maker(source, {"size": 3})().unwrapped.size == 3
    assert Maker(functools.partial(Rendered, size=4))().size == 4


def test_each_call_makes_another():
    make = Maker(Own)
    assert make() is not make()


@pytest.mark.parametrize("source", [Broken, "WnrlBroken-v0"])
def test_an_error_of_the_constructor_is_one_line_and_the_cause(registered, source):
    with pytest.raises(ValueError, match=r"^cannot make \w*Broken(-v0)?: KeyError: 'no\\nlevel' \(test_makers.py") as e:
        Maker(source)()
    assert isinstance(e.value.__cause__, KeyError)


def test_an_exit_in_the_constructor_is_an_error_too():
    with pytest.raises(ValueError, match=r"^cannot make exit: SystemExit: 3"):
        Maker(functools.partial(sys.exit, 3))()


def test_a_missing_argument_is_named(registered):
    with pytest.raises(ValueError, match=r"^cannot make Rendered: TypeError: .*unexpected keyword argument 'colour'$"):
        Maker(Rendered, {"colour": 1})()
    with pytest.raises(ValueError, match=r"^cannot make WnrlRendered-v0: TypeError: .*argument 'colour'"):
        Maker("WnrlRendered-v0", {"colour": 1})()


def test_what_is_no_environment():
    with pytest.raises(ValueError, match=r"^<lambda> makes no gymnasium.Env but builtins.int$"):
        Maker(lambda: 3)()
    with pytest.raises(ValueError, match=r"^<lambda> makes no gymnasium.Env but gymnasium.*CartPoleVectorEnv$"):
        Maker(lambda: gymnasium.make_vec("CartPole-v1", 2))()
    with pytest.raises(ValueError, match=r"^NoSpace has no observation_space: set self.observation_space to one of"):
        Maker(NoSpace)()
    with pytest.raises(ValueError, match=r"^env must be an id, a class or a function that makes one, got 3$"):
        Maker(3)


@pytest.mark.parametrize("env", [Own(), gymnasium.make("CartPole-v1"), gymnasium.make_vec("CartPole-v1", 2)])
def test_an_object_is_refused(env):
    with pytest.raises(ValueError, match=r"^\w+ is an environment, which all would share: pass its class, or a funct"):
        Maker(env)


def test_a_module_of_the_current_folder_registers(tmp_path, monkeypatch):
    """A script's path begins with its own folder, not the current one."""
    name = "wnrl_maze_of_a_test"
    (tmp_path / f"{name}.py").write_text(
        "import gymnasium\nfrom tests.envs.own import Own\ngymnasium.register('WnrlMaze-v0', Own)\n"
    )
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != ""])
    with pytest.raises(ValueError, match=f"^cannot make {name}:WnrlMaze-v0: No module named '{name}'"):
        Maker(f"{name}:WnrlMaze-v0")()
    monkeypatch.chdir(tmp_path)
    assert type(Maker(f"{name}:WnrlMaze-v0")().unwrapped) is Own
    del gymnasium.registry["WnrlMaze-v0"], sys.modules[name]


def test_a_module_of_ones_own_may_have_the_name_of_a_game():
    assert Maker("tests.envs.own:Othello-v0").name == "tests.envs.own:Othello-v0"
    for id in ("Othello-v0", "ale_py:Othello-v0"):
        with pytest.raises(ValueError, match="is an Atari game: use --game Othello"):
            Maker(id)


@dataclass
class Unhashable(Own):
    size: int = 1


def test_environments_are_compared_by_identity():
    make = Maker(Unhashable, {"size": 3})
    one, other = make(), make()
    assert one == other
    assert one is not other
    with pytest.raises(ValueError, match="returns the same environment again"):
        [make() for make in [Maker(lambda: one)] * 2]


def test_a_pickle_holds_no_environment_that_was_made():
    make = Maker(Own, {"size": 3}, "rgb_array", warns=False)
    kept = make.source, make.kwargs, make.render_mode, make.warns
    one = Maker(Own)
    env = one()
    env.held = lambda: 0  # which cannot be pickled
    assert type(pickle.loads(pickle.dumps(one))()) is Own
    again = pickle.loads(pickle.dumps(make))
    assert (again.source, again.kwargs, again.render_mode, again.warns) == kept


def test_an_error_in_one_line():
    assert one_line("a\n  b") == "a b"
    assert describe(gymnasium.error.DependencyNotInstalled("no\nbox")) == "no box"
    assert describe(ValueError()) == "ValueError"


def test_spaces_of_an_environment_are_its_own():
    assert Maker(Own)().observation_space == spaces.Box(-1, 1, (3,), np.float32)


def test_gymnasiums_checker_comes_unless_it_is_left_out(registered):
    assert "PassiveEnvChecker" in str(Maker("WnrlOwn-v0")())
    assert "PassiveEnvChecker" not in str(Maker("WnrlOwn-v0", warns=False)())


def test_an_id_that_its_module_does_not_register():
    with pytest.raises(ValueError, match=r"^unknown environment 'tests.envs.own:CartPol-v1': did you mean CartPole-v1"):
        Maker("tests.envs.own:CartPol-v1")()
