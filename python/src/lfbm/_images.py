"""Images between Python and the wire."""

from __future__ import annotations

import io
import os
import stat
import sys
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import invalid
from .v1 import anomaly_detector_pb2 as pb

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

# As many bytes as `lfbm` reads of a file.
MAX_FILE_BYTES = 256 << 20
_ARRAYS = "H x W, H x W x 1 or H x W x 3"
# What PNG holds without loss.
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})


class SupportsArray(Protocol):
    """What NumPy makes an array of, such as a tensor of PyTorch or JAX in the CPU's memory."""

    def __array__(self) -> NDArray[Any]: ...


ImageLike: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | NDArray[Any] | SupportsArray | PillowImage"
)
"""A path, the bytes of an image file, an array or a Pillow image."""
MaskLike: TypeAlias = "NDArray[Any] | SupportsArray"
"""H x W of the image's size: true or 1 is visible, false or 0 hidden."""


def to_image(image: ImageLike) -> pb.Image:
    """The message of an image.

    Files go as they are. Arrays go as tensors, without the cost of PNG: uint8 from 0 to 255, uint16 from 0 to 65535,
    floats from 0 to 1, bool. Pillow images go as PNG, upright.

    Raises OSError when a file cannot be read, InvalidRequestError when an array has another shape or type, TypeError
    when `image` is none of these.
    """
    if isinstance(image, str | os.PathLike):
        return pb.Image(encoded=read_file(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return pb.Image(encoded=bytes(image))
    pillow = sys.modules.get("PIL.Image")
    if pillow is not None and isinstance(image, pillow.Image):
        return pb.Image(encoded=_png(image))
    if hasattr(image, "__array__"):
        return pb.Image(tensor=_tensor(np.asarray(image)))
    raise TypeError(f"expected a path, bytes, an array or a Pillow image, got {type(image).__name__}")


def to_mask(mask: MaskLike) -> pb.Tensor:
    """The message of a mask. Raises InvalidRequestError when it is not H x W of truth values, or of 0 and 1."""
    array = np.asarray(mask)
    if array.ndim != 2:
        raise invalid("mask", f"expected an array H x W, got the shape {array.shape}")
    if not np.isin(array, (0, 1)).all():
        raise invalid("mask", "expected true or 1 where the image is visible, false or 0 where not; got other values")
    return _message(array.astype(np.uint8), pb.DATA_TYPE_UINT8)


def pixels(tensor: pb.Tensor) -> NDArray[np.float32]:
    """The values of a tensor C, H, W of floats, as H x W for one channel and H x W x C for more."""
    channels, height, width = tensor.shape
    array = np.frombuffer(tensor.data, dtype="<f4").reshape(channels, height, width).astype(np.float32)
    return array[0] if channels == 1 else np.ascontiguousarray(array.transpose(1, 2, 0))


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file, of which there is a limit."""
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        data = b"" if size > MAX_FILE_BYTES else file.read(MAX_FILE_BYTES + 1)
    if max(size, len(data)) > MAX_FILE_BYTES:
        raise invalid("image", f"expected at most {MAX_FILE_BYTES} bytes, got more in {os.fspath(path)}")
    return data


def _tensor(array: NDArray[Any]) -> pb.Tensor:
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    if array.ndim != 3 or array.shape[2] not in (1, 3):
        hint = ""
        if array.ndim == 3 and array.shape[0] in (1, 3):
            hint = "; transpose(1, 2, 0) makes it of C x H x W"
        elif array.ndim == 3 and array.shape[2] == 4:
            hint = "; leave the transparency out with image[:, :, :3]"
        raise invalid("image", f"expected an array {_ARRAYS}, got the shape {array.shape}{hint}")
    channels_first = array.transpose(2, 0, 1)
    if array.dtype == np.uint8:
        return _message(channels_first, pb.DATA_TYPE_UINT8)
    if array.dtype == np.bool_:
        return _message(channels_first.astype(np.uint8) * np.uint8(255), pb.DATA_TYPE_UINT8)
    # Of either byte order; `==` tells them apart.
    if np.issubdtype(array.dtype, np.uint16):
        return _message((channels_first / 65535).astype("<f4"), pb.DATA_TYPE_FLOAT32)
    if np.issubdtype(array.dtype, np.floating):
        return _message(channels_first.astype("<f4"), pb.DATA_TYPE_FLOAT32)
    raise invalid(
        "image",
        f"expected uint8 from 0 to 255, uint16 from 0 to 65535, floats from 0 to 1 or bool, got {array.dtype}",
    )


def _message(array: NDArray[Any], data_type: pb.DataType) -> pb.Tensor:
    return pb.Tensor(data_type=data_type, shape=array.shape, data=array.tobytes())


def _png(image: PillowImage) -> bytes:
    from PIL import Image, ImageOps

    # A file is turned upright by the server; PNG made here does not say how its image was held.
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("I", "F"):
        raise invalid(
            "image",
            f"expected a Pillow image of 8 or 16 bits, got the mode {upright.mode}; pass "
            "numpy.asarray(image), scaled to 0 to 1",
        )
    if upright.mode.startswith("I;16"):
        # From the modes of other byte orders, Pillow clips to 8 bits where it is asked to convert.
        upright = Image.fromarray(np.asarray(upright).astype("<u2"))
    elif upright.mode not in _PNG_MODES:
        upright = upright.convert("RGB")
    file = io.BytesIO()
    # Fast rather than small: the image travels once.
    upright.save(file, "png", compress_level=1)
    return file.getvalue()
