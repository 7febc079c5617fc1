"""Small files of raw measurements for tests."""

import ismrmrd

FLAGS = {"noise": 19, "reversed": 22}
COUNTERS = {"step": "kspace_encode_step_1", "partition": "kspace_encode_step_2"}
COUNTERS |= {name: name for name in ("slice", "average", "contrast", "phase", "repetition", "set", "segment")}


def write_cfl(path, array):
    path.with_suffix(".hdr").write_text(f"# Dimensions\n{' '.join(map(str, array.shape))}\n# Command\nnothing\n")
    path.write_bytes(array.astype("complex64").tobytes(order="F"))
    return path


def write_bart(folder, kspace, trajectory, name="scan"):
    """K-space (coil, shot, sample), trajectory (shot, sample, x y z) in cycles per FOV."""
    write_cfl(folder / f"{name}_traj.cfl", trajectory.T)
    return write_cfl(folder / f"{name}.cfl", kspace.T[None])


def ismrmrd_encoding(size, field_of_view=None, recon=None, recon_field_of_view=None, limits=None, calibration=None):
    """One encoding of a header; sizes and fields of view are (x, y, z), limits (center, maximum) of step 1."""

    def space(matrix, extent):
        matrix, extent = (
            "".join(f"<{axis}>{n}</{axis}>" for axis, n in zip("xyz", numbers or (), strict=False))
            for numbers in (matrix, extent)
        )
        return f"<matrixSize>{matrix}</matrixSize>" + (f"<fieldOfView_mm>{extent}</fieldOfView_mm>" if extent else "")

    center, maximum = limits or (size[1] // 2, size[1] - 1)
    limits = f"<minimum>0</minimum><maximum>{maximum}</maximum><center>{center}</center>"
    mode = f"<calibrationMode>{calibration}</calibrationMode>" if calibration else ""
    return (
        f"<encoding><encodedSpace>{space(size, field_of_view)}</encodedSpace>"
        + (f"<reconSpace>{space(recon, recon_field_of_view)}</reconSpace>" if recon else "")
        + f"<encodingLimits><kspace_encoding_step_1>{limits}</kspace_encoding_step_1></encodingLimits>"
        + f"<trajectory>cartesian</trajectory><parallelImaging>{mode}</parallelImaging></encoding>"
    )


def write_ismrmrd(path, readouts, size=(15, 13, 1), limits=None, encodings=None):
    """Readouts: dicts of data (coil, sample), optional traj (sample, dim), flags, counters, fields of the header."""
    encodings = encodings or [ismrmrd_encoding(size, limits=limits)]
    header = f'<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">{"".join(encodings)}</ismrmrdHeader>'
    with ismrmrd.Dataset(str(path), "dataset") as dataset:
        dataset.write_xml_header(header.encode())
        for readout in readouts:
            line = ismrmrd.Acquisition.from_array(readout["data"], readout.get("traj"))
            for key, name in COUNTERS.items():
                setattr(line.idx, name, readout.get(key, 0))
            line.idx.user[0] = readout.get("user", 0)
            line.center_sample = readout.get("center", line.number_of_samples // 2)
            line.discard_pre = readout.get("pre", 0)
            line.encoding_space_ref = readout.get("space", 0)
            for name in ("position", "read_dir", "phase_dir", "slice_dir"):
                if name in readout:
                    getattr(line, name)[:] = readout[name]
            for flag in [*readout.get("flags", ()), *(FLAGS[name] for name in FLAGS if readout.get(name))]:
                line.setFlag(flag)
            dataset.append_acquisition(line)
    return path
