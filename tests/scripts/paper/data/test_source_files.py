import hashlib
from pathlib import Path

import pytest
from paper.data.source_files import Source, check_md5, damaged, missing

SOURCE = Source("Letters", "letters.gz or digits.gz", "https://example.org/letters")


def test_what_is_missing_where_it_comes_from_and_where_it_belongs():
    assert str(missing(SOURCE, Path("here"))) == (
        "Letters is not in here: get letters.gz or digits.gz from https://example.org/letters into that folder, "
        "or name another one by --data-dir (nothing is downloaded)"
    )


def test_what_is_wrong_with_a_file_and_where_it_comes_from():
    assert str(damaged(Path("here/letters.gz"), "5 bytes", SOURCE)) == (
        "here/letters.gz is truncated, damaged or another file (5 bytes): get it again from https://example.org/letters"
    )


@pytest.mark.parametrize("size", [0, 5, 2**20, 2**20 + 1])
def test_the_checksum_is_that_of_the_whole_file(size, tmp_path):
    path = tmp_path / "letters.gz"
    path.write_bytes(bytes(size))
    digest = hashlib.md5(bytes(size)).hexdigest()
    check_md5(path, digest, SOURCE)
    path.write_bytes(bytes(size) + b"x")
    with pytest.raises(ValueError, match=rf"letters.gz is .* \(its MD5 is [0-9a-f]{{32}}, published is {digest}\)"):
        check_md5(path, digest, SOURCE)


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_file_that_cannot_be_read_is_named(name, tmp_path):
    with pytest.raises(ValueError, match="cannot read "):
        check_md5(tmp_path / name, "0" * 32, SOURCE)
