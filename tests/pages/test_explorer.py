from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from explorer_frames import content, read, read_frame

from perceptlib.attacks import result as results
from perceptlib.balls import SSIMBall
from perceptlib.judges import judge
from perceptlib.maps import class_activation_map, energy_in_top_q, random_direction
from perceptlib.pages import explorer
from perceptlib.ssim import measure as ssim
from perceptlib.study import comparison, presets

COMMITTED = Path(__file__).resolve().parents[2] / "book" / "_static" / "explorer"
BUDGETS, METHODS = (0.001, 0.01), ("l2", "random", "ssim")
SMALL: Any = {"budgets": BUDGETS, "methods": METHODS, "presets": ["shapes"], "steps": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return explorer.build_frames(tmp_path_factory.mktemp("frames") / "explorer", **SMALL).parent


def check_schema(folder: Path) -> None:
    """Every number of every frame is there and in its range, and every file that the page asks for."""
    told = content(folder)
    assert told["provenance"].keys() >= {"date", "versions", "seed", "machine", "weights"}
    assert all(len(weights["sha256"]) == 64 for weights in told["provenance"]["weights"].values())
    assert told["budgets"] == sorted(told["budgets"]) and told["balls"].items() <= explorer.METHODS.items()
    files = {"frames.json"} | ({"still.jpg"} if "photos" in told["provenance"]["weights"] else set())
    for picture in told["pictures"]:
        files |= {f"{picture['id']}.webp", f"{picture['id']}-cam.webp"}
        size = picture["size"]
        assert read(folder / f"{picture['id']}.webp").shape == (size, size, 3)
        assert all(factor & (factor - 1) == 0 for factor in picture["factors"])  # powers of two
        assert picture["before"][0][0] == picture["label"] and picture["credit"]
        assert picture["network"] == ("shapes-0" if picture["id"].startswith("shapes") else "mobilenet_v2")
        assert picture["frames"].keys() == told["balls"].keys()
        for method, frames in picture["frames"].items():
            assert len(frames) == len(picture["factors"]) == len(told["budgets"])
            for suffix in ("", "-map"):
                files.add(f"{picture['id']}-{method}{suffix}.webp")
                shape = read(folder / f"{picture['id']}-{method}{suffix}.webp").shape
                assert shape == (size * len(frames), size if suffix else 2 * size, 3)
            for frame, budget in zip(frames, told["budgets"], strict=True):
                assert frame["distance"] <= budget * (1 + 1e-4) and 0 < frame["mean_ssim"] <= 1
                assert frame["share_in_cam"] is None or 0 <= frame["share_in_cam"] <= 1
                assert frame["judges"].keys() >= {"ciede2000", "ciede2000_99"} and min(frame["judges"].values()) >= 0
                assert frame["outline"].startswith("M") or frame["mean_ssim"] > 1 - 1e-6
                probabilities = [probability for _, probability in frame["after"]]
                assert len(probabilities) == 5 and probabilities == sorted(probabilities, reverse=True)
                assert frame["is_adversarial_8bit"] == (frame["after"][0][0] != picture["label"])
    assert {path.name for path in folder.iterdir()} == files


def test_frames_hold_what_the_page_shows(folder: Path) -> None:
    check_schema(folder)


def test_committed_frames_hold_what_the_page_shows_and_are_small() -> None:
    check_schema(COMMITTED)
    assert sum(path.stat().st_size for path in COMMITTED.iterdir()) <= 6_000_000
    told = content(COMMITTED)
    assert tuple(told["budgets"]) == explorer.BUDGETS and told["balls"] == explorer.METHODS
    assert len(told["pictures"]) == 5 + explorer.NUM_SHAPES


def test_frame_is_the_attack_computed_again(folder: Path) -> None:
    study = presets.load_study("shapes", num_images=8).head(2)
    images = results.round_to_8bit(study.pictures.images)
    labels = study.pictures.labels
    again = comparison.attack_at_distance(study.classifier, images, labels, "ssim", 0.01, steps=2)
    saved = results.round_to_8bit(again.adversarial)
    told = content(folder)
    for index, name in enumerate(study.pictures.ids):
        shown = read_frame(folder, name, "ssim", 0.01)
        assert float(shown.min()) >= 0 and float(shown.max()) <= 1
        # the same code on the same machine; the last digit of a gradient may move a value over a rounding edge
        assert float((shown[0] != saved[index]).double().mean()) < 1e-3
        frame = told["pictures"][index]["frames"]["ssim"][1]
        original = images[index : index + 1].double()
        assert frame["distance_8bit"] == pytest.approx(float(ssim.distance(original, shown.double())), rel=1e-3)
        change = ssim.change_map(original, shown.double())
        cam = class_activation_map(study.classifier, images[index : index + 1], labels[index : index + 1])
        assert frame["share_in_cam"] == pytest.approx(float(energy_in_top_q(change, cam)), rel=1e-3)
        seen = judge(original, shown, ["ciede2000"])["ciede2000"][0]
        assert frame["judges"]["ciede2000"] == pytest.approx(seen, rel=1e-3)


def test_random_direction_is_at_the_same_distance_and_knows_nothing_of_the_network(folder: Path) -> None:
    study = presets.load_study("shapes", num_images=8).head(2)
    images = results.round_to_8bit(study.pictures.images)
    direction = random_direction(images, SSIMBall(images, 0.01), seed=0)
    for index, picture in enumerate(content(folder)["pictures"]):
        assert picture["frames"]["random"][1]["distance"] == pytest.approx(0.01, rel=2e-3)
        change = read_frame(folder, picture["id"], "random", 0.01)[0] - images[index]
        both = torch.stack([change.flatten(), direction[index].flatten()]).double()
        assert float(torch.corrcoef(both)[0, 1]) > 0.8  # clipping to [0, 1] and rounding take the rest


def test_committed_frames_fool_as_they_say() -> None:
    """Frames of shapes, whose network ships: what stands in the files does what stands in the numbers."""
    classifier = presets.load_network("shapes")
    drawn = [picture for picture in content(COMMITTED)["pictures"] if picture["id"].startswith("shapes")]
    for picture in drawn:
        for method, frames in picture["frames"].items():
            pictures = [read_frame(COMMITTED, picture["id"], method, budget) for budget in explorer.BUDGETS]
            seen = classifier(torch.cat(pictures)).softmax(1).max(1)
            assert [classifier.class_names[index] for index in seen.indices] == [
                frame["after"][0][0] for frame in frames
            ]
            expected = [frame["after"][0][1] for frame in frames]
            torch.testing.assert_close(seen.values, torch.tensor(expected), atol=2e-3, rtol=0)


def test_numbers_count_the_fooled(folder: Path) -> None:
    told = content(folder)
    counts = told["numbers"]["balls"]["l2"]["1e-02"]
    frames = [picture["frames"]["l2"][1] for picture in told["pictures"]]
    assert counts == {
        "fooled": sum(frame["is_adversarial"] for frame in frames),
        "fooled_8bit": sum(frame["is_adversarial_8bit"] for frame in frames),
    }
    assert told["numbers"]["num_pictures"] == 2


def test_frames_replace_frames_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="own is no folder of frames, so it was left as it is; name another"):
        explorer.build_frames(own, **SMALL)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match=r"the frames take \d+ bytes; 1000 are allowed; pass fewer budgets or methods"):
        explorer.build_frames(folder, **SMALL | {"budgets": (0.001,), "steps": 1}, max_bytes=1000)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_main_says_why_frames_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERCEPTLIB_WEIGHTS", str(tmp_path / "none.safetensors"))
    with pytest.raises(SystemExit, match=r"frames was left as it is: .*none\.safetensors"):
        explorer.main(str(tmp_path / "frames"))
    assert not (tmp_path / "frames").exists()


def test_shades_run_from_the_first_colour_to_the_last() -> None:
    colours = explorer.shaded(torch.tensor([[-1.0, 0.0, 0.5, 1.0, 2.0]]))
    assert (colours[0, 0] == colours[0, 1]).all() and (colours[0, 3] == colours[0, 4]).all()
    assert ["#" + bytes(colours[0, index].tolist()).hex() for index in (1, 3)] == [
        explorer.COLOURS[0],
        explorer.COLOURS[-1],
    ]
    assert len({tuple(colour) for colour in explorer.shaded(torch.linspace(0, 1, 500)[None])[0]}) == explorer.SHADES


@pytest.mark.parametrize(("largest", "factor"), [(1, 128), (2, 64), (3, 32), (64, 2), (100, 1), (127, 1), (0, 128)])
def test_amplification_is_a_power_of_two_that_leaves_room(largest: int, factor: int) -> None:
    assert explorer.amplification(np.full((2, 4, 4, 3), -largest)) == factor


def test_signed_keeps_changes_of_the_whole_range() -> None:
    changes = np.array([[[-255, 0, 255], [-129, 128, 1]]])
    added, taken = np.split(explorer.signed(changes), 2, axis=1)
    assert (added - taken == changes).all() and min(added.min(), taken.min()) == 0


def test_outline_goes_around_the_highest_fifth() -> None:
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    path = explorer.outline(-((rows - 20) ** 2 + (columns - 12) ** 2))
    points = np.array([[float(word) for word in point.split()] for point in path.lstrip("M").split("L")])
    # centres of pixels lie at halves; a disk of a fifth of 40 x 40 pixels
    radii = np.hypot(points[:, 0] - 12.5, points[:, 1] - 20.5)
    np.testing.assert_allclose(radii, (320 / np.pi) ** 0.5, atol=0.6)
    assert explorer.outline(torch.ones(8, 8)) == ""
