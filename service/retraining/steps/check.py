"""Look at the fixes before they are learned from: sizes, copies, conflicts, likely errors.

The labels are judged as ``training audit`` does, by confident learning on features of the live
model: each image by classifiers that have not seen it, nor other copies of its picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augrank.arrays import Float32Array
from augrank.errors import AugrankError
from augrank.files import read_json, write_json
from augrank.images.decode import DecodeLimits
from augrank.images.look import Look
from augrank.tasks.classify.pipeline import Classifier
from augrank.tasks.classify.request import Request
from service.images.pictures import SeenImage
from service.retraining.data.dataset import TRAIN, Row, file_name, read_rows, without_fixes
from service.retraining.data.looks import Looks, same_picture_as, seen_image
from service.retraining.filters import DUPLICATE, UNLIKELY, Item, Reason, reasons_of

MOST_COMPARED = 4000  # pictures of the dataset that labels are judged beside
CHUNK = 32  # images that are embedded together
REQUEST, RESULT, LOOKS = "check.request.json", "check.json", "items.npz"


def run(folder: Path) -> None:
    """Write check.json and items.npz from check.request.json.

    Args:
        folder: of the job.
    """
    asked = read_json(folder / REQUEST)
    rows, looks = _dataset(asked)
    items, seen, leaked = _items(asked, rows, looks)
    rows = [row for row in rows if row.picture not in leaked]
    reasons = reasons_of(items, rows, asked["min_side"])
    told = dict[int, dict[str, Any]]()
    if asked["bundle"]:
        judge = _Judge(Path(asked["bundle"]), asked["threads"])
        files = {each["sha256"]: Path(each["file"]) for each in asked["items"] if each["file"]}
        told = judge.tell(items, files)
        good = [item for item in items if _worth_judging(reasons[item.id])]
        images = Path(asked["images"])
        for item, reason in judge.unlikely(good, files, rows, images):
            reasons[item.id].append(reason)
    write_looks(folder / LOOKS, seen)
    content = [
        {"id": each.id, "shows": each.shows, "reasons": reasons[each.id],
         "told": told.get(each.id, {})}
        for each in items
    ]  # fmt: skip
    write_json(folder / RESULT, {"items": content, "leaked": sorted(leaked)})


def write_looks(file: Path, seen: Mapping[str, SeenImage]) -> None:
    """Write the looks of images, by sha256."""
    Looks.of([seen[digest].look for digest in sorted(seen)]).write(file)
    write_json(file.with_suffix(".json"), {"images": sorted(seen)})


def read_looks(file: Path) -> dict[str, Look]:
    """Read what ``write_looks`` wrote."""
    digests = read_json(file.with_suffix(".json"))["images"]
    return dict(zip(digests, Looks.read(file).each(), strict=True))


def _dataset(asked: Mapping[str, Any]) -> tuple[list[Row], list[Look]]:
    if not asked["dataset"]:
        return [], []
    folder = Path(asked["dataset"])
    rows, _ = without_fixes(read_rows(folder / "rows.jsonl"), set(asked["holding"]))
    return rows, Looks.read(folder / "looks.npz").each()


def _items(
    asked: Mapping[str, Any], rows: Sequence[Row], looks: Sequence[Look]
) -> tuple[list[Item], dict[str, SeenImage], set[str]]:
    """Decode the items' images, and find what shows the same.

    What shows the same as a test picture is of its row, and is no row for training any more: that
    they are one picture may be known only since another file has come that looks like both.
    """
    limits, seen = DecodeLimits(), dict[str, SeenImage]()
    for each in asked["items"]:
        if each["file"] and each["sha256"] not in seen:
            image = seen_image(each["sha256"], Path(each["file"]), limits)
            if isinstance(image, SeenImage):
                seen[each["sha256"]] = image
    by_fix = sorted(asked["items"], key=lambda each: each["fix_id"])
    new = list(dict.fromkeys(each["sha256"] for each in by_fix if each["sha256"] in seen))
    digests = [*(row.picture for row in rows), *new]
    every = [*looks, *(seen[digest].look for digest in new)]
    first = same_picture_as(digests, every, asked["pictures"])
    tested = dict[int, int]()  # by the first place of a picture: that of its test row
    for place, row in enumerate(rows):
        if row.set != TRAIN:
            tested.setdefault(first[place], place)
    places = first[len(rows) :]
    shows = {
        digest: digests[tested.get(place, place)] for digest, place in zip(new, places, strict=True)
    }
    leaked = {
        row.picture
        for row, place in zip(rows, first, strict=False)
        if row.set == TRAIN and place in tested
    }
    items = [
        Item(
            **{name: each[name] for name in ("id", "fix_id", "sha256", "advertiser", "label",
                                             "value")},
            size=_size(seen.get(each["sha256"])),
            shows=shows.get(each["sha256"], each["sha256"]),
        )
        for each in by_fix
    ]  # fmt: skip
    return items, seen, leaked


def _size(image: SeenImage | None) -> tuple[int, int] | None:
    return (image.width, image.height) if image is not None else None


def _worth_judging(reasons: Sequence[Reason]) -> bool:
    """Return whether an item would be learned from, as far as the other filters know."""
    return not any(reason["kind"] in ("unreadable", "small", DUPLICATE) for reason in reasons)


@dataclass(frozen=True)
class _Example:
    """An image with a class, for the out-of-fold check; of the dataset, or of an item."""

    file: Path
    value: str
    picture: str
    item: Item | None = None


class _Judge:
    """The live model, which embeds images and tells their labels."""

    def __init__(self, bundle: Path, threads: int) -> None:
        self._model = Classifier.load(bundle, threads=threads)
        self._features: dict[Path, Float32Array] = {}

    def tell(self, items: Sequence[Item], files: Mapping[str, Path]) -> dict[int, dict[str, Any]]:
        """Return the model's answer for each item."""
        told = dict[int, dict[str, Any]]()
        known = [item for item in items if item.size and item.sha256 in files]
        for start in range(0, len(known), CHUNK):
            part = known[start : start + CHUNK]
            data = tuple(files[item.sha256].read_bytes() for item in part)
            (answer,) = self._model.classify_batch([Request(data)])
            if isinstance(answer, AugrankError):
                raise answer
            for item, image in zip(part, answer.images, strict=True):
                if item.label in image.labels:
                    label = image.labels[item.label]
                    told[item.id] = {"value": label.value, "probability": label.probability}
        return told

    def unlikely(
        self,
        items: Sequence[Item],
        files: Mapping[str, Path],
        rows: Sequence[Row],
        images: Path,
    ) -> list[tuple[Item, Reason]]:
        """Return the items whose label is likely wrong, with the one that is likely right."""
        found = []
        for label in sorted({item.label for item in items}):
            own = [item for item in items if item.label == label]
            examples = [_Example(files[item.sha256], item.value, item.shows, item) for item in own]
            shown = {item.shows for item in own}
            known = [
                row for row in rows
                if row.set == TRAIN and label in row.labels and row.picture not in shown
            ]  # fmt: skip
            step = max(1, -(-len(known) // MOST_COMPARED))
            examples += [
                _Example(images / file_name(row.sha256), row.labels[label], row.picture)
                for row in known[::step]
            ]
            found += self._errors(label, examples)
        return found

    def _errors(self, name: str, examples: Sequence[_Example]) -> list[tuple[Item, Reason]]:
        from training.audit.issues import label_errors
        from training.data.labels import Label

        features = self._embed([each.file for each in examples])
        examples = [each for each in examples if each.file in features]
        classes, value = np.unique([each.value for each in examples], return_inverse=True)
        if len(classes) < 2:
            return []
        _, group = np.unique([each.picture for each in examples], return_inverse=True)
        places = np.arange(len(examples))
        issues = label_errors(
            Label(name, tuple(map(str, classes)), value.astype(np.int64)),
            places,
            [str(place) for place in places],
            np.concatenate([features[each.file] for each in examples]),
            group.astype(np.int64),
        )
        found = []
        for issue in issues:
            item = examples[int(issue.path)].item
            if item is not None:
                reason = {"kind": UNLIKELY, "value": issue.proposed,
                          "probability": issue.confidence}  # fmt: skip
                found.append((item, reason))
        return found

    def _embed(self, files: Sequence[Path]) -> dict[Path, Float32Array]:
        """Return the features, (1, F), of the files that can be read."""
        missing = [file for file in dict.fromkeys(files) if file not in self._features]
        for start in range(0, len(missing), CHUNK):
            part = {
                str(file): file.read_bytes()
                for file in missing[start : start + CHUNK]
                if file.is_file()
            }
            for name, image in self._model.embedder(part).images.items():
                if not isinstance(image, AugrankError):
                    self._features[Path(name)] = image.embedding.features.reshape(1, -1)
        return {file: self._features[file] for file in files if file in self._features}
