"""Lists and tables of URLs, and the manifest that a download makes of them."""

import pandas as pd

from augrank.images.augmentations import augmentation_set
from augrank.manifest.read import read_table
from tests.training.download.site import LOOPBACK, OPTIONS, file_of
from training.data.manifest.manifest import check_manifest
from training.download.run import download
from training.download.sources import read_urls


def test_rows_keep_their_columns_and_those_without_an_image_go(site, fetch, tmp_path):
    a, b = site.image("/a", 1), site.image("/b.png", 2, "JPEG")
    same_as_a, missing = site.image("/copy", 1), site.root + "/missing"
    rows = [
        (a, "Newsletter", "1", a, "original"),
        (missing, "Promotion", "0", "", ""),
        (b, "Promotion", "0", a, "sketch"),
        (a, "Promotion", "", "", "rotate"),
        ("", "Newsletter", "1", "", ""),
        (same_as_a, "Newsletter", "1", missing, "brighter"),
    ]
    names = ["url", "campaign_type", "open_rate", "original", "augmentation"]
    done = fetch(pd.DataFrame(rows, columns=names))

    assert (done.rows, done.images, done.existing) == (4, 3, 0)
    assert site.count("/a") == 1
    written = pd.read_csv(done.manifest, dtype=str, keep_default_na=False)
    assert list(written.columns) == ["relative_im_path", *names]
    files = [file_of(a), file_of(b, ".jpg"), file_of(a), file_of(same_as_a)]
    assert written["relative_im_path"].tolist() == files
    assert written["open_rate"].tolist() == ["1", "0", "", "1"]
    assert written["original"].tolist() == [file_of(a), file_of(a), "", missing]
    assert (done.manifest.parent / files[1]).read_bytes() == site.answers["/b.png"]

    broken = (tmp_path / "out/broken.csv").read_text().splitlines()
    assert broken[0] == "line,url,reason,tries,state"
    assert broken[1] == f"3,{missing},HTTP 404 Not Found,1,broken"
    assert broken[2] == "6,,the row has no URL,0,broken"
    assert len(broken) == 3

    manifest = check_manifest(
        read_table(done.manifest, {}), done.manifest.parent, augmentation_set("seed", 0).names
    )
    assert (len(manifest.files), manifest.skipped) == (3, 0)


def test_parquet_and_other_columns_names(site, reporter, tmp_path):
    url = site.image("/a")
    source = tmp_path / "urls.parquet"
    rows = {"photo": [url], "relative_im_path": ["old.jpg"], "original": ["old.jpg"], "trials": [3]}
    pd.DataFrame(rows).to_parquet(source)
    done = download(source, tmp_path / "out", reporter, url_column="photo", options=OPTIONS,
                    guard=LOOPBACK)  # fmt: skip
    written = pd.read_csv(done.manifest, dtype=str)
    assert written.to_dict("records") == [
        {"relative_im_path": file_of(url), "photo": url, "original": file_of(url), "trials": "3"}
    ]


def test_comments_and_blank_lines_are_not_urls(site, fetch):
    done = fetch(["# images", "", site.image("/a"), f"  {site.image('/b')}  ", "#end"])
    assert (done.rows, done.images, done.left_out) == (2, 2, [])


def test_what_copying_puts_around_urls_is_taken_off(tmp_path):
    file = tmp_path / "urls.csv"
    file.write_text(
        'url\n"""https://a.example/1.jpg?a=1&amp;b=2"""\n<https://a.example/2.jpg>\n'
        "https://a.example/3.jpg?a=1&region=us&timestamp=3&copy=1\na.jpg,1\n",
        encoding="utf-8",
    )
    table = read_urls(file, "url")
    assert table.frame["url"].tolist() == [
        "https://a.example/1.jpg?a=1&b=2",
        "https://a.example/2.jpg",
        "https://a.example/3.jpg?a=1&region=us&timestamp=3&copy=1",
        "",  # of another width: never requested
    ]
    assert table.notes == ("took quotes, brackets or &amp; off 2 URLs",)
    assert list(table.bad) == [3]
