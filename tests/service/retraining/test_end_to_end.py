"""A model is systematically wrong; people correct it, and the next one is better, all the while."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import httpx
import pytest

from tests.service.support.pages import sha256
from tests.service.support.processes import ROOT, free_port, start
from tests.support.labelled_images import draw_labelled
from tests.support.patience import PATIENCE_S

CORRECTED = 110
NO_IDLE = httpx.Limits(max_keepalive_connections=0)  # the service closes idle connections
OPTIONS = ("epochs=2", "batch_size=32", "graphs=[fp32]", "device=cpu")


def negative(number: int) -> tuple[bytes, str]:
    """Return a picture of colours that the live model has never seen, and what people call them."""
    image, _, colour = draw_labelled(6000 + number)
    return cv2.imencode(".png", 255 - image[..., ::-1])[1].tobytes(), colour


class Asker(threading.Thread):
    """Asks the service again and again."""

    def __init__(self, url: str, image: bytes) -> None:
        super().__init__(daemon=True)
        self.url, self.image = url, image
        self.ended, self.times, self.failed = threading.Event(), list[float](), list[str]()

    def run(self) -> None:
        with httpx.Client(timeout=PATIENCE_S, limits=NO_IDLE) as client:
            while not self.ended.wait(0.1):
                began = time.perf_counter()
                files = [("images", ("a", self.image))]
                answer = client.post(
                    f"{self.url}/classify", files=files, data={"advertiser": "ada"}
                )
                self.times.append(time.perf_counter() - began)
                if answer.status_code != 200:
                    self.failed.append(answer.text)

    def end(self) -> None:
        self.ended.set()
        if self.ident is not None:
            self.join()


def correct(client: httpx.Client) -> int:
    """Send pictures, and correct what the model gets wrong; return how many that are."""
    pictures = [negative(number) for number in range(CORRECTED)]
    wrong = 0
    for first in range(0, CORRECTED, 50):
        part = pictures[first : first + 50]
        files = [("images", (str(n), image)) for n, (image, _) in enumerate(part)]
        answer = client.post("/classify", files=files, data={"advertiser": "ada"})
        for (image, colour), told in zip(part, answer.json()["images"], strict=True):
            if told["labels"]["colour"]["value"] == colour:
                continue
            body = {"advertiser": "ada", "sha256": sha256(image), "label": "colour",
                    "value": colour, "who": "ana"}  # fmt: skip
            assert client.post("/fixes", json=body).status_code == 201
            wrong += 1
    return wrong


def retrain(run: Path, folder: Path) -> str:
    """Start a retraining on the command line, and follow it; return what it prints."""
    command = [sys.executable, "-m", "service", "retrain", "--base", str(run), "--candidates", "2",
               "--min-side", "8", "--promote", "--wait", "--folder", str(folder)]  # fmt: skip
    for option in OPTIONS:
        command += ["--set", option]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=3600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_fixes_lead_to_a_better_model_while_the_service_answers(
    classify_run, classify_export, tmp_path, monkeypatch
):
    # Else it would wait for the tests beside it.
    monkeypatch.setenv("AUGRANK_SERVICE_RETRAIN_PRIORITY", "normal")
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1"
    process = start(classify_export.bundle, tmp_path, port, tmp_path / "log")
    asker = Asker(url, negative(0)[0])
    try:
        with httpx.Client(base_url=url, timeout=PATIENCE_S, limits=NO_IDLE) as client:
            wrong = correct(client)
            assert wrong > CORRECTED / 3
            asker.start()
            printed = retrain(classify_run.run, tmp_path)
            assert f"{wrong} fixes wait" in printed
            state = client.get("/retraining").json()["last"]
            assert (state["state"], state["undecided"]) == ("waiting_for_review", wrong)
            keep_all(client, state["id"])
            printed = retrain(classify_run.run, tmp_path)
            asker.end()
            state = client.get("/retraining").json()
            result = state["last"]["result"]
            assert state["new_fixes"] == 0
            assert result["chosen"], printed
            best = next(x for x in result["candidates"] if x.get("digest") == result["chosen"])
            assert best["difference"][0] > 0.05
            assert best["p"] <= 0.05
            assert best["common_accuracy"] > 0.6
            assert "answers now" in printed
            files = [("images", ("a", negative(500)[0]))]
            answer = client.post("/classify", files=files, data={"advertiser": "bob"}).json()
            assert answer["model_digest"] == result["chosen"]
        assert asker.failed == []
        assert len(asker.times) > 20
    finally:
        asker.end()
        process.terminate()
        process.wait(PATIENCE_S)


def keep_all(client: httpx.Client, job: int) -> None:
    """Look at every fix, and keep it: they are right, whatever the filters think of them."""
    while items := client.get(f"/retraining/{job}/review").json()["items"]:
        for item in items:
            body = {"decision": "keep", "who": "eva"}
            assert (
                client.put(f"/retraining/{job}/review/{item['id']}", json=body).status_code == 200
            )
    ended = client.post(f"/retraining/{job}/finish", json={"who": "eva"})
    assert ended.json()["state"] == "waiting"
