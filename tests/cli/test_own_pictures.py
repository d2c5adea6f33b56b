"""A stranger's pictures and any network: attacked, studied and shown on a page by the commands, without weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from perceptlib.cli.main import app
from perceptlib.data import photographs, save_picture
from perceptlib.study import read_study

QUICK = """
preset = "imagenet"
attacks = ["ssim"]
budgets = [1e-5]
steps = 2
searches = []
maps = ["ssim", "random", "squared_gradient"]
cams = ["cam", "another"]
cascade = [0, 1]
regions = ["top"]
region_budgets = [1e-5]
curves = ["ssim"]
curve_steps = 1
judges = []
candidates = 1
refinements = 0
"""


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command line on a fresh machine: no weights of MobileNetV2, and no way to fetch any."""

    def offline(*arguments: object, **options: object) -> None:
        raise OSError("no network")

    for name in ("PERCEPTLIB_WEIGHTS", "PERCEPTLIB_ASSETS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("perceptlib.networks.weights.cache_path", lambda url: tmp_path / url.rpartition("/")[2])
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three of scikit-image's photographs, each in a folder named after its class."""
    photos = photographs(size=300)
    for index in range(3):
        folder = tmp_path / "pictures" / str(int(photos.labels[index]))
        folder.mkdir(parents=True, exist_ok=True)
        save_picture(photos.images[index : index + 1], folder / f"{photos.names[index]}.png")
    return tmp_path / "pictures"


@pytest.mark.slow
def test_attack_on_a_fresh_machine_takes_the_installed_network_and_says_so(invoke, pictures, tmp_path):
    picture = sorted(pictures.glob("*/*.png"))[0]
    done = invoke("attack", picture, "--steps", 2, "--out", tmp_path / "out")
    assert (done.exit_code, done.stderr) == (0, "")
    first = done.stdout.splitlines()[0]
    assert first.startswith("network: efficientnet-lite0, weights efficientnet-lite0-57934424.pth")
    assert first.endswith("; --network NAME takes another")
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["network"] == "efficientnet-lite0" and record["input_size"] == 224 and record["is_adversarial"]
    done = invoke("attack", picture, "--network", "mobilenet_v2", "--out", tmp_path / "other")
    assert done.exit_code == 1 and "could not be fetched (no network); name a safetensors" in done.stderr
    assert "'efficientnet-lite0', whose weights are installed" in done.stderr


@pytest.mark.slow
def test_study_and_notebook_take_a_folder_of_pictures_and_a_network_by_name(invoke, pictures, tmp_path):
    (tmp_path / "own.toml").write_text(QUICK)
    where = ("--csv", pictures, "--network", "efficientnet-lite0", "--device", "cpu")
    done = invoke("study", "--config", tmp_path / "own.toml", *where, "--out", tmp_path / "study")
    assert done.exit_code == 0, done.stderr
    rows = read_study(tmp_path / "study")
    assert {"agreement", "cascade", "fooling", "regions"} <= {*rows["part"]}
    assert not rows["status"].str.startswith("failed").any()
    assert rows["image"].nunique() == 3
    assert json.loads((tmp_path / "study" / "config.json").read_text())["network"] == "efficientnet-lite0"
    words = [("preset", "imagenet"), ("csv", pictures), ("network", "efficientnet-lite0"), ("budget", 1e-5)]
    words += [("batch_size", 1), ("cg_steps", 5)]
    parameters = [word for pair in words for word in ("-p", *pair)]
    done = invoke("run", "03_agreement", *parameters, "--out", tmp_path / "page")
    assert done.exit_code == 0, done.stderr
    numbers = json.loads((tmp_path / "page" / "numbers.json").read_text())
    assert numbers["provenance"]["weights"]["name"] == "efficientnet-lite0"
    assert len(pd.read_csv(tmp_path / "page" / "agreement.csv")["image"].unique()) >= 2


@pytest.mark.slow
def test_vision_transformer_is_attacked_and_has_a_map(invoke, pictures, tmp_path):
    # timm's: the last layer of torchvision's is zero before training, and with it every gradient.
    picture, network = sorted(pictures.glob("*/*.png"))[0], "timm/vit_tiny_patch16_224"
    words = ("--network", network, "--weights", "random", "--steps", 1)
    done = invoke("attack", picture, *words, "--out", tmp_path / "out")
    assert (done.exit_code, done.stderr) == (0, "")
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["network"] == network and record["saved_8bit"]["distance"] > 0
    assert (tmp_path / "out" / "figure.png").stat().st_size > 20_000
