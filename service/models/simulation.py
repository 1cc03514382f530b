"""How often the gate promotes, and whom: simulated, so that its rule can be judged.

    python -m service.models.simulation --runs 1000

A live model that is right in 90 % of the images, and candidates that disagree with it on 6 to 10 %
of them, over ten advertisers and twelve classes.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from service.models.gate import GateSettings, judge_paired
from service.models.paired import Paired


@dataclass(frozen=True)
class World:
    """What is true.

    Attributes:
        better: how much better each candidate is, in 0 to 1.
        disagreement: share of images on which only one of the two models is right.
        images: of the test sets.
        live: accuracy of the live model.
        advertisers: that share the images.
        classes: that share the images.
        losses: how much better the first candidate is for an advertiser instead, by number.
    """

    better: tuple[float, ...]
    disagreement: float = 0.07
    images: int = 2000
    live: float = 0.9
    advertisers: int = 10
    classes: int = 12
    losses: dict[int, float] = field(default_factory=dict)

    def draw(self, rng: np.random.Generator) -> Paired:
        """Draw the answers of all models."""
        live = rng.random(self.images) < self.live
        advertiser = rng.integers(0, self.advertisers, self.images)
        classes = rng.integers(0, self.classes, self.images)
        right = []
        for number, better in enumerate(self.better):
            own = np.full(self.images, better)
            for who, other in self.losses.items() if number == 0 else ():
                own[advertiser == who] = other
            spread = np.maximum(self.disagreement, np.abs(own))
            lost, won = (spread - own) / 2 / self.live, (spread + own) / 2 / (1 - self.live)
            chance = rng.random(self.images)
            right.append(np.where(live, chance >= lost, chance < won))
        groups = {
            ("advertiser", f"advertiser {n}"): advertiser == n for n in range(self.advertisers)
        }
        groups |= {("class", f"class {n}"): classes == n for n in range(self.classes)}
        names = tuple(f"candidate {n}" for n in range(len(self.better)))
        return Paired(np.arange(self.images), live, np.array(right).T, names, groups)


@dataclass(frozen=True)
class Outcome:
    """How often things happened, as shares of the runs.

    Attributes:
        promoted: some candidate.
        first: the first one.
        blocked: the first one, by an advertiser or a class.
        covered: every candidate is at least as much better as was claimed.
        runs: number.
    """

    promoted: float
    first: float
    blocked: float
    covered: float
    runs: int


def simulate(
    world: World, runs: int, settings: GateSettings = GateSettings(flips=1000), seed: int = 0
) -> Outcome:
    """Let the gate judge again and again."""
    rng = np.random.default_rng(seed)
    promoted, first, blocked, covered = [], [], [], []
    for _ in range(runs):
        result = judge_paired(world.draw(rng), settings)
        promoted.append(result.chosen is not None)
        first.append(result.chosen == "candidate 0")
        blocked.append(any(group.blocks for group in result.candidates[0].groups))
        pairs = zip(result.candidates, world.better, strict=True)
        covered.append(all(each.at_least <= better + 1e-12 for each, better in pairs))
    shares = [float(np.mean(each)) for each in (promoted, first, blocked, covered)]
    return Outcome(shares[0], shares[1], shares[2], shares[3], runs)


WORLDS: dict[str, World] = {
    "2 points worse": World((-0.02,)),
    "as good": World((0.0,)),
    "2 points better, 6 % disagree": World((0.02,), 0.06),
    "2 points better, 7 % disagree": World((0.02,), 0.07),
    "2 points better, 8 % disagree": World((0.02,), 0.08),
    "2 points better, 10 % disagree": World((0.02,), 0.10),
    "eight, all as good": World((0.0,) * 8),
    "eight, all 2 points worse": World((-0.02,) * 8),
    "eight, one 2 points better": World((0.02, *(0.0,) * 7)),
    "eight, all 2 points better": World((0.02,) * 8),
    "1 point better": World((0.01,)),
    "3 better, an advertiser of 200 loses 5": World((0.03,), losses={0: -0.05}),
    "3 better, one of 667 loses 5": World((0.03,), advertisers=3, losses={0: -0.05}),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Simulate the gate.")
    parser.add_argument("--runs", type=int, default=300)
    runs = parser.parse_args(arguments).runs
    print(f"{'truth':40} promoted  blocked  at least as claimed")
    for name, world in WORLDS.items():
        told = simulate(world, runs)
        print(f"{name:40} {told.promoted:8.1%} {told.blocked:8.1%} {told.covered:8.1%}")


if __name__ == "__main__":
    main()
