"""What a sweep searches: as it is typed, by default, and refused in words."""

from __future__ import annotations

import pytest

from medqa_tui.errors import UsageError
from medqa_tui.training.generator_presets import read_generator_preset
from medqa_tui.training.presets import RerankPreset, preset_names, read_preset
from medqa_tui.training.search_space import Choices, Span, applied, cells, read_space, record_of

STARTER = read_generator_preset("starter", {})
RERANK = read_preset("reranker", RerankPreset, "starter-rerank")


def space(*searched, fixed=(), grid=False, kind="generator", preset=STARTER):
    return read_space(kind, preset, searched, fixed, grid=grid)


def test_the_defaults_fit_every_preset():
    assert set(space()) == {"learning_rate", "batch", "schedule", "rank", "epochs"}
    assert set(space(kind="reranker", preset=RERANK)) == {
        *("learning_rate", "groups", "schedule", "rank", "pairs")
    }
    for name in preset_names("generator"):
        preset = read_generator_preset(name, {})
        assert cells(space(preset=preset, grid=True), 0)
    whole = read_generator_preset("classic", {})
    assert "rank" not in space(preset=whole), "all weights are trained there"
    assert "epochs" not in space(fixed=["epochs"])


def test_what_is_typed_is_searched_alone():
    found = space("rank=4,8,8", "learning_rate=1e-5:1e-3:log", "batch=2:8", "schedule=cosine")
    assert found == {
        "rank": Choices((4, 8)),
        "learning_rate": Span(1e-5, 1e-3, log=True),
        "batch": Span(2, 8, whole=True),
        "schedule": Choices(("cosine",)),
    }
    assert record_of(found)["learning_rate"] == {"low": 1e-5, "high": 1e-3, "log": True}


def test_a_grid_has_each_cell_once_in_an_order_of_its_seed():
    grid = space("rank=4,8", "schedule=linear,cosine,constant", grid=True)
    found = cells(grid, 3)
    assert len({tuple(cell.items()) for cell in found}) == len(found) == 6
    assert cells(grid, 3) == found != cells(grid, 4)


def test_alpha_follows_the_rank_unless_it_is_searched():
    assert applied(STARTER, {"rank": 16}).alpha == 32
    assert applied(STARTER, {"rank": 16, "alpha": 4}).alpha == 4
    assert applied(STARTER, {"batch": 2}).alpha == STARTER.alpha


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("rnk=3", "Did you mean rank?"),
        ("max_tokens=64,128", "Searchable: "),
        ("rank=8:4", "range is empty"),
        ("rank=4,x", "'x' is not a whole number"),
        ("learning_rate=nan", "no number"),
        ("learning_rate=0:1:log", "above 0"),
        ("schedule=a:b", "no range"),
        ("schedule=wavy", "Known: linear"),
        ("batch=0,4", "at least 1"),
        ("warmup=", "needs values"),
        ("rank", "needs values"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_words(typed, said):
    with pytest.raises(UsageError) as caught:
        space(typed)
    assert said in str(caught.value)


def test_a_grid_has_no_ranges():
    with pytest.raises(UsageError, match="needs lists") as caught:
        space("learning_rate=1e-5:1e-3:log", grid=True)
    assert caught.value.hint.endswith("--search learning_rate=1e-05,0.0001,0.001")
    with pytest.raises(UsageError, match="both given and searched"):
        space("rank=4,8", fixed=["rank"])
    with pytest.raises(UsageError, match="nothing to search"):
        space(fixed=["learning_rate", "batch", "schedule", "rank", "epochs"])
    with pytest.raises(UsageError, match="cannot be searched"):
        space("rank=4,8", preset=read_generator_preset("classic", {}))
    wide = [f"{key}={','.join(map(str, range(1, 40)))}" for key in ("rank", "batch", "epochs")]
    with pytest.raises(UsageError, match="too large"):
        cells(space(*wide, grid=True), 0)
