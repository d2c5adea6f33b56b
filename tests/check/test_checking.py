"""The check finds what was changed by hand, names it, and holds where nothing was."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from perceptlib import data
from perceptlib.check import checking as check
from perceptlib.check import quantities
from perceptlib.check import recorded as check_records
from perceptlib.check.checking import Outcome
from perceptlib.check.quantities import fingerprint
from perceptlib.check.record import SEEDS, Line, Record, Recorded, Setting, read_record
from perceptlib.cli.main import app
from perceptlib.maps import spatial
from perceptlib.records import data_dir, manifest, write_json
from perceptlib.records.frames import write_csv
from perceptlib.ssim import measure as ssim
from perceptlib.ssim import window
from perceptlib.study import rows as study_rows


def moved(*layers: str) -> dict[str, list[str]]:
    """Layer -> names of what moved."""
    outcome = check.check("quick", only=layers)
    found: dict[str, list[str]] = {}
    for line in outcome.bad:
        found.setdefault(line.layer, []).append(line.name)
    return found


@pytest.mark.slow
def test_everything_holds_here() -> None:
    outcome = check.check("quick")
    assert outcome.holds, check.line_table(outcome.bad)
    assert len(outcome.lines) > 400
    assert {line.layer for line in outcome.lines} == set(check.QUICK)


def test_a_constant_of_ssim_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssim, "C2", ssim.C2 * 1.01)
    found = moved("data", "ssim")
    assert "data" not in found
    assert "gaussian mean SSIM" in found["ssim"] and "mean SSIM of dark pictures" in found["ssim"]
    assert "gaussian luminance" not in found["ssim"]  # in which C2 does not occur


def test_a_border_rule_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def cropped(images: torch.Tensor, others: torch.Tensor, **options: object) -> torch.Tensor:
        inner = whole(images, others, **options)
        inner[..., :1, :] = 0
        return inner

    whole = ssim.Reference.change_map
    monkeypatch.setattr(ssim.Reference, "change_map", cropped)
    found = moved("ssim")["ssim"]
    assert "gaussian change at the border" in found and "gaussian change inside" not in found


@pytest.mark.slow
def test_a_sign_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    steepest = quantities.L2Ball.steepest
    monkeypatch.setattr(quantities.L2Ball, "steepest", lambda ball, gradient: -steepest(ball, gradient))
    assert {name.split()[0] for name in moved("balls")["balls"]} == {"l2"}


def test_one_label_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = data.shapes

    def relabelled(*arguments: int, **options: object) -> data.Scenes:
        scenes = shapes(*arguments, **options)
        scenes.labels[3] = (scenes.labels[3] + 1) % 8
        return scenes

    monkeypatch.setattr(quantities.data, "shapes", relabelled)
    assert moved("data") == {"data": ["labels of shapes"]}


def test_a_control_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantities, "log_variance", lambda images: spatial.torch.zeros_like(images[:, 0]))
    assert moved("controls") == {"controls": ["partial Spearman"]}


def test_window_width_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantities, "Window", lambda **options: window.Window(**({"sigma": 1.51} | options)))
    found = moved("ssim")["ssim"]
    assert "gaussian mean SSIM" in found and "uniform mean SSIM" not in found


def test_a_layer_that_raises_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(setting: Setting) -> dict[str, float | str]:
        raise RuntimeError("the window is gone")

    layers = check.LAYERS | {"ssim": check.Layer(broken, 1e-9)}
    monkeypatch.setattr(check, "LAYERS", layers)
    outcome = check.check("quick", only=["ssim", "statistics"])
    assert [(line.name, line.verdict) for line in outcome.bad] == [("RuntimeError: the window is gone", "failed")]
    assert {line.layer for line in outcome.lines} == {"ssim", "statistics"}


@pytest.mark.slow
def test_another_seed_is_within_the_spread_of_the_recorded_ones() -> None:
    outcome = check.check("quick", seed=11, only=["data", "ssim", "balls", "statistics"])
    assert outcome.mode == "statistical" and outcome.holds, check.line_table(outcome.bad)
    assert {line.verdict for line in outcome.lines} == {"holds", "not compared"}


def test_another_seed_does_not_hide_a_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssim, "C1", 0.0)
    monkeypatch.setattr(ssim, "C2", ssim.C2 * 30)
    assert not check.check("quick", seed=11, only=["ssim"]).holds


def test_a_changed_file_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    read_bytes = Path.read_bytes

    def changed(path: Path) -> bytes:
        content = read_bytes(path)
        return content[:-1] + b"?" if path.name == "factorial.csv" else content

    monkeypatch.setattr(Path, "read_bytes", changed)
    assert moved("files") == {"files": ["recorded/shapes/factorial.csv"]}


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "numbers.json"])
def test_changed_cell_is_found_and_its_column_named_whatever_the_manifest_says(tmp_path: Path, name: str) -> None:
    def contents(distance: float) -> dict[str, bytes | str]:
        rows = [{"method": "l2", "distance": 0.25}, {"method": "ssim", "distance": distance}]
        if path.suffix == ".csv":
            write_csv(pd.DataFrame(rows), path)
        elif path.suffix == ".parquet":
            study_rows.write_part(pd.DataFrame(rows), path)
        else:
            write_json(path, {"method": "ssim", "distance": {"median": distance}})
        return dict(check_records._parts_of(path))

    path = tmp_path / name
    recorded, now = contents(0.125), contents(0.125001)
    assert recorded == contents(0.125)
    assert [part for part in recorded if recorded[part] != now[part]] == [", distance"]


def test_every_shipped_file_has_recorded_contents_but_the_check_s_own() -> None:
    found = check_records.content_quantities(Setting())
    for path in manifest.shipped_files():
        name = path.relative_to(data_dir()).as_posix()
        assert any(key.startswith(name) for key in found) != name.startswith("recorded/check/"), name
    assert "recorded/studies/imagenet/mobilenet_v2/study.parquet, energy_in_top_q" in found
    assert "recorded/shapes/factorial.csv, share" in found


@pytest.mark.parametrize("index", [0, 57, 999])
def test_fingerprint_sees_every_entry(index: int) -> None:
    values = torch.zeros(10, 100)
    changed = values.clone()
    changed.view(-1)[index] = 1e-3
    assert fingerprint("x", values)["x weighted"] != fingerprint("x", changed)["x weighted"]
    swapped = torch.arange(1000.0).view(10, 100)
    mirrored = swapped.flip(1)
    assert fingerprint("x", swapped)["x mean"] == pytest.approx(fingerprint("x", mirrored)["x mean"])
    assert abs(fingerprint("x", swapped)["x weighted"] - fingerprint("x", mirrored)["x weighted"]) > 1


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    check.check("quick", only=["statistics"])
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": "slow"}, "level is 'slow'; quick and full are allowed"),
        ({"seed": -1}, "seed is -1; 0 or more is allowed"),
        ({"only": ["colour"]}, "there is no layer 'colour'; files, contents, data, ssim, balls"),
    ],
)
def test_bad_arguments_are_told(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check.check(**({"level": "quick"} | arguments))


def test_a_layer_without_files_is_skipped_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERCEPTLIB_ASSETS", raising=False)
    layer = "study of imagenet/mobilenet_v2"
    outcome = check.check("full", only=[layer, "statistics"])
    assert {line.layer for line in outcome.lines} == {"statistics"}
    assert outcome.skipped == (f"{layer}: no folder PERCEPTLIB_ASSETS with ImageNet weights and photographs",)


def outcome_of(*lines: Line) -> Outcome:
    return Outcome(lines, "numeric", ("torch 1 recorded, 2 here",))


def test_tables_and_sentences_name_what_moved_first() -> None:
    outcome = outcome_of(
        Line("ssim", "a", 1.0, 1.0, 0.1, "holds"),
        Line("ssim", "b", 1.0, 3.0, 0.1, "moved"),
        Line("balls", "c", "x", "y", math.nan, "moved"),
        Line("balls", "d", 2, 2, 0.0, "holds"),
    )
    rows = outcome.summary().data
    assert rows.iloc[:, :4].to_numpy().tolist() == [["ssim", 2, 1, "b"], ["balls", 2, 1, "c"]]
    moved_lines = check.line_table(outcome.bad).data
    assert moved_lines.to_numpy().tolist()[1] == ["balls", "c", "x", "y", "equal", "moved"]
    assert "nothing" in repr(check.line_table([]))
    assert list(check.line_frame(outcome.lines)["verdict"]) == ["holds", "moved", "moved", "holds"]
    text = "\n".join(outcome.sentences())
    assert "2 of 4 quantities hold, compared within numeric tolerances" in text
    assert "torch 1 recorded, 2 here" in text
    assert "look first at ssim: b" in text
    assert outcome.as_dict()["counts"] == {"holds": 2, "moved": 2}


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["check", *arguments])


@pytest.fixture
def own_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """One layer with one quantity, and its record."""

    def compute(setting: Setting) -> dict[str, float | str]:
        return {"half": 0.5, "noise": 0.5 + 1e-3 * setting.seed + 1e-6 * (setting.batch_size - 8)}

    layers = {"ssim": check.Layer(compute, 1e-9)}
    monkeypatch.setattr(check.manifest, "renew", lambda paths, **words: [])
    for module in (check, check):
        monkeypatch.setattr(module, "QUICK", layers)
        monkeypatch.setattr(module, "LAYERS", layers)
        monkeypatch.setattr(module, "record_path", lambda level: tmp_path / f"{level}.json")
    monkeypatch.setattr(
        check, "_run", lambda names, extra, setting: {name: layers[name].compute(setting) for name in names}
    )

    def keep(half: float) -> None:
        record = check.new_record("quick")
        entries = dict(record.layers["ssim"]) | {"half": Recorded(half, 0.0, (half,) * 8)}
        check.keep(Record({"ssim": entries}, record.environment, record.provenance), "quick")

    return keep


def test_rows_of_a_study_widen_their_own_tolerance_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def now(setting: Setting) -> dict[str, float | str]:
        return {"batched": 0.5, "alone": 0.25}

    rows: dict[str, float | str] = {"batched": 0.5004, "alone": 0.25}  # of batches of another size
    layers = {"study of shapes/own": check.Layer(now, 1e-9, lambda: rows)}
    monkeypatch.setattr(check, "QUICK", {})
    monkeypatch.setattr(check, "LAYERS", layers)
    monkeypatch.setattr(check, "_run", lambda names, extra, setting: {name: now(setting) for name in names})
    found = check.new_record("full").layers["study of shapes/own"]
    assert (found["batched"].spread, found["alone"].spread) == (pytest.approx(4e-4), 0.0)


def test_command_tells_by_its_exit_status(own_record: Callable[[float], None], tmp_path: Path) -> None:
    own_record(0.5)
    result = invoke("--quick", "--json", str(tmp_path / "check.json"))
    assert result.exit_code == 0 and "2 of 2 quantities hold, compared bit by bit" in result.output
    assert '"holds": true' in (tmp_path / "check.json").read_text()
    own_record(0.25)
    result = invoke("--quick", "--all")
    assert result.exit_code == 1 and "look first at ssim: half" in result.output


def test_json_that_cannot_be_written_is_told(own_record: Callable[[float], None], tmp_path: Path) -> None:
    own_record(0.5)
    result = invoke("--quick", "--json", str(tmp_path))
    assert result.exit_code == 2 and "is a folder; name a file for --json, such as" in result.output
    assert "holds" not in result.output  # told before anything is computed
    (tmp_path / "file").touch()
    assert invoke("--quick", "--json", str(tmp_path / "file" / "check.json")).exit_code == 2


def test_update_shows_the_change_and_asks(own_record: Callable[[float], None], tmp_path: Path) -> None:
    own_record(0.25)
    refused = CliRunner().invoke(app, ["check", "--quick", "--update"], input="n\n")
    assert "half" in refused.output and "1 of 2 recorded values change" in refused.output
    assert read_record(tmp_path / "quick.json").layers["ssim"]["half"].value == 0.25
    taken = invoke("--quick", "--update", "--yes")
    assert taken.exit_code == 0
    record = read_record(tmp_path / "quick.json")
    assert record.layers["ssim"]["half"].value == 0.5
    assert record.layers["ssim"]["noise"].spread == pytest.approx(5e-6)  # the variant with batches of 3
    assert len(record.layers["ssim"]["noise"].seeds) == len(SEEDS)
    assert record.provenance["versions"]["torch"] == version("torch")


def test_update_takes_no_seed() -> None:
    result = invoke("--update", "--seed", "3")
    assert result.exit_code == 2 and "leave out --seed and --json" in result.output


@pytest.mark.slow
def test_a_run_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    with pytest.raises(RuntimeError, match=r"a run of the check failed: .*KeyError: 'nowhere'"):
        check._run(["nowhere"], {}, Setting())


@pytest.mark.slow
def test_variants_run_in_their_own_process() -> None:
    found = check._run(["statistics"], {"OMP_NUM_THREADS": "2"}, Setting())
    assert found["statistics"]["Holm, 0 of (0.01, 0.02, 0.04, 0.2)"] == pytest.approx(0.04)
