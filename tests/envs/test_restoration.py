import enum
import json
import re
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from envs.restoration import restore
from envs.snapshots import capture
from envs.stream import StateError
from tests.envs.hidden import Holder, Nested, Piece, holder, through


class Mood(enum.Enum):
    CALM, WILD = 1, 2


def test_what_is_shared_stays_shared():
    board, rng = np.zeros(3), np.random.default_rng(0)
    row = [board]
    row.append(row)
    env = holder(board=board, row=row, rows=(row, row), rng=rng)
    env.inner.rng, env.inner.place, env.inner.owner = rng, board, env
    other = Holder(fresh={"board": np.ones(3), "row": [], "rows": (), "rng": np.random.default_rng(1)})
    other.inner.rng, other.inner.place, other.inner.owner = np.random.default_rng(2), np.ones(3), other
    restore([other], capture([env]), [0])
    assert other.row[0] is other.board is other.inner.place is not board
    assert other.rows[0] is other.rows[1] is other.row is other.row[1]
    assert other.rng is other.inner.rng is not rng
    assert other.inner.owner is other


def test_what_several_environments_share_stays_shared():
    shared = [1]
    envs, others = [holder(value=shared), holder(value=shared)], [Holder(fresh={"value": []}) for _ in range(2)]
    restore(others, capture(envs), [0, 0])
    assert others[0].value is others[1].value == [1]
    assert others[0].value is not shared


def test_attributes_of_all_moments_fit():
    """None for data and back; of the kind after the reset; enumerations; what is gone is removed."""
    env = holder(left=5, right=[1], mood=Mood.WILD)
    other = through(env, left=None, right=None, mood=Mood.CALM, late=3)
    assert (other.left, other.right, other.mood) == (5, [1], Mood.WILD)
    assert not hasattr(other, "late")
    assert through(holder(left=3), left=(1, 2)).left == 3  # a number after the reset, a tuple after a step
    assert through(holder(right=None), right=np.zeros(2)).right is None


def test_what_does_not_change_is_left_alone():
    fixed = {"of": len, "kind": int, "space": spaces.Discrete(3), "module": json, "path": Path("a"), "range": range(3)}
    other = through(holder(value=fixed, **fixed), value=dict(fixed), **fixed)
    assert all(vars(other)[name] is fixed[name] is other.value[name] for name in fixed)


class Other:
    """Another kind of object."""


STATES = [
    ({"extra": 1}, {}, "Holder has no 'extra'"),
    ({"trap": 1}, {}, "Holder has no 'trap'"),
    ({"value": [1]}, {"value": 1}, "Holder.value is of another kind"),
    ({"value": 1}, {"value": "a"}, "Holder.value is of another kind"),
    ({"value": np.zeros(3)}, {"value": np.zeros(4)}, "Holder.value is of another kind"),
    ({"value": np.zeros(3)}, {"value": np.zeros(3, np.float32)}, "Holder.value is of another kind"),
    ({"value": np.zeros(3)}, {"value": len}, "Holder.value is of another kind"),
    ({"value": None}, {"value": len}, "Holder.value is of another kind"),
    ({"value": None}, {"value": Other()}, "Holder.value is of another kind"),
    ({"value": Other()}, {"value": None}, "Holder.value is of another kind"),
    ({"value": Other()}, {"value": Piece(None)}, "Holder.value is of another kind"),
    ({"value": [(1, [2])] * 2}, {"value": 1}, "Holder.value is of another kind"),
    ({"value": [Other()]}, {"value": []}, "where the environment has another thing"),
    ({"value": [len]}, {"value": [max]}, "where the environment has another thing"),
    ({"value": len}, {"value": max}, "Holder.value is of another kind"),
    ({"value": Mood.WILD}, {"value": None}, "Holder.value is of another kind"),
    ({"value": deque(maxlen=2)}, {"value": deque(maxlen=3)}, "Holder.value is of another kind"),
    ({}, {"value": len}, "it has no Holder.value"),
    ({}, {"value": Other()}, "it has no Holder.value"),
]


@pytest.mark.parametrize(("saved", "there", "message"), STATES)
def test_a_state_of_another_environment_is_refused(saved, there, message):
    other = Holder(fresh=there)
    with pytest.raises(StateError, match=re.escape(message)):
        restore([other], capture([holder(**saved, left=7)]), [0])
    assert other.left == 0
    assert all(vars(other)[name] is value for name, value in there.items())


def test_objects_that_are_shared_otherwise_are_refused():
    one = Other()
    for saved, there in (([one, one], [Other(), Other()]), ([Other(), Other()], [one, one])):
        with pytest.raises(StateError, match=r"shares a Other|has another thing"):
            restore([Holder(fresh={"value": there})], capture([holder(value=saved)]), [0])


def test_states_of_other_numbers_of_environments_are_refused():
    with pytest.raises(StateError, match="of 1 environments, these are 2"):
        restore([Holder(), Holder()], capture([holder()]), [0, 0])


def forged(value, data, more):
    """A state of a `Holder` whose attribute `value` is that node, and which has these nodes more, the last as NEXT."""
    state = capture([holder(value=[])])
    tree = json.loads(state["tree"].tobytes())
    (number,) = tree["roots"][0]
    tree["nodes"][number][2]["value"] = value
    tree["nodes"] += more
    text = json.dumps(tree).encode().replace(b'"NEXT"', str(len(tree["nodes"]) - 1).encode())
    return {"tree": np.frombuffer(text, np.uint8), "data": np.frombuffer(data, np.uint8)}


HOSTILE = [
    ["a", "<f8", [-1], "C", 0],
    ["a", "<f8", [1], "C", -8],
    ["a", "<f8", [100], "C", 0],
    ["a", "<f8", [2**62, 8], "C", 0],
    ["a", "|O8", [1], "C", 0],
    ["a", "V8", [1], "C", 0],
    ["a", "<f8", [1], "Z", 0],
    ["a", "<f8", [True], "C", 0],
    ["q", -1, []],
    ["d", [["t", [[0]]]], [1]],
    ["s", [[0]]],
    ["g", {"bit_generator": "os"}, None],
    ["g", ["t", []], None],
    ["g", ["t", []], ["t", [1, ["t", []], 10**10, 0]]],
    ["r", ["t", [3, ["t", []], None]]],
    ["o", "os.system", {}],
    ["o", "tests.envs.hidden.Piece", {}],
    ["x", "system"],
    ["e", "tests.envs.test_restoration.Mood", "__class__"],
    ["ts", [[[1]]]],
    ["ts", [1]],
    ["nothing"],
    [],
    None,
    {"a": 1},
    "text",
    5,
]


@pytest.mark.parametrize("node", HOSTILE, ids=str)
def test_forged_nodes_are_refused(node):
    for value in (["NEXT"], node):
        if value == node and (node is None or type(node) in (str, int)):
            continue
        other = Holder(fresh={"value": []})
        with pytest.raises(StateError):
            restore([other], forged(value, bytes(16), more=[node]), [0])
        assert other.value == []


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", bytes([255]), b'{"nodes":1,"roots":2}', b"[" * 100_000, b"9" * 5000]
)
def test_texts_that_are_no_state_are_refused(text):
    with pytest.raises(StateError):
        restore([Holder()], {"tree": np.frombuffer(text, np.uint8), "data": np.zeros(0, np.uint8)}, [0])


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"tree": np.zeros(3, np.uint8)},
        {"tree": "text", "data": np.zeros(0, np.uint8)},
        {"tree": np.zeros((1, 1), np.uint8), "data": np.zeros(0, np.uint8)},
        {"tree": np.zeros(3, np.int64), "data": np.zeros(0, np.uint8)},
        {"tree": np.zeros(2**23 + 1, np.uint8), "data": np.zeros(0, np.uint8)},
    ],
)
def test_arrays_that_are_no_state_are_refused(state):
    with pytest.raises(StateError, match=r"(tree|data) must be uint8 of at most"):
        restore([Holder()], state, [0])


def test_arrays_are_not_larger_together_than_the_data():
    array = ["a", "|u1", [1000], "C", 0]
    first = len(json.loads(capture([holder(value=[])])["tree"].tobytes())["nodes"])
    state = forged(["NEXT"], bytes(1000), [array, array, ["l", [[first], [first + 1]]]])
    with pytest.raises(StateError, match="its arrays are larger than its data"):
        restore([Holder(fresh={"value": []})], state, [0])


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.Philox])
def test_generators_that_would_read_beyond_their_numbers_are_refused(bits):
    env = holder(value=np.random.Generator(bits(0)))
    state = capture([env])
    text = state["tree"].tobytes()
    forged = text.replace(b",623]]", b",9999]]").replace(b",4,0,0]", b",-9,0,0]")
    assert forged != text
    state["tree"] = np.frombuffer(forged, np.uint8)
    with pytest.raises(StateError, match="beyond its numbers"):
        restore([Holder(fresh={"value": np.random.default_rng()})], state, [0])


def test_changed_bytes_are_refused_or_are_a_state_of_the_same_kinds():
    """Thousands of states with random changes."""
    env = Nested()
    env.reset(seed=0)
    for _ in range(5):
        env.step(1)
    state, rng, refused = capture([env]), np.random.default_rng(0), 0
    kinds = {name: type(value) for name, value in vars(env).items()}
    other, signs = Nested(), np.frombuffer(b'[]{},"0-e', np.uint8)
    for _ in range(1500):
        changed = {name: array.copy() for name, array in state.items()}
        tree = changed["tree"]
        for _ in range(rng.integers(1, 4)):
            place, other_place = rng.integers(len(tree), size=2)
            tree[place] = tree[other_place] if rng.random() < 0.7 else rng.choice(signs)
        try:
            restore([other], changed, [0])
        except StateError as error:
            refused += "\n" not in str(error)
        assert vars(other).keys() <= kinds.keys()
        assert type(other.game) is kinds["game"]
        assert callable(other.step)
    assert refused > 1000
    restore([other], state, [0])
    np.testing.assert_array_equal(other.step(1)[0], env.step(1)[0])
