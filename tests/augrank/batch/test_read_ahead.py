"""Files of the next batch are read while one is answered."""

import os
import threading

from augrank.batch import read_ahead as reading
from augrank.batch.job import BATCH, Item
from augrank.batch.read_ahead import read_ahead
from augrank.images.decode import DecodeLimits
from tests.support.patience import PATIENCE_S


def items(tmp_path, count):
    for number in range(count):
        (tmp_path / f"{number}.png").write_bytes(b"image %d" % number)
    return [Item(number, f"{number}.png", {}) for number in range(count)]


def test_batches_are_in_order_with_contents_and_errors(tmp_path):
    shard = items(tmp_path, 2 * BATCH + 3)
    (tmp_path / "1.png").unlink()
    shard[2] = Item(2, "2.png", {}, error="line 4: bad")
    batches = list(read_ahead(shard, tmp_path))
    assert [len(batch) for batch in batches] == [BATCH, BATCH, 3]
    read = [each for batch in batches for each in batch]
    assert [each.item for each in read] == shard
    assert read[1].error == "the file cannot be read: No such file or directory"
    assert (read[2].error, read[2].image) == ("line 4: bad", b"")
    assert [each.image for each in read[3:]] == [b"image %d" % n for n in range(3, len(shard))]


def test_the_next_batch_is_read_while_one_is_answered(tmp_path, monkeypatch):
    shard, opened = items(tmp_path, 3 * BATCH), threading.Semaphore(0)
    plain = reading.read_image

    def counted(path):
        opened.release()
        return plain(path)

    monkeypatch.setattr(reading, "read_image", counted)
    batches = read_ahead(shard, tmp_path)
    next(batches)
    assert all(opened.acquire(timeout=PATIENCE_S) for _ in range(2 * BATCH))
    assert not opened.acquire(timeout=0.05)  # not the third batch
    assert len(list(batches)) == 2


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    shard, limit = items(tmp_path, 3), DecodeLimits.size_bytes
    os.truncate(tmp_path / "0.png", limit + 1)
    os.truncate(tmp_path / "1.png", limit)
    (read,) = read_ahead(shard, tmp_path)
    assert read[0].image == b""
    assert read[0].error.startswith("the image file is too large: expected at most 26,214,400 byt")
    assert (read[1].error, len(read[1].image)) == (None, limit)
    assert (read[2].error, read[2].image) == (None, b"image 2")


def test_an_empty_shard_has_no_batch(tmp_path):
    assert list(read_ahead([], tmp_path)) == []
