"""CUDA's libraries in pip's wheels are loaded before onnxruntime opens a session on a GPU."""

import types

import pytest

from augrank.models import engines
from augrank.models.engines import CPU, CUDA, providers


@pytest.fixture
def onnxruntime(monkeypatch, tmp_path):
    """An onnxruntime for GPUs, and NVIDIA's wheels in two folders, as in a kit's environment."""
    loaded: list[str] = []

    def preload_dlls(*, directory: str) -> None:
        print("Failed to load libcublasLt.so.13")
        loaded.append(directory)

    fake = types.SimpleNamespace(
        cuda_version="13.0",
        preload_dlls=preload_dlls,
        get_available_providers=lambda: [CUDA, CPU],
        loaded=loaded,
    )
    monkeypatch.setattr(engines, "onnxruntime", fake)
    monkeypatch.setattr(engines, "_has_gpu", lambda: True)
    for folder in ("venv/nvidia/cudnn", "venv/nvidia/cu13", "host/nvidia/cu13"):
        (tmp_path / folder / "lib").mkdir(parents=True)
    roots = [str(tmp_path / name / "nvidia") for name in ("venv", "host")]
    spec = types.SimpleNamespace(submodule_search_locations=roots)
    monkeypatch.setattr(
        engines.importlib.util, "find_spec", lambda name: spec if name == "nvidia" else None
    )
    return fake


def test_libraries_of_every_folder_are_loaded_without_a_word(onnxruntime, tmp_path, capsys):
    for device in ("auto", "cuda"):
        assert providers(device) == [CUDA, CPU]
        assert onnxruntime.loaded == [
            str(tmp_path / folder / "lib")
            for folder in ("venv/nvidia/cu13", "venv/nvidia/cudnn", "host/nvidia/cu13")
        ]
        onnxruntime.loaded.clear()
    assert capsys.readouterr().out == ""


def test_the_cpu_loads_none(onnxruntime, monkeypatch):
    assert providers("cpu") == [CPU]
    monkeypatch.setattr(engines, "_has_gpu", lambda: False)
    assert providers("auto") == [CPU]
    monkeypatch.setattr(onnxruntime, "cuda_version", "")  # a build for CPUs
    providers("cuda")
    del onnxruntime.cuda_version
    providers("cuda")
    assert onnxruntime.loaded == []


def test_without_the_wheels_the_loader_finds_the_systems(onnxruntime, monkeypatch):
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    assert providers("cuda") == [CUDA, CPU]
    assert onnxruntime.loaded == []
