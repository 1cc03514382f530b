"""Manifests with the columns that the source documents describe."""

import pandas as pd
import pytest

from augrank.errors import DataError
from augrank.models.targets import resolve_target
from simulation.engagement import CAMPAIGN_TYPES, INDUSTRIES
from tests.training.data.manifest.manifests import NAMES, read
from training.data.manifest.context import context_columns, encode_context, find_context
from training.data.manifest.manifest import attribute_columns
from training.data.manifest.targets import find_targets, outcomes


def sneakers() -> pd.DataFrame:
    """Two sneakers in six versions, with the columns of "Data Augmentation Model"."""
    rows = range(12)
    return pd.DataFrame(
        {
            "relative_im_path": [f"images/{row:03d}.png" for row in rows],
            "shoe_brand": ["Velmora" if row < 6 else "Tarkin" for row in rows],
            "shoe_gender": ["men", "men", "men", "men", "men", "men", *["girl"] * 6],
            "shoe_name": ["Aero" if row < 6 else "Mile" for row in rows],
            "augment_label": [row % 6 for row in rows],
            "open_rate": [int(row % 6 in (0, 3)) for row in rows],
            "click_through": [int(row % 6 in (0, 3)) for row in rows],
            "abandoned_cart": [row % 2 for row in rows],
            "unsubscribed": [int(row % 6 == 1) for row in rows],
            "campaign_type": [CAMPAIGN_TYPES[row % 9] for row in rows],
            "industry": [INDUSTRIES[row] for row in rows],
        }
    )


def test_a_sneaker_manifest_needs_no_mapping(folder):
    manifest = read(folder, sneakers())
    labels = ["brighter", "darker", "original", "rotate", "sketch", "swivel"]
    assert [NAMES[label] for label in manifest.label] == labels * 2
    assert (manifest.applied == 0).all()  # the files have been augmented already
    assert manifest.originals == ("images/002.png", "images/008.png")
    assert manifest.original.tolist() == [0] * 6 + [1] * 6
    assert find_targets(manifest.frame) == (
        "open_rate", "click_through", "abandoned_cart", "unsubscribed"
    )  # fmt: skip
    directions = {
        n: outcomes(manifest.frame, n, {}).target.direction for n in find_targets(manifest.frame)
    }
    assert directions == {
        "open_rate": "maximize",
        "click_through": "maximize",
        "abandoned_cart": "minimize",
        "unsubscribed": "minimize",
    }
    assert outcomes(manifest.frame, "unsubscribed", {}).label.tolist() == [0, 1, 0, 0, 0, 0] * 2
    assert find_context(manifest.frame) == ("campaign_type", "industry")
    assert attribute_columns(manifest) == ("shoe_brand", "shoe_gender", "shoe_name")
    assert manifest.notes == (
        "column 'augment_label' is read as augmentation",
        "augment_label: 0 is brighter, 1 is darker, 2 is original, 3 is rotate, 4 is sketch, "
        "5 is swivel",
        "the original of a file is the one labelled original of the same shoe_brand, "
        "shoe_gender, shoe_name",
    )


def test_codes_are_decoded_in_a_mapped_column_too(folder):
    manifest = read(folder, sneakers(), {"augmentation": "augment_label"})
    assert [NAMES[label] for label in manifest.label[:2]] == ["brighter", "darker"]
    assert [note.partition(" ")[0] for note in manifest.notes] == ["augment_label:", "the"]


def test_products_without_one_original_stay_together(folder):
    frame = sneakers()
    frame.loc[2, "augment_label"] = 0  # no original of the first sneaker
    manifest = read(folder, frame)
    assert manifest.originals == ("Velmora / men / Aero", "images/008.png")
    assert manifest.original.tolist() == [0] * 6 + [1] * 6
    assert "1 of 2 products have none or several" in manifest.notes[2]
    wanted = r"does not name their originals.*shoe_brand, shoe_gender, shoe_name"
    with pytest.raises(DataError, match=wanted):
        read(folder, frame.drop(columns=["shoe_brand", "shoe_gender", "shoe_name"]))


def test_codes_of_an_original_with_several_labels_make_candidates(folder):
    frame = sneakers().assign(relative_im_path="images/000.png")
    manifest = read(folder, frame.rename(columns={"augment_label": "Augment-Label"}))
    assert manifest.originals == ("images/000.png",)
    assert [NAMES[number] for number in manifest.applied[:3]] == ["brighter", "darker", "original"]
    frame["augment_label"] = 7
    with pytest.raises(DataError, match="augmentation '7': expected one of original"):
        read(folder, frame)


def test_names_instead_of_codes_and_an_original_column_count_as_they_are(folder):
    frame = sneakers()
    frame["augment_label"] = "rotate"
    frame["original"] = "images/000.png"
    manifest = read(folder, frame.iloc[1:])
    assert {NAMES[label] for label in manifest.label} == {"rotate"}
    assert manifest.originals == ("images/000.png",)


def test_a_car_manifest_needs_no_mapping(folder):
    """The columns of "Image Optimization Model", spelled as in its table 1."""
    rows = range(12)
    frame = pd.DataFrame(
        {
            "Relative_im_path": [f"images/{row:03d}.png" for row in rows],
            "Class_name": "Corvane Strada coupe 2004",
            "Make": "Corvane",
            "Vehicle_type": "coupe",
            "Year": 2004,
            "Open Rate": [row % 2 for row in rows],
            "Revenue_Per_Email": [row % 2 for row in rows],
            "Click_to_Open_Rate": [row % 2 for row in rows],
            "Conversion_Rate": [row % 2 for row in rows],
            "Campaign types": "Review_Request",
            "Industry types": "Automotive",
        }
    )
    manifest = read(folder, frame)
    assert find_targets(manifest.frame) == (
        "open_rate", "click_to_open_rate", "conversion_rate", "revenue_per_email"
    )  # fmt: skip
    assert find_context(manifest.frame) == ("campaign_type", "industry")
    assert attribute_columns(manifest) == ("Class_name", "Make", "Vehicle_type", "Year")
    assert len(manifest.notes) == 7
    assert manifest.notes[0] == "column 'Relative_im_path' is read as relative_im_path"
    assert "column 'Campaign types' is read as campaign_type" in manifest.notes


@pytest.mark.parametrize(
    ("column", "target", "direction"),
    [
        ("CTOR", "ctor", "maximize"),
        ("Click Through Open Rate", "click_through_open_rate", "maximize"),
        ("Revenue generated per email", "revenue_generated_per_email", "maximize"),
        ("Revenue per E-mail", "revenue_per_e_mail", "maximize"),
        ("conversion", "conversion", "maximize"),
        ("Purchase-Rate", "purchase_rate", "maximize"),
        ("purchase", "purchase", "maximize"),
        ("Unsubscribe Rate", "unsubscribe_rate", "minimize"),
        ("unsubscribe", "unsubscribe", "minimize"),
        ("Bounce rate", "bounce_rate", "minimize"),
        ("bounce", "bounce", "minimize"),
        ("click_through-rate", "click_through_rate", "maximize"),
    ],
)
def test_other_names_of_the_documents_targets(folder, column, target, direction):
    manifest = read(folder, sneakers()[["relative_im_path"]].assign(**{column: [0, 1] * 6}))
    assert find_targets(manifest.frame) == (target,)
    assert resolve_target(target).direction == direction
    assert resolve_target(target, {target: "minimize"}).direction == "minimize"


def test_an_alias_that_holds_no_outcomes_is_a_column_like_any_other(folder):
    frame = sneakers()[["relative_im_path"]].assign(purchase=range(20, 32))
    assert find_targets(read(folder, frame).frame) == ()
    with pytest.raises(DataError, match=r"line 3: bounce: expected 0, 1 or blank, got '3'"):
        read(folder, sneakers()[["relative_im_path"]].assign(bounce=[1, 3, *[0] * 10]))


def test_a_mapped_column_and_an_exact_name_take_precedence(folder):
    frame = sneakers()[["relative_im_path"]].assign(**{"Open Rate": [1] * 12, "seen": [0] * 12})
    manifest = read(folder, frame, {"open_rate": "seen"})
    assert outcomes(manifest.frame, "open_rate", {}).label.tolist() == [0] * 12
    assert manifest.frame["Open Rate"].tolist() == ["1"] * 12
    assert manifest.notes == ()


@pytest.mark.parametrize("other", ["open-rate", "open_rate"])
def test_two_columns_of_one_name_are_refused(folder, other):
    frame = sneakers()[["relative_im_path"]].assign(**{"Open Rate": [1] * 12, other: [0] * 12})
    with pytest.raises(DataError, match=rf"'(Open Rate|{other})' and '(Open Rate|{other})' both"):
        read(folder, frame)
    for mapped, value in (("Open Rate", 1), (other, 0)):
        manifest = read(folder, frame, {"open_rate": mapped})
        assert outcomes(manifest.frame, "open_rate", {}).label.tolist() == [value] * 12


def test_two_names_of_one_target_are_refused_unless_one_is_chosen(folder):
    frame = sneakers()[["relative_im_path"]].assign(bounce=[1] * 12, bounce_rate=[0] * 12)
    with pytest.raises(DataError, match=r"bounce_rate and bounce both mean.*--targets bounce"):
        read(folder, frame)
    manifest = read(folder, frame, targets=("bounce",))
    assert outcomes(manifest.frame, "bounce", {}).label.tolist() == [1] * 12


def test_spellings_of_one_category_are_merged_under_the_most_frequent(folder):
    spellings = ["product-announcement", "Product Announcement", "Product_Announcement",
                 "Product Announcement", "newsletter", "Newsletter", "survey ", "-", "", "", "_",
                 "SURVEY"]  # fmt: skip
    frame = sneakers().assign(campaign_type=spellings, shoe_name="")
    manifest = read(folder, frame.drop(columns="augment_label"))
    (column,) = context_columns(manifest.frame, ("campaign_type",), ())
    assert column.values == ("", "-", "Product Announcement", "_", "newsletter", "survey")
    assert manifest.notes == (
        "campaign_type: read 'product-announcement', 'Product_Announcement' as "
        "'Product Announcement'; 'Newsletter' as 'newsletter'; 'SURVEY' as 'survey'",
    )
    contexts, row = encode_context(manifest.frame, (column,))
    assert len(contexts) == 6
    assert (contexts[row][:4] == [0, 0, 1, 0, 0, 0]).all()


def test_numbers_are_not_merged(folder):
    frame = sneakers().assign(campaign_type=[1, -1, *[2] * 10]).drop(columns="augment_label")
    manifest = read(folder, frame)
    assert manifest.notes == ()
    assert manifest.frame["campaign_type"].tolist()[:2] == ["1", "-1"]
