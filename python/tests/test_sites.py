"""A model of sites on a real server: where the fault is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from lfbm import Client, Decision, InvalidRequestError

from .conftest import REPOSITORY, serving

CLOTH = REPOSITORY / "deploy" / "cloth"


@pytest.fixture(scope="module")
def cloth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serving(tmp_path_factory.mktemp("cloth"), model="cloth") as address, Client(address) as client:
        yield client


def test_the_model_has_the_thresholds_of_sites(cloth: Client) -> None:
    model = cloth.model()
    assert model.decision is Decision.SITES
    score = cloth.score(CLOTH / "hole.png")
    assert model.map_threshold == score.map_threshold
    assert model.threshold_site_score is not None
    assert score.site_score is not None
    assert score.site_score > model.threshold_site_score
    assert score.anomalous
    assert len(score.regions) == score.region_count


def test_a_verdict_holds_for_the_rate_that_is_asked_for(cloth: Client) -> None:
    image = CLOTH / "hole.png"
    scores = [
        cloth.score(image, false_alarm_rate=0.2),
        *cloth.score_many([image], false_alarm_rate=0.2),
        cloth.explain(image, false_alarm_rate=0.2).score,
    ]
    own = cloth.score(image)
    assert own.false_alarm_rate != 0.2
    assert [score.false_alarm_rate for score in scores] == [0.2] * 3
    assert all(score.map_threshold < own.map_threshold for score in scores)
    with pytest.raises(InvalidRequestError) as refused:
        cloth.score(image, false_alarm_rate=2)
    assert refused.value.field == "false_alarm_rate"


def test_the_map_and_its_regions_are_where_the_fault_is(cloth: Client) -> None:
    explanation = cloth.explain(CLOTH / "hole.png")
    found = explanation.map
    assert found is not None
    assert found.values.shape == (32, 32)
    assert found.values.dtype == np.float32
    assert found.threshold == explanation.score.map_threshold
    assert (found.bounds.x, found.bounds.y, found.bounds.width, found.bounds.height) == (0, 0, 256, 256)
    assert explanation.score.region_count == len(explanation.regions) > 0
    first = explanation.regions[0]
    assert first.peak == pytest.approx(float(found.values.max()), rel=1e-6)
    assert 0 < first.peak_p_value < 0.05
    row, column = np.unravel_index(found.values.argmax(), found.values.shape)
    assert first.peak_at == (column * 8 + 4, row * 8 + 4)
    assert first.bounds.x <= first.peak_at[0] <= first.bounds.x + first.bounds.width
    assert first.bounds.y <= first.peak_at[1] <= first.bounds.y + first.bounds.height
    assert 0 < first.area <= first.bounds.width * first.bounds.height


def test_an_image_of_another_shape_has_regions_in_its_own_pixels(cloth: Client) -> None:
    explanation = cloth.explain(CLOTH / "missing-thread-640x480.png")
    assert explanation.map is not None
    # The model takes the square in the middle.
    bounds = explanation.map.bounds
    assert (bounds.x, bounds.y, bounds.width, bounds.height) == (80, 0, 480, 480)
    assert explanation.regions
    assert all(80 <= region.peak_at[0] <= 560 for region in explanation.regions)
