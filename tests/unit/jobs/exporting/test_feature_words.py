"""Every feature that can be built is explained, under the name that it has."""

from __future__ import annotations

import pytest

from cbi_queue.models.parameters.features import FeatureParams
from jobs.data.feature_names import Series, feature_names
from jobs.exporting.feature_words import described


@pytest.mark.parametrize("interactions", [True, False])
def test_every_feature_is_explained(interactions: bool) -> None:
    params = FeatureParams(lags=(1, 5), windows=(5, 21), interactions=interactions, price_column="close")
    series = [Series("price", is_log=True), Series("oil", is_log=True), Series("spread", is_log=False)]
    names = feature_names(series, params, ("open_interest",))
    manifest = {
        "params": params.model_dump(mode="json"),
        "series": [{"name": s.name, "returns": "log" if s.is_log else "difference"} for s in series],
        "as_is": ["open_interest"],
    }
    told = described(manifest, names)
    assert [each["name"] for each in told] == list(names)
    assert [each["position"] for each in told] == list(range(len(names)))
    assert not [each["name"] for each in told if each["computed"] == "not recorded"]
    by_name = {each["name"]: each for each in told}
    assert by_name["price_ret_5"]["computed"] == "r = ln(x_t / x_t-1) of close, 5 rows back"
    assert by_name["spread_mean_5"]["unit"] == "unit of spread"
    assert ("oil_spread_5" in by_name, "spread_spread_5" in by_name) == (interactions, False)


def test_a_column_of_unknown_origin_is_said_to_be_unknown() -> None:
    manifest = {"params": FeatureParams().model_dump(mode="json"), "series": [{"name": "price", "returns": "log"}]}
    assert described(manifest, ("mystery",))[0]["computed"] == "not recorded"
