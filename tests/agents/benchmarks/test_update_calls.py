"""agents.benchmarks.update_calls: what is counted, on files made for it, and on agents."""

import importlib.util
import sys

import pytest

from agents.benchmarks.update_calls import call_line, calls_table, record_calls, sizes, update_calls

FIRST = """
import second

def outer():
    doubled = [second.double(x) for x in (1, 2)]
    return inner(doubled)

def inner(values):
    return sorted(values, key=lambda x: second.double(x))

def raises():
    try:
        second.fails()
    except ValueError:
        return inner([1])
"""
SECOND = """
def double(x):
    return 2 * x

def fails():
    raise ValueError
"""


@pytest.fixture
def first(tmp_path, monkeypatch):
    for name, source in (("second", SECOND), ("first", FIRST)):
        (tmp_path / f"{name}.py").write_text(source)
        spec = importlib.util.spec_from_file_location(name, tmp_path / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
    return module


def names(calls):
    return [(call.depth, call.code.co_name) for call in calls]


def test_calls_of_the_folders_files_are_counted_and_no_others(first, tmp_path):
    calls = record_calls(first.outer, [str(tmp_path)])
    leaf = [(3, "<lambda>"), (4, "double")]
    assert names(calls) == [(1, "outer"), (2, "double"), (2, "double"), (2, "inner"), *leaf, *leaf]
    assert [call.jump for call in calls] == [False, True, True, False, False, True, False, True]
    assert sizes(calls) == {"depth": 4, "files": 2, "functions": 4, "jumps": 4, "calls": 8}
    elsewhere = record_calls(first.outer, [str(tmp_path / "second")])
    assert sizes(elsewhere) == {"depth": 1, "files": 1, "functions": 1, "jumps": 0, "calls": 4}


def test_a_function_left_by_an_error_is_left(first, tmp_path):
    assert names(record_calls(first.raises, [str(tmp_path)]))[:3] == [(1, "raises"), (2, "fails"), (2, "inner")]


def test_the_profile_function_before_is_there_after(first):
    def fails():
        raise KeyError

    before = sys.getprofile()
    record_calls(first.outer)
    with pytest.raises(KeyError):
        record_calls(fails)
    assert sys.getprofile() is before


@pytest.mark.parametrize("agent", ["dqn", "pqn", "ppo"])
def test_an_update_is_what_learn_calls_when_it_makes_one(agent):
    figures = update_calls(
        agent, "CartPole-v1", norm="weight", preset="fast", device="cpu", precision="float32", updates=3
    )
    assert len(figures["updates"]) == 3
    lines = figures["calls"]
    assert lines[0].endswith(" learn")
    assert sum(not line.startswith(" ") for line in lines) == 1
    assert any("wnrl/weight_norm/formula.py" in line for line in lines)
    assert len(lines) == sorted(figures["updates"], key=lambda row: row["jumps"])[1]["calls"]
    table = calls_table(figures, tree=False)
    assert f"{figures['median']['jumps']:10.0f}" in table
    assert lines[1] not in table
    assert calls_table(figures, tree=True).splitlines()[1] == lines[1]


def test_lines_say_where_a_function_stands():
    from envs import games

    (call, *_) = record_calls(lambda: games.rom_id("Pong"))
    assert call_line(call).startswith("envs/games.py:")
