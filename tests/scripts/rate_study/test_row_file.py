"""rate_study.row_file: a table that is written anew with each addition, here of weights by name."""

import pytest
from rate_study.row_file import RowFile, held

from agents.training.run_lock import RunLock


class Weights(RowFile):
    def key(self, row):
        return row[0]

    def to_line(self, row):
        return {"name": row[0], "kilograms": row[1]}

    def from_line(self, line):
        return line["name"], float(line["kilograms"])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "weights.csv"


def test_rows_come_back_in_the_order_of_their_first_addition(path):
    weights = Weights(path)
    weights.add([("ant", 1e-6), ("a, quoted", 2.5)])
    weights.add([("cat", 4.0), ("ant", 2e-6)])
    assert path.read_text() == 'name,kilograms\nant,2e-06\n"a, quoted",2.5\ncat,4.0\n'
    assert (
        Weights(path).rows
        == weights.rows
        == {"ant": ("ant", 2e-6), "a, quoted": ("a, quoted", 2.5), "cat": ("cat", 4.0)}
    )


@pytest.mark.parametrize("cut", ["", "name", "name,kilograms", "name,kilograms\n", "name,kilograms\nant,1"])
def test_an_incomplete_last_line_is_no_row(path, cut):
    path.parent.mkdir()
    path.write_text(cut)
    weights = Weights(path)
    assert weights.rows == {}
    weights.add([("bee", 1e-4)])
    assert path.read_text() == "name,kilograms\nbee,0.0001\n"


@pytest.mark.parametrize(
    "content",
    [
        b"name,grams\nant,1\n",
        b"name,kilograms\nant,heavy\n",
        b"name,kilograms\nant\n",
        b"\xff\xfe\n\n",
        b"a\n" + b"x" * 200_000 + b"\n",
    ],
    ids=["columns", "number", "short", "encoding", "long"],
)
def test_other_files_are_refused_and_left_alone(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path} was made by something else: choose another folder"):
        Weights(path)
    assert path.read_bytes() == content


def test_a_path_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(ValueError, match=f"^cannot read {tmp_path}: Is a directory$"):
        Weights(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=f"^cannot write {tmp_path}/file/weights.csv: "):
        Weights(tmp_path / "file" / "weights.csv").add([("ant", 1.0)])


def test_a_folder_is_held_by_one_process(tmp_path):
    with held(tmp_path / "new" / "folder"):
        with pytest.raises(ValueError, match="is being written by"), held(tmp_path / "new" / "folder"):
            pass
        with pytest.raises(ValueError, match="is being written by"):
            RunLock(tmp_path / "new" / "folder")
    with pytest.raises(KeyboardInterrupt), held(tmp_path / "new" / "folder"):
        raise KeyboardInterrupt
    with held(tmp_path / "new" / "folder"):
        pass
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").touch()
    with (
        pytest.raises(ValueError, match=f"^cannot write the study to {tmp_path}/file: File exists$"),
        held(tmp_path / "file"),
    ):
        pass
