"""The page of networks: the recorded accuracies are what the networks give, the others what their files say."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from perceptlib.networks import load
from perceptlib.networks.weights import shipped_networks
from perceptlib.pages.networks import accuracy as page
from perceptlib.records import data_dir
from perceptlib.records.frames import read_csv
from perceptlib.records.tensors import read_weights


@pytest.mark.slow
def test_recorded_accuracies_are_those_of_the_networks(assets: Path, tmp_path: Path) -> None:
    """Two of the four: the others take as long again, and `tests/networks` measures all."""
    again = page.record_accuracies(tmp_path, networks=page.IMAGENET[:2])
    known = read_csv(data_dir() / "recorded" / "networks" / "accuracy.csv").head(2)
    assert (again["num_correct"] - known["num_correct"]).abs().max() <= 1  # a picture on the boundary
    pd.testing.assert_frame_equal(again.drop(columns="num_correct"), known.drop(columns="num_correct"))


def test_accuracy_counts_the_right_answers(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    (tmp_path / "images.csv").write_text("file,label\nblack.png,3\n")
    found = page.record_accuracies(tmp_path / "out", networks=["digits-1"], csv=str(tmp_path / "images.csv"))
    black = load("digits-1")(torch.zeros(1, 3, 32, 32))
    assert found[["network", "input_size", "num_images"]].values.tolist() == [["digits-1", 32, 1]]
    assert found["num_correct"].item() == int(black.argmax() == 3)
    told = json.loads((tmp_path / "out" / "provenance.json").read_text())["runs"][0]
    assert told["weights"]["name"] == "digits-1" and told["pictures"]["number"] == 1


def test_accuracies_hold_every_network_with_a_name_of_its_own() -> None:
    found = page.accuracies().set_index("network")
    assert [*found.index] == [*page.IMAGENET, *shipped_networks()]
    assert found.loc["efficientnet-lite0", "accuracy"] >= 0.88 and found.loc["efficientnet-lite2", "accuracy"] >= 0.92
    assert ((found["low"] < found["accuracy"]) & (found["accuracy"] < found["high"]))[: len(page.IMAGENET)].all()
    for name, file in shipped_networks().items():
        metadata = read_weights(file).metadata
        last = json.loads(metadata.get("table", "[{}]"))[-1]
        assert found.loc[name, "accuracy"] == float(last.get("accuracy", metadata.get("accuracy", "nan")))
        assert (found.loc[name, "robust_accuracy"] >= 0) == ("norm" in metadata)
    told = page.numbers(found.reset_index())
    assert told["mobilenet_v2"]["num_images"] == 200 and told["shapes-0"]["parameters"] == 83720
    shown = page.network_table(found.reset_index())._repr_html_()
    assert "0.90 (0.85 to 0.93)" in shown and "4.65 million" in shown and "Apache 2.0" in shown
