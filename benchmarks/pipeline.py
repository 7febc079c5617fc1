"""Slices per second of the data pipeline: `python benchmarks/pipeline.py --help`.

The peer, measured in the same run on the same files, is a plain h5py loop that reads the same slices. The pipeline adds
the mask, the reference image from the full k-space (inverse Fourier transform, root-sum-of-squares), crop and scaling.
The last column is what a training step of PDNet takes from it: the pipeline must be much faster than that.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import numpy as np

from mri_zoo.data import FastMRIFile, RandomMask, slices_of
from mri_zoo.models import PDNet


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, default=4)
    parser.add_argument("--slices", type=int, default=24, help="slices of each volume")
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many passes is printed")
    options = parser.parse_args()
    heading = ("data", "h5py alone", "pipeline", "ratio", "stored reference", "ratio", "PDNet training")
    print("| " + " | ".join(heading) + " |\n|" + " --- |" * len(heading))
    for coils, slices in [(1, options.slices), (15, max(options.slices // 4, 1))]:
        with tempfile.TemporaryDirectory() as folder:
            paths = [_write(Path(folder) / f"{i}.h5", slices, coils) for i in range(options.volumes)]
            raw = _rate(lambda paths=paths: _raw_reads(paths), options.repeats)
            computed = _rate(lambda paths=paths: _pipeline(paths), options.repeats)
            for path in paths:
                with h5py.File(path, "a") as file:
                    file["reconstruction_rss"] = np.ones((slices, 320, 320), "float32")
            stored = _rate(lambda paths=paths: _pipeline(paths), options.repeats)
            step = _training_rate(paths[0], primal_only=coils > 1)
        cells = [f"640 x 368, {coils} coil(s)", f"{raw:.0f} /s", f"{computed:.0f} /s", f"{computed / raw:.2f}"]
        cells += [f"{stored:.0f} /s", f"{stored / raw:.2f}", f"{step:.2f} /s"]
        print("| " + " | ".join(cells) + " |", flush=True)


def _write(path, slices, coils):
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        shape = (slices, coils, 640, 368, 2)
        file["kspace"] = rng.standard_normal(shape, dtype="float32").view("complex64")[..., 0]
    return path


def _raw_reads(paths):
    count = 0
    for path in paths:
        with h5py.File(path) as file:
            for index in range(len(file["kspace"])):
                file["kspace"][index]
                count += 1
    return count


def _pipeline(paths):
    dataset = slices_of([FastMRIFile(path) for path in paths], RandomMask(4), crop=(320, 320))
    return sum(1 for _ in dataset)


def _training_rate(path, primal_only):
    model = PDNet(primal_only=primal_only)
    model.compile("adam", "mae")
    dataset = slices_of([FastMRIFile(path)], RandomMask(4), crop=(320, 320)).batch(1)
    model.fit(dataset.take(1), verbose=0)
    start = time.perf_counter()
    model.fit(dataset.take(2), verbose=0)
    return 2 / (time.perf_counter() - start)


def _rate(function, repeats):
    function()
    rates = []
    for _ in range(repeats):
        start = time.perf_counter()
        rates.append(function() / (time.perf_counter() - start))
    return max(rates)


if __name__ == "__main__":
    main()
