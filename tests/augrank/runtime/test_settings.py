import pytest

from augrank.errors import ServerError
from augrank.runtime.settings import WorkerSettings
from augrank.serving.sagemaker import HostingSettings


def test_settings_refuse_what_does_not_fit(monkeypatch):
    monkeypatch.setenv("AUGRANK_THREADS", "3")
    monkeypatch.setenv("AUGRANK_PRECISION", "")
    assert WorkerSettings.from_environment() == WorkerSettings(threads=3)
    monkeypatch.setenv("AUGRANK_PRECISION", "int9")
    with pytest.raises(ServerError, match=r"did you mean int8\?"):
        WorkerSettings.from_environment()
    monkeypatch.setenv("AUGRANK_THREADS", "-1")
    with pytest.raises(ServerError, match="AUGRANK_THREADS"):
        WorkerSettings.from_environment()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AUGRANK_CACHE_MB", "many", "AUGRANK_CACHE_MB does not fit: expected a whole number"),
        ("AUGRANK_SPIN", "often", "AUGRANK_SPIN does not fit: expected 0 or 1, got often"),
        ("AUGRANK_SPIN", "true", "AUGRANK_SPIN does not fit: expected 0 or 1, got true"),
        ("AUGRANK_THREADS", " 3.0", "AUGRANK_THREADS does not fit: expected a whole number"),
        ("AUGRANK_DEVICE", "gpu", "expected one of auto, cpu, openvino, cuda, tensorrt"),
        ("AUGRANK_FIELDS", "{", "AUGRANK_FIELDS does not fit: expected a JSON object"),
        ("AUGRANK_FIELDS", "[1]", "AUGRANK_FIELDS does not fit: expected a JSON object"),
    ],
)
def test_a_variable_that_does_not_fit_is_named(monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(ServerError, match=message):
        WorkerSettings.from_environment()


def test_variables_of_other_programs_are_ignored(monkeypatch):
    foreign = {"DEVICE": "nvidia", "THREADS": "7", "SPIN": "1", "PRECISION": "fp8", "PORT": "99"}
    for name, value in (foreign | {"BASE": "/x", "WORKERS": "9", "PROFILE": "x"}).items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.lower(), value)
    assert WorkerSettings.from_environment() == WorkerSettings()
    assert HostingSettings.from_environment() == HostingSettings()
    assert WorkerSettings().threads is None
    assert HostingSettings().port == 8080


def test_settings_of_a_container_take_the_platforms_newer_names_first(monkeypatch):
    monkeypatch.setenv("SAGEMAKER_MODEL_SERVER_WORKERS", "3")
    monkeypatch.setenv("SAGEMAKER_TS_RESPONSE_TIMEOUT", "")
    monkeypatch.setenv("SAGEMAKER_MODEL_SERVER_TIMEOUT", "90")
    monkeypatch.setenv("AUGRANK_PROFILE", "throughput")
    settings = HostingSettings.from_environment()
    assert (settings.workers, settings.timeout_s, settings.profile) == (3, 90, "throughput")
    assert (settings.port, settings.batch_size) == (8080, None)
    monkeypatch.setenv("SAGEMAKER_TS_MIN_WORKERS", "2")
    assert HostingSettings.from_environment().workers == 2
    monkeypatch.setenv("SAGEMAKER_BIND_TO_PORT", "0")
    with pytest.raises(ServerError, match=r"SAGEMAKER_BIND_TO_PORT does not fit.*from 1, got 0"):
        HostingSettings.from_environment()
