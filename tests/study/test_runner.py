"""A study stopped, damaged, crowded out or out of disk: it goes on, ends with the same table, or says what to do."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from pyarrow import parquet
from small_networks import random_classifier
from study_samples import QUICK, failing
from torch import nn

from perceptlib.data import save_picture
from perceptlib.networks import Classifier, wrap
from perceptlib.records import FolderInUse, claimed
from perceptlib.study import rows as study_rows
from perceptlib.study import runner as study
from perceptlib.study.config import StudyConfig
from perceptlib.study.presets import Pictures, load_pictures
from perceptlib.study.rows import read_study
from perceptlib.study.runner import StudyError, run_study, summary

QUICK = replace(QUICK, num_images=4, attacks=("fgsm", "l2"))
NUM_TASKS = 6


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    run_study(QUICK, out)
    return out


@pytest.fixture
def finished(unbroken: Path, tmp_path: Path) -> Path:
    """A copy of the unbroken run, to be damaged."""
    return Path(shutil.copytree(unbroken, tmp_path / "study"))


def table(out: Path) -> bytes:
    return (out / "study.parquet").read_bytes()


def parts(out: Path) -> list[Path]:
    return sorted((out / "rows").glob("*.parquet"))


def test_every_picture_has_a_row_for_every_key(unbroken: Path) -> None:
    rows = read_study(unbroken)
    assert len(rows) == 4 * (2 + 2)  # two attacks; one map against two CAMs
    assert not rows.duplicated(["part", "image", "method", "cam"]).any()
    assert summary(rows) == ["agreement  scored                               8", *summary(rows)[1:]]
    assert sum(int(line.split()[-1]) for line in summary(rows)) == len(rows)
    assert len(parts(unbroken)) == NUM_TASKS


def test_finished_study_computes_nothing_again(unbroken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "run_task", None)
    before = table(unbroken)
    rows = run_study(QUICK, unbroken)
    assert table(unbroken) == before
    assert len(rows) == 16
    starts = json.loads((unbroken / "provenance.json").read_text())["runs"]
    assert {start["device"] for start in starts} <= {"cpu", "cuda"}
    assert len(starts) >= 2
    assert starts[-1]["tasks"] == 0 and starts[-1]["workers"] is None and starts[-1]["seconds"] >= 0
    assert starts[0]["tasks"] == NUM_TASKS


def _run_killed(out: Path, moment: int) -> int:
    """Run in a child that SIGKILL ends at a moment between two writes, or in one; its exit status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        left = [moment]

        def deadly(function: Any, *, is_after: bool = False) -> Any:
            def wrapped(*arguments: Any, **options: Any) -> Any:
                result = function(*arguments, **options) if is_after else None
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return result if is_after else function(*arguments, **options)

            return wrapped

        os.replace = deadly(deadly(os.replace), is_after=True)
        os.fsync = deadly(os.fsync)
        study.run_task = deadly(study.run_task)
        run_study(QUICK, out)
    finally:
        os._exit(0)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the children that are killed are forks")
def test_kills_at_any_moment_lose_and_double_nothing(unbroken: Path, tmp_path: Path) -> None:
    draw = random.Random(4)
    moments = [0, 1, 2, 3, 4, 5, *(draw.randrange(4, 16) for _ in range(6))]
    kept, num_leftovers = 0, 0
    statuses = []
    for moment in moments:
        statuses.append(_run_killed(tmp_path, moment))
        assert len(parts(tmp_path)) >= kept
        kept = len(parts(tmp_path))
        num_leftovers += any(path.is_dir() for path in (*tmp_path.glob(".*"), *(tmp_path / "rows").glob(".*")))
    assert num_leftovers >= 3  # folders of half-written files, which do no harm
    assert statuses.count(signal.SIGKILL) >= 8
    run_study(QUICK, tmp_path)
    assert table(tmp_path) == table(unbroken)
    assert not [path for path in (tmp_path / "rows").iterdir() if path.suffix != ".parquet"]
    assert {path.name for path in tmp_path.iterdir()} <= {
        *("rows", "config.json", "provenance.json", "study.parquet", ".lock")
    }


def test_interrupt_says_what_is_kept_and_goes_on(
    unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(config: StudyConfig, task: Any, **options: Any) -> Any:
        if task.part == "fooling" and task.start:
            raise KeyboardInterrupt
        return study_run_task(config, task, **options)

    study_run_task = study.run_task
    monkeypatch.setattr(study, "run_task", stopped)
    with pytest.raises(KeyboardInterrupt, match="interrupted; 3 of 6 tasks are kept; start the study again with the"):
        run_study(QUICK, tmp_path)
    assert len(read_study(tmp_path)) == 8 + 2  # agreement, and half of one attack
    monkeypatch.undo()
    run_study(QUICK, tmp_path)
    assert table(tmp_path) == table(unbroken)


def test_batch_size_changes_numbers_by_rounding_alone(unbroken: Path, tmp_path: Path) -> None:
    rows = run_study(replace(QUICK, batch_size=3), tmp_path)
    pd.testing.assert_frame_equal(rows, read_study(unbroken), rtol=1e-4, atol=1e-4)  # float32 convolutions


def test_batch_size_0_is_what_fits_and_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perceptlib.study.runner.fitting_batch_size", lambda classifier, side, **options: 4)
    asked = replace(QUICK, batch_size=0)
    rows = run_study(asked, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["batch_size"] == 4
    monkeypatch.setattr("perceptlib.study.runner.fitting_batch_size", lambda classifier, side, **options: 1)
    pd.testing.assert_frame_equal(run_study(asked, tmp_path), rows)  # continued, as its parts hold four pictures


def test_damaged_part_is_put_aside_and_made_again(unbroken: Path, finished: Path) -> None:
    damaged = parts(finished)[1]
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.warns(
        UserWarning, match=rf"damaged or cut short .*kept as {damaged.stem}.damaged, its task runs again"
    ):
        run_study(QUICK, finished)
    assert table(finished) == table(unbroken)
    assert damaged.with_suffix(".damaged").is_file()


def test_damaged_provenance_is_put_aside(finished: Path) -> None:
    (finished / "provenance.json").write_text('{"runs": ')
    with pytest.warns(UserWarning, match=r"provenance.json is damaged; kept as provenance.damaged, and begun anew"):
        run_study(QUICK, finished)
    assert (finished / "provenance.damaged").read_text() == '{"runs": '
    assert len(json.loads((finished / "provenance.json").read_text())["runs"]) == 1


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe", b'{"steps": 0}', b'{"colour": 1}'])
def test_damaged_config_is_told(finished: Path, content: bytes) -> None:
    (finished / "config.json").write_bytes(content)
    before = table(finished)
    with pytest.raises(ValueError, match=r"config.json is no configuration of a study .*name an empty folder"):
        run_study(QUICK, finished)
    assert table(finished) == before
    assert (finished / "config.json").read_bytes() == content


def test_another_configuration_is_refused_by_field(finished: Path) -> None:
    with pytest.raises(ValueError, match=r"configuration: seed \(0 there, 1 asked\), steps \(1 there, 2 asked\)"):
        run_study(replace(QUICK, seed=1, steps=2), finished)


def test_two_runs_at_once_are_refused(finished: Path) -> None:
    with claimed(finished), pytest.raises(FolderInUse, match=r"another run is writing into .*; wait for it"):
        run_study(QUICK, finished)


@pytest.mark.parametrize(("after", "kept"), [(2, 2), (6, 6)])
def test_full_disk_keeps_what_is_done(
    unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, kept: int
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(study_rows.parquet, "write_table", failing(parquet.write_table, full, after=after))
    with pytest.raises(StudyError, match=r"cannot be written \(No space left on device\); finished tasks are kept;"):
        run_study(QUICK, tmp_path)
    assert len(parts(tmp_path)) == kept
    monkeypatch.undo()
    run_study(QUICK, tmp_path)
    assert table(tmp_path) == table(unbroken)


def test_read_only_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    denied = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(Path, "mkdir", failing(Path.mkdir, denied, after=0))  # as an administrator all may be written
    with pytest.raises(StudyError, match=r"cannot be written \(Permission denied\); .* make the folder writable"):
        run_study(QUICK, tmp_path / "study")


def test_class_that_the_network_does_not_have_is_refused_before_any_task(tmp_path: Path) -> None:
    save_picture(torch.zeros(1, 3, 32, 32), tmp_path / "a.png")
    (tmp_path / "images.csv").write_text("file,label\na.png,1000\n")
    config = replace(QUICK, preset="imagenet", csv=str(tmp_path / "images.csv"), weights="random")
    with pytest.raises(ValueError, match=r"1 of 1 pictures have a label .*, first a\.png with 1000; 0 to 999 are"):
        run_study(config, tmp_path / "study")
    assert not parts(tmp_path / "study")


def test_classic_map_of_a_network_without_one_is_refused_before_any_task(tmp_path: Path) -> None:
    options: dict[str, Any] = {"preset": "photos", "network": "squeezenet1_1", "weights": "random"}
    config = replace(QUICK, **options, num_images=1, cams=("cam", "another"))
    with pytest.raises(ValueError, match=r"which .*squeezenet1_1.* does not have, .*; write cams = \["):
        run_study(config, tmp_path / "study")
    assert not parts(tmp_path / "study")
    assert len(run_study(replace(config, cams=("grad-cam", "another")), tmp_path / "study"))
    assert len(run_study(replace(config, maps=()), tmp_path / "without maps"))


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file is a file; name a folder"):
        run_study(QUICK, tmp_path / "file")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers is 0; 1 or more"),
        ({"workers": 1, "scheduler": "tcp://host:1"}, "both workers and a scheduler are given"),
        ({"timeout": 0}, "timeout is 0; a number of seconds above 0"),
        ({"timeout": float("nan")}, "timeout is nan; a number of seconds above 0"),
        ({"device": "gpu"}, "device is 'gpu'; cpu, cuda and cuda:NUMBER are allowed"),
        ({"device": "mps"}, "device is 'mps'; cpu, cuda and cuda:NUMBER are allowed"),
        ({"device": "cuda:99"}, r"device is 'cuda:99', but torch finds \d+ CUDA devices here; write cpu"),
        ({"device": "gpu", "scheduler": "tcp://host:1"}, "device is 'gpu'"),
    ],
)
def test_options_are_refused_before_anything_is_made(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_study(QUICK, tmp_path / "study", **options)
    assert not (tmp_path / "study").exists()


def test_missing_foolbox_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"searches name deepfool, which need foolbox; install it with `pip install"):
        run_study(replace(QUICK, searches=("l2", "deepfool")), tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_missing_weights_leave_no_configuration_behind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        run_study(replace(QUICK, weights="none.safetensors"), tmp_path)
    assert not (tmp_path / "config.json").exists()


@pytest.fixture
def jumping_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    now, jumps = time.time(), iter(range(0, -(10**6), -1000))
    monkeypatch.setattr(time, "time", lambda: now + next(jumps))
    yield


@pytest.mark.slow
def test_clock_that_jumps_back_changes_no_row(unbroken: Path, tmp_path: Path, jumping_clock: None) -> None:
    run_study(QUICK, tmp_path)
    assert table(tmp_path) == table(unbroken)


def test_progress_shows_rate_and_time_left(finished: Path, capfd: pytest.CaptureFixture[str]) -> None:
    parts(finished)[-1].unlink()
    run_study(QUICK, finished, progress=True)
    shown = capfd.readouterr().err
    assert "shapes:  83%" in shown  # 10 of the 12 pictures of all tasks were done
    assert "12/12 [" in shown
    assert "picture/s" in shown or "s/picture" in shown
    assert "<00:00" in shown


@pytest.fixture
def own() -> tuple[Classifier, Pictures]:
    """A network that no preset knows, and labelled pictures for it, of which it misclassifies some."""
    pictures = load_pictures("shapes", num_images=5, seed=3)
    classifier = random_classifier()
    answers = classifier(pictures.images).argmax(1)
    return classifier, Pictures(pictures.images, torch.where(torch.arange(5) < 4, answers, (answers + 1) % 8))


def test_own_network_and_pictures_make_a_study(tmp_path: Path, own: tuple[Classifier, Pictures]) -> None:
    classifier, pictures = own
    config = replace(QUICK, num_images=1, maps=("texture", "l2"), cascade=(0,))
    rows = run_study(config, tmp_path, classifier=classifier, pictures=pictures)
    assert list(rows.loc[rows["part"] == "cascade", "image"]) == [f"picture-{place}" for place in range(5)]
    assert rows.groupby("image")["label"].first().tolist() == pictures.labels.tolist()
    assert not rows["status"].str.startswith("failed").any()
    last = rows[rows["image"] == "picture-4"]
    assert set(last["status"]) == {"misclassified before the attack"} and len(last) * 5 == len(rows)
    again = run_study(config, tmp_path, classifier=classifier, pictures=pictures)  # continued: the same network
    pd.testing.assert_frame_equal(again, rows)
    kept = json.loads((tmp_path / "config.json").read_text())
    assert kept["num_images"] == 5 and kept["csv"].startswith("own pictures, sha256 ")
    [_, start] = json.loads((tmp_path / "provenance.json").read_text())["runs"]
    assert start["preset"] is None and start["tasks"] == 0 and start["pictures"]["number"] == 5
    with pytest.raises(ValueError, match=r"another configuration: weights \('own network, sha256 .* asked\); name an"):
        run_study(config, tmp_path, classifier=random_classifier(seed=1), pictures=pictures)
    with pytest.raises(ValueError, match=r"another configuration: csv \('own pictures, sha256 "):
        run_study(config, tmp_path, classifier=classifier, pictures=replace(pictures, ids=tuple("abcde")))


def test_any_wrapped_network_takes_the_pictures_of_a_preset(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        layers = [nn.Conv2d(3, 4, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 8)]
    network = nn.Sequential(*layers).train()
    rows = run_study(replace(QUICK, num_images=32), tmp_path, classifier=wrap(network, mean=0.5, std=0.25))
    assert list(rows["image"].unique()) == [f"shapes-0-{place}" for place in range(32)]
    assert {"misclassified before the attack", "scored"} < set(rows["status"])
    assert network.training and all(weight.requires_grad for weight in network.parameters())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"classifier": torch.nn.Linear(2, 2)}, TypeError, r"the classifier is a Linear; .*perceptlib\.wrap\(network"),
        (
            {"pictures": torch.zeros(1, 3, 8, 8)},
            TypeError,
            "the pictures are a Tensor; write perceptlib.study.Pictures",
        ),
        ({"workers": 2}, ValueError, "of one's own stay in this process; leave out workers and scheduler"),
        ({"device": "cuda"}, ValueError, r"the classifier is on cpu; write classifier\.to\('cuda'\)"),
        ({"change": {"images": torch.full((5, 3, 64, 64), 2.0)}}, ValueError, "images hold values from 2 to 2"),
        ({"change": {"labels": torch.full((5,), 8)}}, ValueError, "labels hold class 8; 0 to 7 are allowed"),
        ({"change": {"ids": ("a",) * 5}}, ValueError, "5 pictures have 1 different ids"),
        ({"change": {"ids": ("caf\udce9", *"abcd")}}, ValueError, r"id 'caf\\udce9' is no text that can be written"),
    ],
)
def test_own_network_and_pictures_are_checked_before_any_task(
    tmp_path: Path, own: tuple[Classifier, Pictures], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    classifier, pictures = own
    given = {"classifier": classifier, "pictures": replace(pictures, **options.pop("change", {}))} | options
    with pytest.raises(error, match=message):
        run_study(QUICK, tmp_path / "study", **given)
    assert not parts(tmp_path / "study")


def test_network_without_a_layer_for_maps_is_attacked(tmp_path: Path, own: tuple[Classifier, Pictures]) -> None:
    classifier, pictures = own
    classifier._cam_and_linear = (None, None)  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"no layer of .* was found .*cam_layer=\.\.\.\), or write maps = \[\]"):
        run_study(QUICK, tmp_path, classifier=classifier, pictures=pictures)
    assert len(run_study(replace(QUICK, maps=()), tmp_path, classifier=classifier, pictures=pictures)) == 2 * 5


def test_file_whose_name_is_no_utf8_is_a_picture_like_others(tmp_path: Path) -> None:
    folder = tmp_path / "pictures" / "967"
    folder.mkdir(parents=True)
    save_picture(torch.rand(1, 3, 32, 32), folder / "plain.png")
    try:
        os.rename(folder / "plain.png", os.fsencode(folder) + b"/caf\xe9.png")
        (folder / os.fsdecode(b"caf\xea.png")).write_bytes(b"no picture")
    except OSError:
        pytest.skip("names of files are UTF-8 here")
    options: dict[str, Any] = {"preset": "imagenet", "weights": "random", "csv": str(tmp_path / "pictures")}
    rows = run_study(replace(QUICK, **options, maps=(), attacks=("fgsm",)), tmp_path / "study")
    assert list(rows["image"]) == [r"967/caf\udce9.png", r"967/caf\udcea.png"]
    assert rows["status"][1].startswith(r"failed: caf\udcea.png is not a picture")
