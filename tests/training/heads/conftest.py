import pytest

from training.heads.posterior import gibbs, mixed_effects


@pytest.fixture
def short_chains(monkeypatch):
    """Sample posteriors briefly, in tests of something else than what they say."""
    monkeypatch.setattr(gibbs, "ROUNDS", 2)
    monkeypatch.setattr(mixed_effects, "DRAWS", 40)
