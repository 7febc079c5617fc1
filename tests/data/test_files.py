import functools
import gzip

import h5py
import nibabel
import numpy as np
import pytest

from mri_zoo.data import nifti
from mri_zoo.data.files import FastMRIFile, ImageFile, NIfTIFile, find_volumes, open_volume
from mri_zoo.data.volume import DataError, printable

SLICES, COILS, HEIGHT, WIDTH = 4, 3, 15, 12
HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<encoding><encodedSpace><matrixSize><x>30</x><y>{size}</y><z>1</z></matrixSize></encodedSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{maximum}</maximum><center>{center}</center>
</kspace_encoding_step_1></encodingLimits></encoding></ismrmrdHeader>"""


def random_complex(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def centred_fft(image):
    """By the definition: a sum over positions that count from ``n // 2``."""
    out = image.astype(complex)
    for axis in (-2, -1):
        n = image.shape[axis]
        positions = np.arange(n) - n // 2
        matrix = np.exp(-2j * np.pi * np.outer(positions, positions) / n) / np.sqrt(n)
        out = np.moveaxis(np.moveaxis(out, axis, -1) @ matrix.T, -1, axis)
    return out


@pytest.fixture
def write_h5(tmp_path):
    def write(attrs=None, name="file1000001.h5", **datasets):
        with h5py.File(tmp_path / name, "w") as file:
            for key, value in datasets.items():
                file[key] = value
            file.attrs.update(attrs or {})
        return tmp_path / name

    return write


@pytest.fixture
def kspace(rng):
    return random_complex(rng, SLICES, COILS, HEIGHT, WIDTH)


@pytest.fixture
def write_nifti(tmp_path):
    def write(data, name="sub-OAS30001_ses-d0129_run-01_T1w.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), tmp_path / name)
        return tmp_path / name

    return write


# fastMRI HDF5


def test_fastmri_multicoil(write_h5, kspace, rng):
    target = rng.random((SLICES, 7, 5)).astype(np.float32)
    path = write_h5(
        {"acquisition": "AXT2", "patient_id": "p1", "max": 0.5, "norm": 9.0},
        kspace=kspace,
        reconstruction_rss=target,
        ismrmrd_header=HEADER.format(size=12, maximum=8, center=5),
    )
    source = FastMRIFile(path)
    info = source.info
    assert (info.name, info.contrast, info.patient_id) == ("file1000001.h5", "AXT2", "p1")
    assert (info.num_slices, info.num_coils, info.height, info.width) == (SLICES, COILS, HEIGHT, WIDTH)
    assert (info.maximum, info.norm, info.target_size) == (0.5, 9.0, (7, 5))
    assert info.mask is None and info.padding == (1, 10)

    volume = source.read()
    assert volume.kspace.dtype == np.complex64 and volume.slices == (0, 1, 2, 3)
    np.testing.assert_array_equal(volume.kspace, kspace)
    np.testing.assert_array_equal(volume.target, target)


@pytest.mark.parametrize("slices", [[2], [1, 2], [3, 0, 2], range(1, 3), np.array([0, 0]), []])
def test_fastmri_reads_slices_in_the_order_asked_for(write_h5, kspace, slices):
    target = np.arange(SLICES * 6, dtype=np.float32).reshape(SLICES, 2, 3)
    volume = FastMRIFile(write_h5(kspace=kspace, reconstruction_rss=target)).read(slices)
    assert volume.slices == tuple(slices)
    np.testing.assert_array_equal(volume.kspace, kspace[np.array(slices, int)])
    np.testing.assert_array_equal(volume.target, target[np.array(slices, int)])


def test_fastmri_singlecoil_prefers_the_emulated_coil(write_h5, kspace):
    rss, esc = np.ones((SLICES, 4, 4), np.float32), np.full((SLICES, 4, 4), 2, np.float64)
    source = FastMRIFile(write_h5(kspace=kspace[:, 0], reconstruction_rss=rss, reconstruction_esc=esc))
    volume = source.read([1])
    assert source.info.num_coils == 1 and source.info.contrast == "unknown"
    np.testing.assert_array_equal(volume.kspace, kspace[[1], :1])
    assert volume.target.dtype == np.float32
    np.testing.assert_array_equal(volume.target, esc[:1])


def test_fastmri_without_reference(write_h5, kspace):
    source = FastMRIFile(write_h5(kspace=kspace.astype(np.complex128)))
    volume = source.read()
    assert volume.target is None and source.info.target_size is None
    assert (source.info.maximum, source.info.norm, source.info.padding) == (None, None, (0, WIDTH))
    assert volume.kspace.dtype == np.complex64
    np.testing.assert_array_equal(volume.kspace, kspace)


@pytest.mark.parametrize("shape", [(WIDTH,), (1, WIDTH), (HEIGHT, WIDTH)])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_fastmri_mask(write_h5, kspace, rng, shape, dtype):
    mask = rng.integers(0, 2, shape).astype(dtype)
    info = FastMRIFile(write_h5(kspace=kspace, mask=mask)).info
    assert info.mask.dtype == np.float32
    np.testing.assert_array_equal(info.mask, np.atleast_2d(mask))


@pytest.mark.parametrize(
    "header, expected",
    [
        # fastMRI: first = size // 2 - center, stop = first + maximum + 1
        (HEADER.format(size=12, maximum=11, center=6), (0, 12)),
        (HEADER.format(size=12, maximum=6, center=4), (2, 9)),
        (HEADER.format(size=13, maximum=6, center=4), (2, 9)),
        (HEADER.replace(' xmlns="http://www.ismrm.org/ISMRMRD"', "").format(size=12, maximum=6, center=4), (2, 9)),
        (HEADER.format(size=12, maximum=20, center=8), (0, 12)),  # beyond the columns
        (HEADER.format(size=40, maximum=3, center=0), (0, 12)),  # not of this k-space
        (HEADER.format(size=12, maximum=6, center=4).replace("<center>4</center>", ""), (0, 12)),
        (HEADER.format(size=12, maximum="six", center=4), (0, 12)),
        ("<ismrmrdHeader></ismrmrdHeader>", (0, 12)),
        ("not XML", (0, 12)),
        (np.zeros(3), (0, 12)),
    ],
)
def test_fastmri_padding_from_the_header(write_h5, kspace, header, expected):
    assert FastMRIFile(write_h5(kspace=kspace, ismrmrd_header=header)).info.padding == expected


def test_fastmri_reads_only_the_slices_asked_for(write_h5, kspace):
    kspace[3, 1, 2, 4] = np.nan
    source = FastMRIFile(write_h5(kspace=kspace))
    source.read([0, 1, 2])
    with pytest.raises(
        DataError, match="file1000001.h5: dataset `kspace` holds NaN or infinity in slice 3; expected fin"
    ):
        source.read()


@pytest.mark.parametrize("value", [np.nan, 1j * np.nan, np.inf, -np.inf, -1j * np.inf])
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_fastmri_refuses_values_that_are_not_finite(write_h5, kspace, value, dtype):
    kspace[2, 0, 0, 0] = value
    with pytest.raises(DataError, match="`kspace` holds NaN or infinity in slice 2"):
        FastMRIFile(write_h5(kspace=kspace.astype(dtype))).read()


def test_fastmri_refuses_a_target_that_is_not_finite(write_h5, kspace):
    target = np.ones((SLICES, 3, 3))
    target[1, 1, 1] = np.inf
    with pytest.raises(DataError, match="`reconstruction_rss` holds NaN or infinity in slice 1"):
        FastMRIFile(write_h5(kspace=kspace, reconstruction_rss=target)).read()


@pytest.mark.parametrize(
    "change, found, expected",
    [
        ({"kspace": np.zeros((2, 5))}, "`kspace` has type float64", "complex"),
        ({"kspace": np.zeros((2, 3, 4, 5), np.int16)}, "`kspace` has type int16", "complex"),
        ({"kspace": np.zeros((4, 5), complex)}, r"`kspace` has shape \(4, 5\)", r"\(slice, coil, height, width\)"),
        ({"kspace": np.zeros((1, 2, 3, 4, 5), complex)}, r"`kspace` has shape \(1, 2, 3, 4, 5\)", r"\(slice, coil"),
        ({"kspace": np.zeros((0, 3, 4, 5), complex)}, r"`kspace` is empty, of shape \(0, 3, 4, 5\)", r"\(slice, coil"),
        ({"kspace": h5py.Empty(np.complex64)}, "`kspace` is empty", r"\(slice, coil"),
        (
            {"reconstruction_rss": np.zeros((4, 1, 5, 5))},
            r"`reconstruction_rss` has shape \(4, 1, 5, 5\)",
            r"\(slice, h",
        ),
        ({"reconstruction_rss": np.zeros((3, 5, 5))}, "`reconstruction_rss` has 3 slices", "4, as `kspace` has"),
        ({"reconstruction_rss": np.zeros((4, 5, 5), complex)}, "`reconstruction_rss` has type complex128", "real"),
        ({"mask": np.zeros(WIDTH + 1)}, r"`mask` has shape \(13,\)", r"\(12,\) or \(15, 12\)"),
        ({"mask": np.zeros((HEIGHT + 2, WIDTH))}, r"`mask` has shape \(17, 12\)", r"\(12,\) or \(15, 12\)"),
        ({"mask": np.zeros(WIDTH, complex)}, "`mask` has .* type complex128", "numbers"),
        ({"trajectory": np.zeros((5, 5, 2))}, "`trajectory` is there", "Cartesian"),
    ],
)
def test_fastmri_refuses_what_is_not_its_layout(write_h5, kspace, change, found, expected):
    path = write_h5(**{"kspace": kspace, **change})
    with pytest.raises(DataError, match=f"{path}: dataset {found}.*; expected.*{expected}"):
        FastMRIFile(path)


def test_fastmri_without_kspace_says_what_there_is(write_h5):
    with pytest.raises(DataError, match=r"no dataset `kspace`, only \['T1w', 'T2w'\]; expected \(slice, coil"):
        FastMRIFile(write_h5(T1w=np.zeros((2, 3, 4)), T2w=np.zeros(3)))


def test_fastmri_refuses_missing_foreign_and_damaged_files(write_h5, kspace, tmp_path):
    with pytest.raises(DataError, match="absent.h5: no such file; expected an HDF5 file"):
        FastMRIFile(tmp_path / "absent.h5")
    with pytest.raises(DataError, match="no such file"):
        FastMRIFile(tmp_path)
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(DataError, match="text.h5: is not an HDF5 file.*; expected fastMRI's layout"):
        FastMRIFile(tmp_path / "text.h5")
    path = write_h5(kspace=kspace)
    source = FastMRIFile(path)
    path.write_bytes(path.read_bytes()[:-1000])
    for action in (lambda: FastMRIFile(path), source.read):
        with pytest.raises(DataError, match="file1000001.h5: is truncated or damaged; expected a whole HDF5 file"):
            action()


def test_fastmri_damaged_chunk_is_an_error(tmp_path, rng):
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", data=random_complex(rng, 2, 1, 40, 40), chunks=(1, 1, 40, 40), compression="gzip")
        offset = file["kspace"].id.get_chunk_info(1).byte_offset
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write(bytes(200))
    source = FastMRIFile(path)
    source.read([0])
    with pytest.raises(DataError, match="file.h5: is truncated or damaged"):
        source.read([1])


@pytest.mark.parametrize("options", [{"dtype": ">c8"}, {"chunks": (1, 3, 4, 5), "compression": "gzip"}])
def test_fastmri_reads_every_storage_layout(tmp_path, kspace, options):
    path = tmp_path / "file.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("kspace", data=kspace, **options)
        file["reconstruction_rss"] = np.abs(kspace[:, 0])  # in one piece, behind the block
    volume = FastMRIFile(path).read([3, 1])
    np.testing.assert_array_equal(volume.kspace, kspace[[3, 1]])
    np.testing.assert_array_equal(volume.target, np.abs(kspace[[3, 1], 0]))


def test_fastmri_sees_a_file_that_was_replaced(write_h5, kspace):
    source = FastMRIFile(write_h5(kspace=kspace))
    write_h5({"acquisition": "moves the data"}, text=np.arange(9), kspace=2 * kspace)
    np.testing.assert_array_equal(source.read().kspace, 2 * kspace)
    write_h5(kspace=kspace[:2])
    with pytest.raises(DataError, match="dataset `kspace` is not the one first seen there"):
        source.read([0])


def test_fastmri_takes_huge_finite_values(write_h5, kspace):
    kspace[:] = 3e38
    np.testing.assert_array_equal(FastMRIFile(write_h5(kspace=kspace)).read().kspace, kspace)


@pytest.mark.parametrize("slices", [[4], [-1], [0, 99]])
def test_slice_out_of_range(write_h5, write_nifti, kspace, slices):
    for source in (FastMRIFile(write_h5(kspace=kspace)), NIfTIFile(write_nifti(np.ones((5, 6, 4), np.float32)))):
        with pytest.raises(DataError, match=f"{source.path}: there is no slice {slices[-1]}; expected .* 0 to 3"):
            source.read(slices)


# NIfTI


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_nifti(write_nifti, rng, slice_axis, extension):
    data = rng.integers(0, 4000, (3, 9, 10)).astype(np.int16)
    path = write_nifti(np.moveaxis(data, 0, slice_axis), f"sub-OAS30001_ses-d0129_run-01_T1w{extension}")
    source = NIfTIFile(path)
    info = source.info
    assert (info.num_slices, info.num_coils, info.height, info.width) == (3, 1, 9, 10)
    assert (info.name, info.contrast, info.patient_id) == (path.name, "T1w", "sub-OAS30001")
    assert info.target_size == (9, 10) and info.padding == (0, 10) and info.mask is None

    volume = source.read([2, 0])
    assert volume.slices == (2, 0)
    assert volume.target.dtype == np.float32 and volume.kspace.dtype == np.complex64
    np.testing.assert_array_equal(volume.target, data[[2, 0]])
    expected = centred_fft(data[[2, 0]])
    np.testing.assert_allclose(volume.kspace[:, 0], expected, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_array_equal(source.read().target, data)


@pytest.mark.parametrize("slope, inter", [(0.5, 3), (0, 7), (2.5, -1)])
def test_nifti_applies_scale(tmp_path, rng, slope, inter):
    image = nibabel.Nifti1Image(rng.integers(1, 90, (8, 9, 2)).astype(np.int16), np.eye(4))
    image.header.set_slope_inter(slope or 1, inter if slope else 0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    if not slope:  # means that there is no scale
        content = bytearray(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))
        content[112:120] = np.array([0, inter], "<f4").tobytes()
        (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(content)))
    target = NIfTIFile(tmp_path / "a.nii.gz").read().target
    np.testing.assert_allclose(target, np.moveaxis(nibabel.load(tmp_path / "a.nii.gz").get_fdata(), 2, 0), rtol=1e-6)


def test_values_that_are_no_magnitudes_are_refused_and_ringing_is_set_to_zero(write_nifti, write_h5, rng):
    phase, ringing = rng.uniform(-np.pi, np.pi, (8, 9, 3)), 100 * rng.random((8, 9, 3))
    ringing[2, 3] = -0.5
    with pytest.raises(DataError, match=r"phase.nii: the image has values from -3\..* to 3\..*; expected a magnitude"):
        NIfTIFile(write_nifti(phase.astype(np.float32), "phase.nii")).read([1])
    with pytest.raises(DataError, match=r"`T1w` has values from -3\..* to 3\..*; expected a magnitude"):
        ImageFile(write_h5(T1w=phase), "T1w").read([1])
    target = NIfTIFile(write_nifti(ringing.astype(np.float32))).read().target
    np.testing.assert_allclose(target, np.moveaxis(np.maximum(ringing, 0), 2, 0), rtol=1e-6)
    np.testing.assert_allclose(ImageFile(write_h5(T1w=ringing), "T1w").read([4]).target[0], np.maximum(ringing[4], 0))
    with pytest.raises(DataError, match="`reconstruction_rss` has values from -"):
        FastMRIFile(write_h5(kspace=np.ones((8, 2, 9, 3), complex), reconstruction_rss=phase)).read([0])


def test_nifti_with_a_singleton_fourth_axis(write_nifti, rng):
    data = rng.random((7, 8, 3, 1)).astype(np.float32)
    source = NIfTIFile(write_nifti(data))
    assert source.info.num_slices == 3
    np.testing.assert_array_equal(source.read().target, np.moveaxis(data[..., 0], 2, 0))


def test_nifti_simulated_phase(write_nifti, rng):
    path = write_nifti(rng.random((21, 18, 3)).astype(np.float32) + 1)
    plain, volume = NIfTIFile(path).read(), NIfTIFile(path, phase_seed=4).read()
    np.testing.assert_array_equal(volume.target, plain.target)
    image = np.conj(centred_fft(np.conj(volume.kspace[:, 0])))
    np.testing.assert_allclose(np.abs(image), plain.target, rtol=1e-5)
    phase = image / np.abs(image)
    assert np.abs(np.angle(phase)).max() > 0.3
    assert np.abs(np.diff(np.unwrap(np.angle(phase)))).max() < 0.8  # smooth along the width
    assert np.abs(phase[0] - phase[1]).max() > 0.1  # every slice has its own

    np.testing.assert_array_equal(NIfTIFile(path, phase_seed=4).read([2]).kspace, volume.kspace[[2]])
    assert np.abs(NIfTIFile(path, phase_seed=5).read([2]).kspace - volume.kspace[[2]]).max() > 0.1


@pytest.mark.parametrize(
    "name, contrast, patient_id",
    [
        ("sub-OAS30001_ses-d0129_T2w.nii.gz", "T2w", "sub-OAS30001"),
        ("sub-OAS30001_ses-d0129_acq-T1w_FLAIR.nii", "FLAIR", "sub-OAS30001"),
        ("sub-OAS30001_ses-d0129_dwi.nii", "unknown", "sub-OAS30001"),
        ("openms_patient01_s1_T1W.nii.gz", "T1w", "openms_patient01_s1"),
        ("openms_patient01_s1_FLAIR.nii.gz", "FLAIR", "openms_patient01_s1"),
        ("sct_cspine_T2star.nii.gz", "T2star", "sct_cspine"),
        ("IXI002-Guys-0828-PD.nii.gz", "PDw", "IXI002-Guys-0828"),
        ("t1.nii.gz", "T1w", ""),
        ("aT1wb.nii.gz", "unknown", "aT1wb"),
        ("example4d.nii.gz", "unknown", "example4d"),
        ("p3_T1w_to_T2w.nii.gz", "T2w", "p3"),
    ],
)
def test_nifti_names(write_nifti, name, contrast, patient_id):
    info = NIfTIFile(write_nifti(np.ones((5, 4, 3), np.float32), name)).info
    assert (info.contrast, info.patient_id) == (contrast, patient_id)


def test_nifti_cache_is_bounded_and_shared(write_nifti, monkeypatch):
    reads = []
    read = nifti._read.__wrapped__
    monkeypatch.setattr(
        nifti, "_read", functools.lru_cache(nifti.NUM_CACHED_VOLUMES)(lambda *key: reads.append(key) or read(*key))
    )
    paths = [write_nifti(np.full((5, 4, 3), value, np.float32), f"{value}.nii.gz") for value in range(1, 8)]
    sources = [NIfTIFile(path) for path in paths for _ in range(2)]
    for source in sources:
        for index in range(3):
            assert source.read([index]).target.max() == int(source.path.name[0])
    assert len(reads) == len(paths)
    assert nifti._read.cache_info().currsize == nifti.NUM_CACHED_VOLUMES < len(paths)


def test_nifti_cache_cannot_be_spoilt_and_sees_a_new_file(write_nifti):
    source = NIfTIFile(write_nifti(np.ones((5, 4, 3), np.float32)))
    source.read().target[:] = 7
    assert source.read().target.max() == 1
    write_nifti(np.full((5, 4, 3), 2, np.float32))
    assert source.read().target.max() == 2


def test_nifti_refuses_other_forms(write_nifti):
    path = write_nifti(np.ones((4, 5, 3, 2), np.float32))
    with pytest.raises(DataError, match=f"{path}: holds a 4-D series, for example functional; expected a 3-D volume"):
        NIfTIFile(path)
    with pytest.raises(DataError, match=r"image of shape \(4, 5\); expected a 3-D volume"):
        NIfTIFile(write_nifti(np.ones((4, 5), np.float32)))
    with pytest.raises(DataError, match="values of type complex64; expected real numbers"):
        NIfTIFile(write_nifti(np.ones((4, 5, 3), np.complex64)))
    data = np.ones((4, 5, 3), np.float32)
    data[1, 1, 2] = np.nan
    source = NIfTIFile(write_nifti(data))
    source.read([0, 1])
    with pytest.raises(DataError, match="the image holds NaN or infinity in slice 2; expected finite"):
        source.read()


def test_nifti_refuses_missing_foreign_and_damaged_files(write_nifti, tmp_path, rng):
    with pytest.raises(DataError, match="absent.nii.gz: no such file; expected a NIfTI volume"):
        NIfTIFile(tmp_path / "absent.nii.gz")
    for name, content in (("a.nii", b"text"), ("a.nii.gz", b"text"), ("b.nii.gz", gzip.compress(b"text" * 200))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name}: is (not a NIfTI file|truncated or damaged); expected a"):
            NIfTIFile(tmp_path / name)
    for extension in (".nii", ".nii.gz"):
        path = write_nifti(rng.integers(0, 99, (40, 30, 20)).astype(np.float32), f"whole{extension}")
        source = NIfTIFile(path)
        whole = path.read_bytes()
        if extension == ".nii.gz":
            whole = gzip.compress(gzip.decompress(whole))
            wrong_checksum, impossible_code = whole[:-8] + bytes(4) + whole[-4:], whole[:10] + b"\xff" + whole[11:]
            for damaged in (wrong_checksum, impossible_code):
                path.write_bytes(damaged)
                with pytest.raises(DataError, match=f"{path}: is truncated or damaged"):
                    source.read([0])
        path.write_bytes(whole[:-2000])
        for damaged in (source, NIfTIFile(path)):
            with pytest.raises(DataError, match=f"{path}: is truncated or damaged; expected a whole NIfTI volume"):
                damaged.read([0])
        path.write_bytes(path.read_bytes()[:20])
        with pytest.raises(DataError, match=f"{path}: is (not a NIfTI file|truncated or damaged)"):
            NIfTIFile(path)
        path.unlink()
        with pytest.raises(DataError, match=f"{path}: no such file"):
            source.read([0])


# Stacks of images


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
def test_image_file(write_h5, rng, dtype):
    images = (1000 * rng.random((3, 9, 8))).astype(dtype)
    source = ImageFile(write_h5({"patient_id": "p7"}, T2w=images), "T2w")
    assert (source.info.contrast, source.info.patient_id, source.info.num_slices) == ("T2w", "p7", 3)
    assert source.info.target_size == (9, 8)
    volume = source.read([2, 1])
    np.testing.assert_array_equal(volume.target, images[[2, 1]].astype(np.float32))
    expected = centred_fft(images[[2, 1]])
    np.testing.assert_allclose(volume.kspace[:, 0], expected, atol=1e-6 * np.abs(expected).max())


def test_image_file_refuses_other_forms(write_h5):
    path = write_h5(T1w=np.zeros((4, 5)), T2w=np.zeros((2, 4, 5), complex), PDw=np.full((1, 4, 5), np.nan))
    with pytest.raises(DataError, match=r"`T1w` has shape \(4, 5\); expected \(slice, height, width\)"):
        ImageFile(path, "T1w")
    with pytest.raises(DataError, match="`T2w` has type complex128; expected real numbers"):
        ImageFile(path, "T2w")
    with pytest.raises(DataError, match="no dataset `FLAIR`, only .*'PDw'"):
        ImageFile(path, "FLAIR")
    with pytest.raises(DataError, match="`PDw` holds NaN or infinity in slice 0"):
        ImageFile(path, "PDw").read()


# Finding and opening


def test_open_volume_picks_the_reader(write_h5, write_nifti, kspace):
    assert isinstance(open_volume(write_h5(kspace=kspace)), FastMRIFile)
    nifti = open_volume(str(write_nifti(np.ones((5, 4, 3), np.float32))), phase_seed=3)
    assert isinstance(nifti, NIfTIFile) and nifti.phase_seed == 3
    images = open_volume(write_h5(name="images.h5", T1w=np.ones((2, 5, 4))), dataset="T1w")
    assert isinstance(images, ImageFile) and images.info.contrast == "T1w"
    with pytest.raises(DataError, match="h5: `units` cannot be given, FastMRIFile does not take it"):
        open_volume(write_h5(kspace=kspace), units="cycles/FOV")
    with pytest.raises(DataError, match="pyproject.png: no such file"):
        open_volume("pyproject.png")


def test_find_volumes(tmp_path):
    names = ["b.h5", "a/c.h5", "a/._c.h5", "a/d.nii.gz", "b/e.nii", "notes.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_volumes(tmp_path, "fastmri") == [tmp_path / "a" / "c.h5", tmp_path / "b.h5"]
    assert find_volumes(str(tmp_path), "oasis") == [tmp_path / "a" / "d.nii.gz", tmp_path / "b" / "e.nii"]
    assert find_volumes(tmp_path / "b.h5", "fastmri") == [tmp_path / "b.h5"]


def test_find_volumes_refuses_empty_and_missing_folders(tmp_path):
    with pytest.raises(
        DataError, match=f"{tmp_path}: the folder holds no .h5 file; expected fastMRI volumes.*multicoil"
    ):
        find_volumes(tmp_path, "fastmri")
    with pytest.raises(DataError, match="holds no .nii or .nii.gz file; expected NIfTI volumes.*T1w.nii.gz"):
        find_volumes(tmp_path, "oasis")
    with pytest.raises(DataError, match="absent: no such file or folder; expected NIfTI"):
        find_volumes(tmp_path / "absent", "oasis")
    with pytest.raises(ValueError, match="`kind` must be one of fastmri, oasis, got 'knee'"):
        find_volumes(tmp_path, "knee")


# Real scans


def test_real_kspace_gives_its_reference(shared_data):
    paths = [path for part in ("train", "test") for path in sorted((shared_data / part).glob("kspace_*/*.h5"))]
    assert len(paths) >= 20
    for path in paths:
        source = FastMRIFile(path)
        volume = source.read([source.info.num_slices // 2])
        assert source.info.maximum > 0 and source.info.padding == (0, source.info.width)
        image = np.sqrt(np.sum(np.abs(np.conj(centred_fft(np.conj(volume.kspace)))) ** 2, axis=1))
        height, width = source.info.target_size
        top, left = (source.info.height - height) // 2, (source.info.width - width) // 2
        image = image[:, top : top + height, left : left + width]
        # Stored references are float32.
        np.testing.assert_allclose(image, volume.target, atol=2e-6 * volume.target.max(), err_msg=str(path))
        if source.info.mask is not None:
            assert not (volume.kspace * (1 - source.info.mask)).any(), path


def test_real_volumes_open(shared_data):
    paths = find_volumes(shared_data / "train", "oasis") + find_volumes(shared_data / "test", "oasis")
    assert len(paths) >= 10
    for path in paths:
        source = open_volume(path)
        assert source.info.contrast != "unknown" and source.info.patient_id
        assert source.info.num_slices < min(source.info.height, source.info.width)
        volume = source.read([source.info.num_slices // 2])
        energy = np.sum(volume.target.astype(float) ** 2)
        assert energy > 0
        np.testing.assert_allclose(np.sum(np.abs(volume.kspace.astype(complex)) ** 2), energy, rtol=1e-5)


def test_real_images_open(shared_data):
    paths = sorted(shared_data.glob("*/images_2d/*.h5"))
    assert len(paths) >= 5
    for path in paths:
        for contrast in ("T1w", "T2w"):
            volume = open_volume(path, dataset=contrast).read([0, 3])
            assert volume.info.num_slices == 4 and volume.info.patient_id.startswith("ulf_")
            assert volume.target.max() > 100


def test_an_error_keeps_the_colours_of_a_name_and_drops_the_bold_type_of_keras():
    assert str(DataError("bad\x1b[31m.h5: is\n no file")) == r"bad\x1b[31m.h5: is no file"
    text = "Exception encountered when calling UNet.call().\n\n\x1b[1ma\x1b[31m.h5 is odd\x1b[0m\n\nArguments received"
    assert printable(text) == (
        r"Exception encountered when calling UNet.call(). a\x1b[31m.h5 is odd Arguments received"
    )
