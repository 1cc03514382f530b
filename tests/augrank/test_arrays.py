import pickle

import numpy as np
import pytest

from augrank.arrays import read_arrays


def test_arrays_are_read_by_name(tmp_path):
    np.savez(tmp_path / "a.npz", one=np.arange(3), two=np.float32(0.5))
    found = read_arrays(tmp_path / "a.npz")
    assert set(found) == {"one", "two"}
    assert found["one"].tolist() == [0, 1, 2]
    assert found["two"] == 0.5


def test_what_is_no_archive_is_said_without_advice_to_load_a_pickle(tmp_path):
    file = tmp_path / "a.npz"
    for content in (b"", b"text", pickle.dumps([1])):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"^no archive of arrays \(\.npz\)$"):
            read_arrays(file)
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none.npz")


def test_damaged_and_pickled_arrays_are_refused(tmp_path):
    file = tmp_path / "a.npz"
    np.savez(file, one=np.arange(1000))
    content = bytearray(file.read_bytes())
    content[500] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="a damaged archive of arrays: Bad CRC-32"):
        read_arrays(file)
    np.savez(file, one=np.array([{}], object))
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        read_arrays(file)
