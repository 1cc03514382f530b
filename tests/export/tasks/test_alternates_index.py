import csv
import json

import numpy as np

from export.run_reader import load_run


def test_the_alternates_index_describes_the_whole_catalogue(tiny_run, tiny_export):
    rows = json.loads((tiny_export.bundle / "alternates/attributes.json").read_text())
    with (tiny_run.run / "catalogue.csv").open() as stream:
        catalogue = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == [row["relative_im_path"] for row in catalogue]
    features = np.load(tiny_export.bundle / "alternates/features-fp32.npy", allow_pickle=False)
    reference = load_run(tiny_run.run).reference()
    row = [row["path"] for row in rows].index(reference.paths[0])
    assert np.allclose(features[row], reference.features[0, 0], atol=1e-3)
