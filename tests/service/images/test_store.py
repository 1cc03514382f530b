"""Image files are kept by content: the least recently used ones go, corrected ones stay."""

import os

from service.images.store import ImageStore
from tests.service.support.pages import sha256

FILES = [bytes([n]) * 1000 for n in range(6)]


def test_a_file_is_kept_until_there_is_no_room(tmp_path):
    store = ImageStore(tmp_path, 4500)
    for age, data in enumerate(FILES[:4]):
        store.add(sha256(data), data)
        os.utime(store.path(sha256(data)), (age, age))
    assert store.read(sha256(FILES[0])) == FILES[0]  # used a moment ago
    store.add(sha256(FILES[4]), FILES[4])
    kept = [store.read(sha256(data)) is not None for data in FILES[:5]]
    assert kept == [True, False, True, True, True]


def test_what_was_corrected_stays_also_for_another_process(tmp_path):
    store = ImageStore(tmp_path, 2500)
    store.add(sha256(FILES[0]), FILES[0])
    assert store.keep(sha256(FILES[0]))
    assert not store.keep(sha256(FILES[1]))  # it was never sent
    other = ImageStore(tmp_path, 2500)
    for data in FILES[1:]:
        other.add(sha256(data), data)
    assert other.read(sha256(FILES[0])) == FILES[0]
    assert other.keep(sha256(FILES[0]))
    assert other.read(sha256(FILES[1])) is None
    assert not list(tmp_path.rglob("*.part"))


def test_who_sends_very_many_files_makes_room_with_his_own(tmp_path):
    senders = {sha256(data): "ada" for data in FILES[:2]}
    store = ImageStore(tmp_path, 4500, lambda names: {n: senders.get(n, "bob") for n in names})
    for age, data in enumerate(FILES[:2]):
        store.add(sha256(data), data)
        os.utime(store.path(sha256(data)), (age, age))  # the oldest ones
    for number in range(20):
        data = bytes([100 + number]) * 1000
        store.add(sha256(data), data)
        os.utime(store.path(sha256(data)), (100 + number, 100 + number))
    assert [store.read(sha256(data)) for data in FILES[:2]] == FILES[:2]
    assert store.read(sha256(bytes([119]) * 1000)) is not None  # bob's last one
    kept = sum(file.stat().st_size for file in (tmp_path / "images/seen").glob("*/*"))
    assert 3000 <= kept <= 4500
