from __future__ import annotations

import pytest
import torch

from perceptlib.records.device import VARIABLE, checked_device, chosen_device


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gpu", "device is 'gpu'; cpu, cuda, cuda:NUMBER and mps are allowed"),
        ("meta", "device is 'meta'; cpu, cuda"),
        ("cuda:99", r"device is 'cuda:99', but torch finds \d+ CUDA devices here; write cpu"),
        ("mps", "device is 'mps', but torch finds no Apple GPU here; write cpu"),
    ],
)
def test_device_that_is_not_there_is_told(name: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=told):
        checked_device(name)
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(ValueError, match=f"PERCEPTLIB_DEVICE: {told}"):
        chosen_device()


def test_device_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert (chosen_device(), chosen_device("cuda")) == ("cpu", "cuda")
    monkeypatch.setenv(VARIABLE, "cpu")
    assert chosen_device("cuda") == "cpu"
