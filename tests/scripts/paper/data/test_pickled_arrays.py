import array
import os
import pickle

import numpy as np
import pytest
from paper.data.pickled_arrays import read_pickle


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("values", [np.arange(12).reshape(3, 4), np.arange(12).reshape(4, 3).T])
def test_arrays_of_bytes_come_back(values, protocol):
    values = values.astype(np.uint8)
    found = read_pickle(pickle.dumps({"data": values, "labels": [3, 1], "name": "batch"}, protocol))
    assert (found["labels"], found["name"]) == ([3, 1], "batch")
    assert (found["data"].dtype, found["data"].shape) == (np.uint8, values.shape)
    assert (found["data"] == values).all()


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.float32, bool, object, "U3", "u1,u1"])
def test_other_arrays_are_refused(kind):
    with pytest.raises(ValueError, match=r"it has an array of '.*', not of bytes"):
        read_pickle(pickle.dumps({"data": np.zeros(2, kind)}, 2))


def test_a_shape_that_does_not_fit_is_refused():
    data = pickle.dumps({"data": np.zeros(5, np.uint8)}, 2)
    for shape in (4, 6, 255):
        changed = data.replace(b"K\x05\x85", bytes([75, shape, 0x85]))
        assert changed != data
        with pytest.raises(ValueError, match="does not fit its data"):
            read_pickle(changed)


def test_names_of_numpy_1_are_known():
    data = pickle.dumps({0: np.arange(3, dtype=np.uint8)}, 2)
    data = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert b"cnumpy.core.multiarray" in data
    assert read_pickle(data)[0].tolist() == [0, 1, 2]


def test_python_2s_strings_come_as_bytes():
    assert read_pickle(b"(dp0\nS'label'\np1\nI7\ns.") == {b"label": 7}


class Runs:
    """What it names is called by an ordinary unpickler."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "value",
    [
        Runs(os.system, "touch hostile"),
        Runs(eval, "open('hostile', 'w')"),
        Runs(np.fromfile, "/etc/hostname"),
        Runs(getattr, "text", "upper"),
        array.array("b", [1]),
        np.float64(1.0),
    ],
)
def test_nothing_that_a_pickle_names_is_run(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"it names .*, which an array of bytes does not need"):
        read_pickle(pickle.dumps({b"data": value}))
    assert list(tmp_path.iterdir()) == []


def test_text_is_decoded_by_no_other_codec():
    with pytest.raises(ValueError, match="text in zlib"):
        read_pickle(b"c_codecs\nencode\n(Vx\nVzlib\ntR.")


def test_every_truncated_pickle_is_refused():
    data = pickle.dumps({b"data": np.zeros((2, 3), np.uint8), b"labels": [0, 1]}, 2)
    for end in range(len(data)):
        with pytest.raises(ValueError, match="not a pickle of a dict"):
            read_pickle(data[:end])


def test_damaged_pickles_are_refused_or_give_a_value():
    """Whatever a changed byte makes of it, the only error is ValueError."""
    data = bytearray(pickle.dumps({b"data": np.zeros((2, 3), np.uint8), b"labels": [0, 1]}, 2))
    refused = 0
    for place in range(len(data)):
        for value in (0, 40, 99, 255):
            changed = data[:place] + bytes([value]) + data[place + 1 :]
            try:
                read_pickle(bytes(changed))
            except ValueError:
                refused += 1
    assert refused > len(data)


def test_flags_of_a_type_do_not_reach_numpy():
    """With this one NumPy takes bytes for addresses of objects."""
    data = pickle.dumps({"data": np.zeros(8, np.uint8)}, 2)
    flags = data.rindex(b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00") + 10
    found = read_pickle(data[:flags] + b"K\x3f" + data[flags + 2 :])
    assert (found["data"].dtype.hasobject, found["data"].tolist()) == (False, [0] * 8)
