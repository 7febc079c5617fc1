"""What the XML header of ISMRMRD tells of the encoding: matrix sizes, fields of view, limits, calibration."""

import dataclasses
import math
import xml.etree.ElementTree as ElementTree


@dataclasses.dataclass(frozen=True)
class EncodingHeader:
    """One `encoding` of the header; axes are x (readout), y, z, and what is not told is None.

    Attributes:
        size: matrix of the encoded space.
        field_of_view: its extent, mm.
        recon_size, recon_field_of_view: those of the image that the scanner makes.
        limits: by step ("kspace_encoding_step_1", ...) its (minimum, maximum, center), numbers of lines.
        calibration: mode, such as "embedded", or an empty string.
        trajectory: "cartesian", "radial", ..., or an empty string.
    """

    size: tuple[int, int, int]
    field_of_view: tuple[float, float, float] | None
    recon_size: tuple[int, int, int] | None
    recon_field_of_view: tuple[float, float, float] | None
    limits: dict[str, tuple[int, int, int]]
    calibration: str = ""
    trajectory: str = ""

    def center(self, step):
        """The line that crosses the centre of k-space along axis 1 (y) or 2 (z)."""
        limits = self.limits.get(f"kspace_encoding_step_{step}")
        return self.size[step] // 2 if limits is None else limits[2]

    def symmetric_lines(self, step):
        """First and one-past-last line, on the grid, of the widest symmetric range that the limits allow.

        Lines beyond the limits at both edges were never meant to be measured: the image has fewer pixels than the
        matrix. Lines beyond them at one edge alone are missing, as in partial Fourier, and so are inside.
        """
        size, limits = self.size[step], self.limits.get(f"kspace_encoding_step_{step}")
        if limits is None:
            return 0, size
        minimum, maximum, center = limits
        return symmetric_range(size, size // 2 - center + minimum, size // 2 - center + maximum + 1)

    def missing_lines(self, step):
        """How many lines of `symmetric_lines` are beyond the limits: those that partial Fourier leaves out."""
        first, stop = self.symmetric_lines(step)
        minimum, maximum, _ = self.limits.get(f"kspace_encoding_step_{step}", (0, self.size[step] - 1, 0))
        return max(stop - first - (maximum + 1 - minimum), 0)

    def pixels(self, axis):
        """How many of the encoded pixels the image has along an axis, by its field of view."""
        size = self.size[axis]
        if self.recon_size is None:
            return size
        if self.field_of_view is None or self.recon_field_of_view is None:
            return min(size, self.recon_size[axis])
        return max(1, min(size, round(size * self.recon_field_of_view[axis] / self.field_of_view[axis])))

    def pixel_size(self, axis):
        """Millimetres of an encoded pixel along an axis, or None."""
        if self.field_of_view is not None:
            return self.field_of_view[axis] / self.size[axis]
        if self.recon_field_of_view is not None and self.recon_size is not None:
            return self.recon_field_of_view[axis] / self.recon_size[axis]
        return None

    def notes(self, axes):
        """What is assumed of the image along these axes, a tuple of sentences without a full stop."""
        found = []
        if self.recon_size is None:
            return ("the header tells no reconSpace: the image has the encoded size",)
        if self.field_of_view is None or self.recon_field_of_view is None:
            found.append("the header tells no field of view: pixels of reconSpace and encodedSpace are taken as equal")
        pixels = [self.pixels(axis) for axis in axes]
        asked = [self.recon_size[axis] for axis in axes]
        if pixels != asked:
            shown, wanted = (" x ".join(map(str, sizes)) for sizes in (pixels, asked))
            found.append(f"reconSpace asks for {wanted} pixels, of which k-space has {shown}: nothing is interpolated")
        return tuple(found)


def symmetric_range(size, first, stop):
    """The widest of the given range of lines and its mirror about the centre, line ``size // 2``."""
    center = size // 2
    if first >= center or stop <= center:
        return 0, size
    if abs((center - first) - (stop - center)) <= 1:  # an odd number of lines, or an even one
        return max(first, 0), min(stop, size)
    reach = max(center - first, stop - center)
    return max(center - reach, 0), min(center + reach, size)


def parse_header(text):
    """The `EncodingHeader`s of a header.

    Args:
        text: XML, str or bytes.

    Raises:
        ValueError: if it is no XML, has no encoding with a matrix size, or a limit is no whole number.
    """
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, TypeError, LookupError) as error:  # also an unknown encoding of its text
        raise ValueError(f"has no XML header ({error})") from error
    encodings = root.findall("{*}encoding")
    if not encodings:
        raise ValueError("has no encoding, and so no encoded matrix size")
    return [_encoding(element) for element in encodings]


def _encoding(element):
    size = _numbers(element, "encodedSpace/matrixSize")
    if size is None or not all(_is_count(n) for n in size):
        raise ValueError("has no encoded matrix size")
    recon = _numbers(element, "reconSpace/matrixSize")
    recon = tuple(map(int, recon)) if recon is not None and all(_is_count(n) for n in recon) else None
    limits = {}
    for step in ("kspace_encoding_step_1", "kspace_encoding_step_2"):
        found = element.find(f"{{*}}encodingLimits/{{*}}{step}")
        if found is not None:
            limits[step] = tuple(_limit(found, step, name) for name in ("minimum", "maximum", "center"))
    calibration = element.findtext("{*}parallelImaging/{*}calibrationMode", "").strip().lower()
    spaces = _lengths(element, "encodedSpace"), recon, _lengths(element, "reconSpace")
    trajectory = element.findtext("{*}trajectory", "").strip().lower()
    return EncodingHeader(tuple(map(int, size)), *spaces, limits, calibration, trajectory)


def _numbers(element, path):
    found = element.find("/".join(f"{{*}}{part}" for part in path.split("/")))
    if found is None:
        return None
    try:
        return tuple(float(found.findtext(f"{{*}}{axis}", "")) for axis in "xyz")
    except ValueError:
        return None


def _lengths(element, space):
    """Millimetres, None where one of them is not told."""
    found = _numbers(element, f"{space}/fieldOfView_mm")
    return found if found is not None and all(math.isfinite(n) and n > 0 for n in found) else None


def _is_count(number):
    return math.isfinite(number) and number >= 1 and number == int(number)


def _limit(limits, step, name):
    text = limits.findtext(f"{{*}}{name}", "0" if name == "minimum" else "").strip()
    if not text.isdecimal():
        raise ValueError(f"has {text!r} as `{name}` of the limits of {step}; expected a whole number")
    return int(text)
