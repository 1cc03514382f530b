import numpy as np
import pytest

from augrank.models.backbone import Embedding
from augrank.models.embedding_cache import OVERHEAD_BYTES, EmbeddedImage, EmbeddingCache, FileInfo

NAMES = ("original", "rotate")
FEATURES, LOGITS = 100, 6


def embedded(seed: int = 0, thumbnails: tuple[str, ...] = ()) -> EmbeddedImage:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(len(NAMES), FEATURES)).astype(np.float32)
    logits = rng.normal(size=(len(NAMES), LOGITS)).astype(np.float32)
    return EmbeddedImage(FileInfo(20, 10, "PNG"), Embedding(features, logits), thumbnails)


def test_versions_come_back_as_they_were_in_any_order():
    cache, image = EmbeddingCache(10**6), embedded()
    cache.put("a", NAMES, image)
    found = cache.get("a", ("rotate", "original"), thumbnails=False)
    assert found.info == image.info
    np.testing.assert_array_equal(found.embedding.features, image.embedding.features[::-1])
    np.testing.assert_array_equal(found.embedding.logits, image.embedding.logits[::-1])
    assert found.thumbnails == ()
    assert cache.get("a", ("original", "sketch"), thumbnails=False) is None
    assert cache.get("b", NAMES, thumbnails=False) is None


def test_thumbnails_are_there_once_they_were_made():
    cache = EmbeddingCache(10**6)
    cache.put("a", NAMES, embedded())
    assert cache.get("a", NAMES, thumbnails=True) is None
    cache.put("a", NAMES, embedded(thumbnails=("one", "two")))
    assert cache.get("a", NAMES[1:], thumbnails=True).thumbnails == ("two",)
    cache.put("a", NAMES, embedded())  # asked without: those that are known stay
    assert cache.get("a", NAMES, thumbnails=True).thumbnails == ("one", "two")


def test_the_memory_is_bounded_and_the_least_recently_used_goes_first():
    arrays = len(NAMES) * 4 * (FEATURES + LOGITS)
    size = arrays + OVERHEAD_BYTES * (1 + len(NAMES))
    cache = EmbeddingCache(2 * size)
    for seed, name in enumerate("ab"):
        cache.put(name, NAMES, embedded(seed))
    assert cache.used_bytes == 2 * size
    assert cache.get("a", NAMES, thumbnails=False)
    cache.put("c", NAMES, embedded(2))
    kept = {name for name in "abc" if cache.get(name, NAMES, thumbnails=False)}
    assert kept == {"a", "c"}
    assert cache.used_bytes == 2 * size
    cache.clear()
    assert cache.used_bytes == 0


@pytest.mark.parametrize("size", [0, 100])
def test_what_does_not_fit_is_not_kept(size):
    cache = EmbeddingCache(size)
    cache.put("a", NAMES, embedded())
    assert cache.get("a", NAMES, thumbnails=False) is None
    assert cache.used_bytes == 0
