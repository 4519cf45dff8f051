"""The client for threads against a real server."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas
import pytest
from PIL import Image

import lfbm
from lfbm import (
    AsyncClient,
    Client,
    Explanation,
    Inference,
    InvalidRequestError,
    LfbmError,
    ModelNotFoundError,
    NearestBy,
    NearestNormal,
    Score,
    Verdict,
)
from lfbm.v1 import anomaly_detector_pb2 as pb


def numbers(score: Score) -> Score:
    """A score without its times."""
    return replace(score, queue_s=0.0, compute_s=0.0)


def test_a_score(client: Client, four: Path) -> None:
    score = client.score(four)
    assert score.anomalous
    assert score.verdict is Verdict.ANOMALOUS
    assert (score.model, score.version) == ("mnist-not4", 1)
    assert score.log_joint == pytest.approx(score.log_prior + score.log_likelihood)
    assert score.local_p_value is not None
    assert 0 < score.local_p_value < 0.01
    assert score.compute_s > 0


def test_every_kind_of_image_has_the_same_score(client: Client, four: Path) -> None:
    expected = numbers(client.score(four))
    pillow = Image.open(four)
    array = np.asarray(pillow.convert("L"))
    for image in (str(four), four.read_bytes(), pillow, array, array[:, :, np.newaxis], array / 255):
        assert numbers(client.score(image)) == expected


def test_other_parameters_leave_no_verdict(client: Client, four: Path) -> None:
    score = client.score(four, inference=Inference(chains=2, aggregation="max", seed=7))
    assert score.verdict is None
    assert score.anomalous is None
    assert (score.p_value, score.local_score, score.local_p_value) == (None, None, None)
    assert score.log_joint_std > 0


def test_a_mask_hides_pixels(client: Client, four: Path) -> None:
    visible = np.ones((28, 28), bool)
    whole = client.score(four, mask=visible)
    visible[:, 14:] = False
    half = client.score(four, mask=visible)
    assert half.verdict is None
    assert half.log_likelihood != whole.log_likelihood


def test_many_scores_are_those_of_single_calls(client: Client, samples: list[Path]) -> None:
    scores = list(client.score_many(samples))
    for path, score in zip(samples, scores, strict=True):
        assert numbers(score).verdict == client.score(path).verdict
        # Batches of other sizes round otherwise.
        assert score.log_joint == pytest.approx(client.score(path).log_joint, abs=1e-3)


def test_no_images_have_no_scores(client: Client) -> None:
    assert list(client.score_many([])) == []


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("image", ["part.png", Path("part.png"), b"PNG", bytearray(b"PNG"), memoryview(b"PNG")])
def test_one_image_is_no_iterable_of_images(kind: type[Client] | type[AsyncClient], image: object) -> None:
    with pytest.raises(TypeError, match="expected an iterable of images, got one"):
        kind().score_many(image)  # type: ignore[arg-type]


def test_more_images_than_the_look_ahead(client: Client, samples: list[Path]) -> None:
    expected = [client.score(path).verdict for path in samples]
    scores = client.score_many(samples * 20, look_ahead=7)
    assert [score.verdict for score in scores] == expected * 20


def test_images_are_read_no_further_than_the_look_ahead(client: Client, four: Path) -> None:
    pulled = 0

    def endless() -> Iterator[Path]:
        nonlocal pulled
        while True:
            pulled += 1
            yield four

    scores = client.score_many(endless(), look_ahead=5)
    for handed_out in range(20):
        assert next(scores).anomalous
        assert pulled <= handed_out + 6


def test_errors_of_many_are_returned_in_their_places(client: Client, four: Path, tmp_path: Path) -> None:
    images = [four, tmp_path / "missing.png", b"no image", np.zeros((2, 2, 2), np.uint8), four]
    first, missing, damaged, wrong, last = client.score_many(images, errors="return")
    assert isinstance(first, Score)
    assert isinstance(last, Score)
    assert isinstance(missing, FileNotFoundError)
    assert isinstance(wrong, InvalidRequestError)
    assert isinstance(damaged, InvalidRequestError)
    assert damaged.field == "image.encoded"
    assert damaged.request_id


def test_an_error_of_many_is_raised_after_the_scores_before_it(client: Client, four: Path) -> None:
    scores = client.score_many([four, b"no image", four])
    assert next(scores).anomalous
    with pytest.raises(InvalidRequestError) as raised:
        next(scores)
    assert raised.value.__notes__ == ["image 1 of score_many, counted from 0"]


def test_an_error_of_the_iterable_is_the_callers(client: Client, four: Path) -> None:
    def broken() -> Iterator[Path]:
        yield four
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(client.score_many(broken()))
    assert client.score(four).anomalous


def test_an_image_that_ends_the_stream_does_not_harm_the_others(client: Client, four: Path) -> None:
    longer_than_a_message = bytes(17 << 20)
    results = list(client.score_many([four, longer_than_a_message, four], errors="return"))
    assert isinstance(results[0], Score)
    assert isinstance(results[2], Score)
    assert isinstance(results[1], InvalidRequestError)
    assert results[1].reason == "MESSAGE_TOO_LONG"


def test_explain(client: Client, four: Path) -> None:
    explanation = client.explain(four, inference=Inference(chains=3))
    assert explanation.reconstruction.shape == explanation.residual.shape == (28, 28)
    image = np.asarray(Image.open(four).convert("L"), np.float32) / 255
    assert np.allclose(image - explanation.reconstruction, explanation.residual, atol=1e-5)
    assert len(explanation.chains) == 3
    for png in (explanation.heatmap_png, explanation.reconstruction_png):
        assert Image.open(io.BytesIO(png)).size == (28, 28)
    assert explanation.nearest_normals == ()


def test_explanation_of_a_model_of_sites() -> None:
    nearest = pb.NearestNormal(file="good/a.png", by=pb.NEAREST_BY_SITE, distance=1.5, at=pb.Point(x=3, y=4))
    explanation = Explanation.of(pb.ExplainResponse(overlay=b"png", nearest_normals=[nearest]))
    assert explanation.reconstruction is None
    assert explanation.residual is None
    assert explanation.heatmap_png == b"png"
    assert explanation.nearest_normals == (NearestNormal("good/a.png", NearestBy.SITE, 1.5, (3.0, 4.0)),)


def test_inpaint(client: Client, four: Path) -> None:
    visible = np.ones((28, 28), bool)
    visible[14:] = False
    inpainting = client.inpaint(four, visible)
    assert len(inpainting.completions) == 4
    image = np.asarray(Image.open(four).convert("L"), np.float32) / 255
    for completion in inpainting.completions:
        assert np.allclose(completion.image[:14], image[:14], atol=1e-5)
    densities = [completion.score.log_joint for completion in inpainting.completions]
    assert densities == sorted(densities, reverse=True)


def test_sample(client: Client) -> None:
    images = client.sample(3, seed=5)
    assert images.shape == (3, 28, 28)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert (client.sample(2, seed=5) == images[:2]).all()


def test_models(client: Client) -> None:
    (model,) = client.models()
    assert model == client.model() == client.model("mnist-not4", version=1)
    assert (model.channels, model.height, model.width) == (1, 28, 28)
    assert (model.decision, model.prior) == (lfbm.Decision.LOCAL, lfbm.Prior.FLOW)
    assert model.inference.steps
    assert "4" not in model.normal_classes


def test_a_model_that_is_not_there(server: str, client: Client, four: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="none-such"):
        client.model("none-such")
    with Client(server, model="none-such") as other, pytest.raises(LookupError):
        other.score(four)
    with pytest.raises(ModelNotFoundError):
        client.score(four, version=9)


def test_the_server_names_the_field(client: Client, four: Path) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        client.score(four, inference=Inference(chains=0))
    assert raised.value.field == "inference.chains"
    assert raised.value.request_id
    assert str(raised.value).startswith("INVALID_ARGUMENT: inference.chains: expected 1 to 64, got 0 (request ")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"inference": Inference(steps=-1)}, "inference.steps"),
        ({"inference": Inference(aggregation="median")}, "inference.aggregation"),  # type: ignore[arg-type]
        ({"priority": "high"}, "priority"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"version": -1}, "version"),
    ],
)
def test_arguments_are_checked_here(client: Client, four: Path, arguments: dict, field: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        client.score(four, **arguments)
    assert raised.value.field == field
    assert isinstance(raised.value, LfbmError)
    assert isinstance(raised.value, ValueError)


def test_a_client_is_shared_by_threads(client: Client, samples: list[Path]) -> None:
    expected = [client.score(path).verdict for path in samples]
    with ThreadPoolExecutor(4) as threads:
        several = list(threads.map(lambda _: [s.verdict for s in client.score_many(samples)], range(4)))
    assert several == [expected] * 4


def test_results_become_a_table(client: Client, samples: list[Path]) -> None:
    images = [*samples, b"no image"]
    table = lfbm.to_pandas(client.score_many(images, errors="return"), images=[*samples, "broken"])
    assert len(table) == 13
    assert (table.verdict == "anomalous").sum() == 5
    assert table.image.iloc[-1] == "broken"
    assert table.error.isna().sum() == 12
    assert table.error.iloc[-1].startswith("INVALID_ARGUMENT")
    assert pandas.api.types.is_float_dtype(table.local_p_value)
    with pytest.raises(ValueError, match="as many images"):
        lfbm.to_pandas([], images=["one"])


def test_tables_of_arrow_have_one_schema_whatever_is_in_them(client: Client, four: Path) -> None:
    score = client.score(four)
    full = lfbm.to_arrow([score], images=[four])
    fields = {name: value for name, value in asdict(score).items() if name != "regions"}
    assert full.to_pylist() == [{"image": str(four), **fields, "error": None}]
    broken = lfbm.to_arrow(client.score_many([b"no image"], errors="return"), images=["broken"])
    (row,) = broken.to_pylist()
    assert row["error"].startswith("INVALID_ARGUMENT")
    assert {name for name, value in row.items() if value is not None} == {"image", "error"}
    assert full.schema == broken.schema == lfbm.to_arrow([], images=[]).schema
    types = {field.name: str(field.type) for field in full.schema}
    assert (types["verdict"], types["version"], types["site_score"]) == ("string", "int64", "double")
    assert (types["region_count"], types["prior_unnormalized"]) == ("int64", "bool")
    assert lfbm.to_arrow([score]).column_names == full.column_names[1:]
