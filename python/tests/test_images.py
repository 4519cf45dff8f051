"""What becomes of images before they are sent."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lfbm import InvalidRequestError
from lfbm import _images as images
from lfbm.v1 import anomaly_detector_pb2 as pb


def test_files_go_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"any bytes")
    for image in (path, str(path), b"any bytes", bytearray(b"any bytes"), memoryview(b"any bytes")):
        assert images.to_image(image) == pb.Image(encoded=b"any bytes")


def test_a_file_without_end_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 1000)
    long = tmp_path / "long"
    long.write_bytes(bytes(1001))
    for path in ("/dev/zero", long):
        with pytest.raises(InvalidRequestError, match="expected at most 1000 bytes"):
            images.to_image(path)
    long.write_bytes(bytes(1000))
    assert len(images.to_image(long).encoded) == 1000


def test_arrays_become_tensors_with_channels_first() -> None:
    colours = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    tensor = images.to_image(colours).tensor
    assert (tensor.data_type, list(tensor.shape)) == (pb.DATA_TYPE_UINT8, [3, 2, 3])
    assert tensor.data == colours.transpose(2, 0, 1).tobytes()
    grey = images.to_image(colours[:, :, 0]).tensor
    assert (list(grey.shape), grey.data) == ([1, 2, 3], bytes([0, 3, 6, 9, 12, 15]))


@pytest.mark.parametrize(
    ("array", "values"),
    [
        (np.array([[0.0, 0.5, 1.0]]), [0.0, 0.5, 1.0]),
        (np.array([[0.0, 0.5, 1.0]], dtype=np.float16), [0.0, 0.5, 1.0]),
        (np.array([[0.0, 0.5, 1.0]], dtype=">f4"), [0.0, 0.5, 1.0]),
        (np.array([[0, 65535]], dtype="<u2"), [0.0, 1.0]),
        (np.array([[0, 65535]], dtype=">u2"), [0.0, 1.0]),
    ],
)
def test_floats_are_little_endian(array: np.ndarray, values: list[float]) -> None:
    tensor = images.to_image(array).tensor
    assert tensor.data_type == pb.DATA_TYPE_FLOAT32
    assert np.frombuffer(tensor.data, "<f4").tolist() == values


def test_truth_values_are_black_and_white() -> None:
    assert images.to_image(np.array([[True, False]])).tensor.data == bytes([255, 0])


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros(3, np.uint8), r"got the shape \(3,\)"),
        (np.zeros((3, 28, 28), np.uint8), r"transpose\(1, 2, 0\)"),
        (np.zeros((28, 28, 4), np.uint8), r"image\[:, :, :3\]"),
        (np.zeros((28, 28), np.int64), "got int64"),
        (np.zeros((28, 28), np.complex64), "got complex64"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, text: str) -> None:
    with pytest.raises(InvalidRequestError, match=text) as refused:
        images.to_image(array)
    assert refused.value.field == "image"


def test_what_is_no_image_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="got int"):
        images.to_image(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_pillow_images_are_png(mode: str) -> None:
    sent = Image.open(io.BytesIO(images.to_image(Image.new(mode, (3, 2))).encoded))
    assert (sent.format, sent.size) == ("PNG", (3, 2))


@pytest.mark.parametrize(("mode", "dtype"), [("I;16", "<u2"), ("I;16L", "<u2"), ("I;16B", ">u2"), ("I;16N", "=u2")])
def test_pillow_images_of_16_bits_keep_their_values(mode: str, dtype: str) -> None:
    values = np.array([[0, 255, 256], [4660, 32768, 65535]], dtype)
    sent = Image.open(io.BytesIO(images.to_image(Image.frombytes(mode, (3, 2), values.tobytes())).encoded))
    assert np.asarray(sent).tolist() == values.tolist()


def test_pillow_images_are_sent_upright() -> None:
    lying = Image.new("L", (3, 2))
    exif = lying.getexif()
    exif[0x0112] = 6  # Orientation: turned by 90 degrees.
    file = io.BytesIO()
    lying.save(file, "png", exif=exif)
    sent = Image.open(io.BytesIO(images.to_image(Image.open(file)).encoded))
    assert sent.size == (2, 3)
    assert 0x0112 not in sent.getexif()


def test_pillow_images_of_no_known_range_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="mode F"):
        images.to_image(Image.new("F", (3, 2)))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_masks_are_bytes(dtype: type) -> None:
    tensor = images.to_mask(np.array([[1, 0, 1]], dtype=dtype))
    assert (tensor.data_type, list(tensor.shape), tensor.data) == (pb.DATA_TYPE_UINT8, [1, 3], bytes([1, 0, 1]))


@pytest.mark.parametrize("mask", [np.full((2, 2), 255), np.ones((1, 2, 2)), np.full((2, 2), np.nan)])
def test_other_masks_are_refused(mask: np.ndarray) -> None:
    with pytest.raises(InvalidRequestError, match="mask: expected"):
        images.to_mask(mask)


def test_pixels_have_channels_last() -> None:
    values = np.arange(3 * 2 * 2, dtype="<f4").reshape(3, 2, 2)
    tensor = pb.Tensor(data_type=pb.DATA_TYPE_FLOAT32, shape=[3, 2, 2], data=values.tobytes())
    assert (images.pixels(tensor) == values.transpose(1, 2, 0)).all()
    grey = pb.Tensor(data_type=pb.DATA_TYPE_FLOAT32, shape=[1, 2, 2], data=values[0].tobytes())
    assert (images.pixels(grey) == values[0]).all()
