import csv
import dataclasses
import functools
import gc
import re
import shutil
import weakref
from types import SimpleNamespace

import h5py
import nibabel
import numpy as np
import pytest
from helpers import fft_reference
from skimage.metrics import structural_similarity

from mri_zoo.data.masks import EquispacedMask, RandomMask
from mri_zoo.data.preparation import ConstantScaling, PercentileScaling
from mri_zoo.data.sampling import effective_acceleration
from mri_zoo.data.volume import DataError, Volume, VolumeInfo, printable
from mri_zoo.evaluation.datasets import sources_of
from mri_zoo.evaluation.harness import COLUMNS, Row, evaluate, read_rows
from mri_zoo.evaluation.quality import judged
from mri_zoo.evaluation.report import write_figures, write_report
from mri_zoo.evaluation.tables import terminal_report
from mri_zoo.models import PDNet, UNet, ZeroFilled
from mri_zoo.physics.cartesian import Cartesian


class Source:
    """Smooth random slices, single- or multi-coil; counts the volumes that are alive when it is read, if asked to."""

    def __init__(self, name="a.h5", slices=3, coils=1, size=(15, 13), target_size=None, contrast="T1w", mask=None):
        self.info = VolumeInfo(
            name, slices, coils, *size, contrast=contrast, target_size=target_size, mask=mask, padding=(0, size[1])
        )
        self.alive_before = None

    volumes = []  # weak references
    count_alive = False  # which takes most of a second in a large process

    def _alive(self):
        gc.collect()
        return sum(volume() is not None for volume in self.volumes)

    def read(self, slices=None):
        self.alive_before = self.count_alive and self._alive()
        info, rng = self.info, np.random.default_rng(len(self.info.name))
        rows, columns = np.mgrid[: info.height, : info.width]
        images = 1 + np.cos(rows * rng.uniform(0.2, 0.8, (info.num_slices, 1, 1)) + 0.3 * columns)
        coils = np.exp(1j * np.arange(info.num_coils))[:, None, None] * (1 + columns) / info.width
        volume = Volume(
            info,
            tuple(range(info.num_slices)),
            fft_reference(images[:, None] * coils).astype("complex64"),
            images[:, 2 : 2 + info.target_size[0], 1 : 1 + info.target_size[1]] if info.target_size else None,
        )
        self.volumes.append(weakref.ref(volume))
        return volume


class Broken(Source):
    def __init__(self, error, **options):
        super().__init__(**options)
        self.error = error

    def read(self, slices=None):
        raise self.error


class NaNSource(Source):
    def read(self, slices=None):
        volume = super().read()
        volume.kspace[1, 0, 3, 4] = np.nan
        return volume


@functools.cache  # traced once for all tests
def zero_filled_model():
    return ZeroFilled(physics=Cartesian(center_fraction=0.4))


def zero_filled(name="zero-filled", mask=None):
    return SimpleNamespace(name=name, model=zero_filled_model(), scaling=ConstantScaling(), sampling=mask, metadata={})


def network(model, name, mask=None):
    return SimpleNamespace(name=name, model=model, scaling=PercentileScaling(), sampling=mask, metadata={})


def by_hand(volume, mask, size):
    """(nmse, psnr, ssim) of the zero-filled single-coil image, centre-cropped to `size`."""
    image = np.abs(np.conj(fft_reference(np.conj(volume.kspace[:, 0] * mask))))
    full = np.abs(np.conj(fft_reference(np.conj(volume.kspace[:, 0]))))
    target = full if volume.target is None else volume.target
    target, image = (
        x[:, (x.shape[1] - size[0]) // 2 :, (x.shape[2] - size[1]) // 2 :][:, : size[0], : size[1]]
        for x in (target, image)
    )
    error = np.sum((target - image) ** 2)
    similarity = [structural_similarity(t, i, data_range=target.max()) for t, i in zip(target, image, strict=True)]
    return (
        error / np.sum(target**2),
        10 * np.log10(target.max() ** 2 * target.size / error),
        np.mean(similarity),
    )


@pytest.mark.parametrize("target_size, crop, size", [(None, None, (15, 13)), ((11, 10), (20, 8), (11, 8))])
def test_numbers_equal_those_computed_by_hand(tmp_path, target_size, crop, size):
    source, mask = Source("file1.h5", target_size=target_size), RandomMask(3)
    (row,) = evaluate([zero_filled()], [source], tmp_path, sampling=mask, crop=crop).rows
    drawn = mask(15, 13, seed=tuple(map(ord, "file1.h5")), padding=(0, 13))  # fastMRI's seed
    np.testing.assert_allclose((row.nmse, row.psnr, row.ssim), by_hand(source.read(), drawn, size), rtol=1e-4)
    assert row.acceleration == effective_acceleration(drawn)
    assert row.num_slices == 3 and row.seconds > 0


def test_csv_has_one_row_for_each_model_and_volume(tmp_path):
    sources = [Source("a,b.h5", contrast="T1w"), Source("\udcffc.h5", coils=3, size=(17, 14), contrast='"T2"')]
    presets = [
        zero_filled(),
        network(PDNet(1, 2, 2, num_filters=4, physics=Cartesian(center_fraction=0.4)), "pdnet"),
        network(UNet((4, 8), physics=Cartesian(center_fraction=0.4)), "unet"),
    ]
    result = evaluate(presets, sources, tmp_path / "made" / "here", sampling=RandomMask(3), num_figures=1)
    assert not result.failures
    with open(tmp_path / "made" / "here" / "volumes.csv", newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["volume", "contrast", "model", "nmse", "psnr", "ssim", "seconds"] == list(COLUMNS)
    names = ["a,b.h5"] * 3 + ["\\udcffc.h5"] * 3  # a name that is no text can still be told
    assert [line[:3] for line in lines[1:]] == [
        [name, contrast, model]
        for name, contrast, model in zip(
            names, ["T1w"] * 3 + ['"T2"'] * 3, ["zero-filled", "pdnet", "unet"] * 2, strict=True
        )
    ]
    for line, row in zip(lines[1:], result.rows, strict=True):
        assert [float(number) for number in line[3:]] == [row.nmse, row.psnr, row.ssim, row.seconds]
    assert {path.name for path in (tmp_path / "made" / "here").iterdir()} == {"volumes.csv", "table.md"}
    assert [row.psnr for row in read_rows(tmp_path / "made" / "here" / "volumes.csv")] == [r.psnr for r in result.rows]


def test_each_preset_has_its_own_sampling_and_the_baseline_the_first_of_them(tmp_path):
    presets = [zero_filled(), zero_filled("two", EquispacedMask(2, 0.2)), zero_filled("four", EquispacedMask(4, 0.2))]
    result = evaluate(presets, [Source()], tmp_path)
    psnr = {row.model: row.psnr for row in result.rows}
    assert psnr["zero-filled"] == psnr["two"] != psnr["four"]
    result = evaluate(presets, [Source()], tmp_path, sampling=EquispacedMask(4, 0.2))
    assert {row.psnr for row in result.rows} == {psnr["four"]}


def test_measured_undersampled_volume_keeps_its_mask_and_needs_a_reference(tmp_path):
    mask = np.zeros((1, 13), "float32")
    mask[:, ::2] = 1
    sources = [Source("own.h5", target_size=(11, 9), mask=mask), Source("nothing.h5", mask=mask)]
    result = evaluate([zero_filled()], sources, tmp_path, sampling=RandomMask(3))
    (row,), (failure,) = result.rows, result.failures
    np.testing.assert_allclose((row.nmse, row.psnr, row.ssim), by_hand(sources[0].read(), mask, (11, 9)), rtol=1e-4)
    assert row.acceleration == 13 / 7
    assert failure.volume == "nothing.h5" and "without a reference" in failure.reason


def test_failed_volumes_are_skipped_for_all_models_and_listed(tmp_path):
    not_hdf5, good = tmp_path / "text.h5", tmp_path / "good.h5"
    not_hdf5.write_text("text")
    with h5py.File(good, "w") as file:
        file["kspace"] = Source().read().kspace
    sources = [
        Broken(OSError("disk on fire"), name="fire.h5"),
        Source("small.h5", size=(15, 5)),
        not_hdf5,
        str(good),
        NaNSource("nan.h5"),
        Broken(KeyError("key"), name="bug.h5"),
        # The window of 0.08 * 15 lines is empty: fails with the second model, after the first one's result.
        Source("coils.h5", coils=2),
        Source("last.h5", target_size=(11, 10)),
    ]
    presets = [zero_filled(), network(PDNet(1, 2, 2, num_filters=4), "pdnet")]
    result = evaluate(presets, sources, tmp_path / "out", sampling=RandomMask(2))
    assert [(row.volume, row.model) for row in result.rows] == [
        ("good.h5", "zero-filled"),
        ("good.h5", "pdnet"),
        ("last.h5", "zero-filled"),
        ("last.h5", "pdnet"),
    ]
    assert len(read_rows(tmp_path / "out" / "volumes.csv")) == 4
    reasons = {failure.volume: failure.reason for failure in result.failures}
    assert reasons == {
        "fire.h5": "fire.h5: disk on fire",
        "small.h5": "small.h5: zero-filled failed: SSIM needs slices of at least 7 x 7 pixels, got 15 x 5.",
        "text.h5": reasons["text.h5"],
        "nan.h5": "nan.h5: the k-space holds NaN or infinity.",
        "bug.h5": "bug.h5: KeyError: 'key'",
        "coils.h5": reasons["coils.h5"],
    }
    assert str(not_hdf5) in reasons["text.h5"] and "not an HDF5 file" in reasons["text.h5"]
    assert reasons["coils.h5"].startswith("coils.h5: pdnet failed: ") and "empty window" in reasons["coils.h5"]
    table = (tmp_path / "out" / "table.md").read_text()
    assert "## Skipped (6)" in table and "disk on fire" in table


def test_without_any_sampling_every_volume_fails_and_the_table_is_written(tmp_path):
    result = evaluate([zero_filled()], [Source(), Source("b.h5")], tmp_path)
    assert not result.rows and len(result.failures) == 2
    assert "no mask" in result.failures[0].reason
    assert (tmp_path / "volumes.csv").read_text().splitlines() == [",".join(COLUMNS)]
    assert "2 skipped" in (tmp_path / "table.md").read_text()


def test_one_volume_is_in_memory_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(Source, "count_alive", True)
    sources = [Source(f"{i}.h5", contrast=str(i)) for i in range(4)]
    sources.insert(2, NaNSource("nan.h5"))
    result = evaluate([zero_filled()], sources, tmp_path, sampling=RandomMask(3), num_figures=2)
    assert [source.alive_before for source in sources] == [0] * 5
    assert [example.volume for example in result.examples] == ["0.h5", "1.h5"]


def test_examples_hold_the_first_volume_of_each_contrast(tmp_path):
    sources = [Source("a.h5", contrast="T2w"), Source("b.h5", contrast="T2w", slices=2), Source("c.h5", slices=4)]
    result = evaluate([zero_filled("one"), zero_filled("two")], sources, tmp_path, sampling=RandomMask(3))
    assert [(e.volume, e.contrast, e.slice, e.num_slices) for e in result.examples] == [
        ("a.h5", "T2w", 1, 3),
        ("c.h5", "T1w", 2, 4),
    ]
    example, volume = result.examples[0], sources[0].read()
    full = np.conj(fft_reference(np.conj(volume.kspace[1, 0])))
    np.testing.assert_allclose(example.reference, np.abs(full), rtol=1e-4, atol=1e-5)
    undersampled = np.conj(fft_reference(np.conj(volume.kspace[1, 0] * example.sampled["two"])))
    np.testing.assert_allclose(example.images["two"], np.abs(undersampled), rtol=1e-4, atol=1e-5)


def test_volumes_of_one_file_name_keep_apart(tmp_path):
    paths = [tmp_path / patient / "T1.h5" for patient in ("p1", "p2")]
    for path in paths:
        path.parent.mkdir()
        with h5py.File(path, "w") as file:
            file["kspace"] = np.ones((2, 15, 13), "complex64")
    result = evaluate(
        [zero_filled()], [*paths, Source("T2.h5"), Source("T2.h5")], tmp_path / "results", sampling=RandomMask(2)
    )
    assert [row.volume for row in result.rows] == ["p1/T1.h5", "p2/T1.h5", "T2.h5 #3", "T2.h5 #4"]
    assert "Volumes: 4" in (tmp_path / "results" / "table.md").read_text()


def test_interrupted_run_keeps_its_rows_and_earlier_results(tmp_path):
    evaluate([zero_filled()], [Source("earlier.h5")], tmp_path, sampling=RandomMask(3))
    sources = [Source("0.h5"), Source("1.h5"), Broken(KeyboardInterrupt(), name="2.h5")]
    with pytest.raises(KeyboardInterrupt):
        evaluate([zero_filled()], sources, tmp_path, sampling=RandomMask(3))
    assert [row.volume for row in read_rows(tmp_path / "volumes.csv")] == ["earlier.h5"]
    assert [row.volume for row in read_rows(tmp_path / "volumes.csv.part")] == ["0.h5", "1.h5"]


class Killed(BaseException):
    pass


def killed_after(number):
    """A progress function that ends the run as a signal does, after so many steps, and the list of those."""
    steps = []

    def progress(done, total, text):
        if len(steps) == number:
            raise Killed
        steps.append(text)

    return progress, steps


def write_volumes(folder, number=4):
    paths = [folder / f"{index}.h5" for index in range(number)]
    for index, path in enumerate(paths):
        with h5py.File(path, "w") as file:
            file["kspace"] = (1 + index) * Source("a" * (1 + index)).read().kspace
    return paths


def without_seconds(row):
    return dataclasses.replace(row, seconds=0)


def test_a_run_goes_on_where_one_was_killed_and_ends_as_if_nothing_had_been(tmp_path):
    sources = [*write_volumes(tmp_path), Source("made.h5", contrast="T2w")]
    presets, options = [zero_filled("one"), zero_filled("two")], {"sampling": RandomMask(3), "num_figures": 2}
    whole, out = evaluate(presets, sources, tmp_path / "whole", **options), tmp_path / "out"
    for number, kept in ((5, 2), (3, 2), (5, 3)):  # the second is killed while it takes over
        with pytest.raises(Killed):
            evaluate(presets, sources, out, **options, progress=killed_after(number)[0])
        assert len(read_rows(out / "volumes.csv.part")) == 2 * kept
    with open(out / "volumes.csv.part", "ab") as file:  # half of a line, as a process leaves it that is killed in it
        file.write(b"3.h5,unknown,one,0.1,2")
    progress, steps = killed_after(None)
    result = evaluate(presets, sources, out, **options, progress=progress)
    assert steps[:5] == [*(f"{i}.h5: judged before" for i in range(3)), "3.h5: one", "3.h5: two"]
    assert list(map(without_seconds, result.rows)) == list(map(without_seconds, whole.rows))
    assert result.notes == ["3 volumes were taken over from a run with the same settings that was interrupted"]
    assert [(e.volume, e.contrast, e.slice) for e in result.examples] == [("0.h5", "unknown", 1), ("made.h5", "T2w", 1)]
    for ours, theirs in zip(result.examples, whole.examples, strict=True):
        np.testing.assert_array_equal(ours.reference, theirs.reference)
        for name in ("one", "two"):
            np.testing.assert_array_equal(ours.images[name], theirs.images[name])
            np.testing.assert_array_equal(ours.sampled[name], theirs.sampled[name])
    tables = [
        re.sub(r"\d+\.\d+ \|\n", "|\n", (folder / "table.md").read_text()) for folder in (out, tmp_path / "whole")
    ]
    assert tables[0] == tables[1]
    assert {path.name for path in out.iterdir()} == {"volumes.csv", "table.md"}


def test_rows_of_other_settings_files_or_damage_are_never_taken(tmp_path):
    sources, out, mask = write_volumes(tmp_path), tmp_path / "out", RandomMask(3)
    sources.append(Source("made.h5"))

    def judged(presets=None, sources=sources, sampling=mask, **options):
        shutil.copytree(tmp_path / "kept", out, dirs_exist_ok=True)
        progress, steps = killed_after(None)
        result = evaluate(presets or [zero_filled()], sources, out, sampling=sampling, **options, progress=progress)
        assert not result.failures
        return [text.split(":")[0] for text in steps if text.endswith(": zero-filled")]

    with pytest.raises(Killed):
        evaluate([zero_filled()], [*sources, Source("x.h5")], out, sampling=mask, progress=killed_after(5)[0])
    shutil.move(out, tmp_path / "kept")
    everything = ["0.h5", "1.h5", "2.h5", "3.h5", "made.h5"]
    assert judged() == []
    assert judged(sources=sources[2:]) == ["2.h5"]  # whose figure was not kept
    assert judged(sources=sources[2:], num_figures=0) == []
    for options in (
        {"sampling": RandomMask(3, 0.2)},
        {"sampling": EquispacedMask(3)},
        {"crop": (9, 9)},
        {"batch_size": 2},
        {"presets": [zero_filled(), zero_filled("another")]},
        {"presets": [SimpleNamespace(**vars(zero_filled()) | {"scaling": PercentileScaling()})]},
        {"presets": [SimpleNamespace(**vars(zero_filled()) | {"scaling": lambda kspace, adjoint=None: 1.0})]},
    ):
        assert judged(**options) == everything, options
    with h5py.File(sources[1], "a") as file:
        file["kspace"][...] = file["kspace"][()] * 2
    assert judged(sources=[*sources[:4], Source("made.h5", slices=2)]) == ["1.h5", "made.h5"]
    part = tmp_path / "kept" / "volumes.csv.part"
    lines = part.read_bytes().splitlines(keepends=True)
    cells = lines[1].split(b",")
    changed = b",".join([*cells[:4], b"99.0", *cells[5:]])  # a PSNR
    part.write_bytes(lines[0] + changed + b'\0\0\xff,"\r\n' + b"".join(lines[3:]))
    assert judged() == ["0.h5", "1.h5"]
    part.write_bytes(b"\x89HDF\n" + bytes(range(256)))
    assert judged() == everything


def test_weights_of_another_training_are_another_model(tmp_path):
    model = PDNet(1, 2, 2, num_filters=4, physics=Cartesian(center_fraction=0.4))
    presets, sources = [network(model, "pdnet")], write_volumes(tmp_path, 2)
    with pytest.raises(Killed):
        evaluate(presets, sources, tmp_path / "out", sampling=RandomMask(3), progress=killed_after(1)[0])
    model.weights[0].assign(model.weights[0] + 0.1)
    result = evaluate(presets, sources, tmp_path / "out", sampling=RandomMask(3))
    assert result.notes == ["1 volume was not taken over from an interrupted run with other settings"]


def test_one_evaluation_at_a_time_uses_a_folder(tmp_path):
    def again(result):
        assert (tmp_path / "volumes.csv").exists()
        with pytest.raises(BlockingIOError, match=f"{tmp_path} is in use by another evaluation"):
            evaluate([zero_filled()], [Source()], tmp_path, sampling=RandomMask(8))
        (tmp_path / "more.txt").write_text("finished")

    evaluate([zero_filled()], [Source()], tmp_path, sampling=RandomMask(3), finish=again)
    assert (tmp_path / "more.txt").read_text() == "finished"
    assert "RandomMask(acceleration=3" in (tmp_path / "table.md").read_text()


class Changed(Source):
    """A source whose k-space (slice, coil, height, width) and target are changed by a function."""

    def __init__(self, change, **options):
        super().__init__(**options)
        self.change = change

    def read(self, slices=None):
        volume = super().read()
        self.change(volume)
        return volume


def fill(array, value, index=...):
    array[index] = value


STORED = {"target_size": (11, 10)}
UNJUDGEABLE = {
    "all samples are zero": Changed(lambda v: fill(v.kspace, 0), **STORED),
    "mask samples nothing": Changed(
        lambda v: fill(v.kspace, 0, (..., slice(5, None))), mask=np.eye(1, 13, 9, dtype="float32"), **STORED
    ),
    "reference image is black": Changed(lambda v: fill(v.target, 0), **STORED),
    "the reference image holds NaN": Changed(lambda v: fill(v.target, np.nan, (1, 2, 3)), **STORED),
    "no sample in slice 1, where": Changed(lambda v: fill(v.kspace, 0, 1), **STORED),
    "reference is black in slices 0, 2, which": Changed(lambda v: fill(v.target, 0, [0, 2]), **STORED),
}


@pytest.mark.parametrize("reason", UNJUDGEABLE)
def test_what_no_metric_can_judge_counts_in_no_mean(tmp_path, reason):
    source, good = UNJUDGEABLE[reason], Source("good.h5")
    result = evaluate([zero_filled()], [source, good], tmp_path, sampling=RandomMask(3))
    assert [row.volume for row in result.rows] == ["good.h5"]
    assert reason in result.failures[0].reason


def test_slices_that_are_empty_everywhere_belong_to_a_volume(tmp_path):
    source = Changed(lambda v: (fill(v.kspace, 0, 1), fill(v.target, 0, 1)), **STORED)
    (row,) = evaluate([zero_filled()], [source], tmp_path, sampling=RandomMask(3)).rows
    assert row.num_slices == 3 and np.isfinite([row.nmse, row.psnr, row.ssim]).all()


@pytest.mark.parametrize(
    "image, found",
    [
        (np.zeros((2, 9, 8)), "the image is black"),
        (np.ones((2, 9, 8)) * [[[0]], [[2]]], "the image is black in slice 0, where the reference is not"),
        (np.full((2, 9, 8), np.nan), "not finite"),
    ],
)
def test_images_that_no_metric_can_judge_are_refused(image, found):
    with pytest.raises(ValueError, match=found):
        judged(np.ones((2, 9, 8)), image)


def test_a_perfect_image_is_judged():
    assert judged(np.ones((2, 9, 8)), np.ones((2, 9, 8))) == (0, np.inf, 1)


def test_a_broken_file_is_one_failure_where_coils_are_simulated(tmp_path):
    for name in ("a", "b", "c"):
        nibabel.save(
            nibabel.Nifti1Image(np.random.default_rng(0).random((24, 22, 3)), np.eye(4)), tmp_path / f"{name}.nii"
        )
    (tmp_path / "b.nii").write_bytes(b"damaged")
    sources = sources_of("oasis", tmp_path, num_coils=2)
    result = evaluate([zero_filled()], sources, tmp_path / "out", sampling=RandomMask(2, 0.4))
    assert [row.volume for row in result.rows] == ["a.nii", "c.nii"]
    assert [failure.volume for failure in result.failures] == ["b.nii"] and str(tmp_path) in result.failures[0].reason


def test_output_that_cannot_be_written_is_an_error_before_any_work(tmp_path):
    (tmp_path / "file").write_text("in the way")
    source = Source()
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=f"{output}: cannot write results there"):
            evaluate([zero_filled()], [source], output, sampling=RandomMask(3))
    assert source.alive_before is None


def test_compilation_is_kept_out_of_the_time(tmp_path, monkeypatch):
    preset, calls = zero_filled(), []
    predict = preset.model.predict_on_batch

    def counted(batch):
        calls.append(batch["kspace"].shape)
        return predict(batch)

    monkeypatch.setattr(preset.model, "predict_on_batch", counted)
    sources = [Source("a.h5"), Source("b.h5"), Source("c.h5", size=(17, 13), slices=5)]
    evaluate([preset], sources, tmp_path, sampling=RandomMask(3), batch_size=2)
    # One batch ahead where the shape is new, then the volume.
    assert calls == [(2, 1, 15, 13)] * (1 + 2 + 2) + [(2, 1, 17, 13)] * (1 + 3)


def test_progress_is_told_before_each_model_of_each_volume(tmp_path):
    told = []
    presets = [zero_filled("one"), zero_filled("two")]
    sources = [Source("a.h5"), Broken(OSError("gone"), name="b.h5"), Source("c.h5")]
    evaluate(presets, sources, tmp_path, sampling=RandomMask(3), progress=lambda *step: told.append(step))
    assert told == [(0, 6, "a.h5: one"), (1, 6, "a.h5: two"), (4, 6, "c.h5: one"), (5, 6, "c.h5: two"), (6, 6, "done")]


def test_wrong_use_is_refused(tmp_path):
    with pytest.raises(ValueError, match="0 models and 1 volumes"):
        evaluate([], [Source()], tmp_path)
    with pytest.raises(ValueError, match="1 models and 0 volumes"):
        evaluate([zero_filled()], [], tmp_path)
    with pytest.raises(ValueError, match="different names, got a, a; rename the folder of one"):
        evaluate([zero_filled("a"), zero_filled("a")], [Source()], tmp_path)


@pytest.mark.parametrize(
    "text, found",
    [
        (None, "No such file"),
        ("a,b\n1,2\n", "has the columns a, b"),
        ("", "(none)"),
        (",".join(COLUMNS) + "\na,b,c,1,2,3,four\n", "four"),
        (",".join(COLUMNS) + "\na,b\n", "missing"),
    ],
)
def test_a_file_that_is_no_volumes_csv_is_named(tmp_path, text, found):
    path = tmp_path / "volumes.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError) as error:
        read_rows(path)
    assert str(path) in str(error.value) and found in str(error.value)


def test_rows_of_a_file_are_numbers(tmp_path):
    (tmp_path / "volumes.csv").write_text(",".join(COLUMNS) + "\nv,T1w,m,0.5,30,0.9,1.5\n")
    assert read_rows(tmp_path / "volumes.csv") == [Row("v", "T1w", "m", 0.5, 30.0, 0.9, 1.5)]


@pytest.mark.parametrize("name", ["bad\x1b[31m.h5", "bad\x1b]0;title\x07.h5", "bad\u202e.h5"])
def test_sequences_in_a_name_reach_no_table_and_no_terminal(tmp_path, name):
    (tmp_path / name).write_text("no HDF5")
    shown = printable(name)
    assert shown.isprintable() and shown != "bad.h5"
    sources = [str(tmp_path / name), Source(f"good {name}")]
    result = evaluate([zero_filled()], sources, tmp_path / "out", sampling=RandomMask(2))
    (failure,) = result.failures
    assert failure.volume == name and failure.reason.startswith(f"{tmp_path}/{shown}: is not an HDF5 file")
    write_report(tmp_path / "out" / "report.html", [result], write_figures(tmp_path / "out", result))
    for text in (
        (tmp_path / "out" / "table.md").read_text(),
        (tmp_path / "out" / "report.html").read_text(),
        terminal_report(result),
    ):
        assert all(line.isprintable() for line in text.split("\n")) and "bad" in text
    assert f"{tmp_path}/{shown}: is not" in terminal_report(result)
    assert [row.volume for row in read_rows(tmp_path / "out" / "volumes.csv")] == [f"good {name}"]
