"""Slices per second of the data pipeline: `python benchmarks/pipeline.py --help`.

The peer, measured in the same run on the same files, is a plain h5py loop that reads the same slices, from the page
cache and, after the files were dropped from it, from the disk. The pipeline adds masks, crop and scaling. Where the
files store no reference image, it computes one: no pipeline is faster then than the Fourier transforms alone, which
are measured too. The last column is what a training step of PDNet takes: the pipeline must be much faster than that.
"""

import argparse
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import numpy as np

from mri_zoo.data import FastMRIFile, RandomMask, slices_of
from mri_zoo.data.fourier import ifft2c
from mri_zoo.models import PDNet


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, default=4)
    parser.add_argument("--slices", type=int, default=24, help="slices of each volume")
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many passes is printed")
    parser.add_argument("--folder", help="where to write the files, on the disk to be measured")
    options = parser.parse_args()
    heading = ("data", "read from", "h5py alone", "stored reference", "computed reference", "FFT alone", "training")
    print("| " + " | ".join(heading) + " |\n|" + " --- |" * len(heading))
    for coils, slices in [(1, options.slices), (15, max(options.slices // 4, 1))]:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            paths = [_write(Path(folder) / f"{i}.h5", slices, coils) for i in range(options.volumes)]
            transforms, step = _transform_rate(coils), _training_rate(paths[0], primal_only=coils > 1)
            reads = _raw_reads, _pipeline
            rates = {cold: [_rate(read, paths, options.repeats, cold) for read in reads] for cold in (False, True)}
            for path in paths:
                with h5py.File(path, "a") as file:
                    file["reconstruction_rss"] = np.ones((slices, 320, 320), "float32")
            for cold, (raw, computed) in rates.items():
                stored = _rate(_pipeline, paths, options.repeats, cold)
                cells = [f"640 x 368, {coils} coil(s)", ("page cache", "disk")[cold], f"{raw:.0f} /s"]
                cells += [f"{rate:.0f} /s, {rate / raw:.2f} x" for rate in (stored, computed)]
                cells += [f"{transforms:.0f} /s", f"{step:.2f} /s"]
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


def _transform_rate(coils):
    """Inverse Fourier transforms of slices per second, all cores together."""
    kspace = np.ones((coils, 640, 368), "complex64")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        start = time.perf_counter()
        count = sum(1 for _ in pool.map(ifft2c, [kspace] * (4 * os.cpu_count())))
        return count / (time.perf_counter() - start)


def _rate(read, paths, repeats, cold):
    rates = []
    for _ in range(repeats + 1):  # the first pass warms up
        if cold:
            _drop_from_page_cache(paths)
        start = time.perf_counter()
        rates.append(read(paths) / (time.perf_counter() - start))
    return max(rates[1:])


def _drop_from_page_cache(paths):
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
