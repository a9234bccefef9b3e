# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The audit of transforms, and what it says of every pretraining pipeline in configs/."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from xmoco_plugin.data import count_changes, view_pipelines, watch_transforms
from xmoco_plugin.data.transform_audit import stated_probability, wilson_interval
from xmoco_plugin.visualization import fixed_randomness

CONFIGS = Path(__file__).parents[2] / "configs"
RUNS = 800
FLIP = dict(type="RandomFlip", prob=0.5)


class BlurThatDoesNothing:
    """mmpretrain#1711: the blurred image was made and thrown away."""

    prob = 0.5

    def __call__(self, results: dict) -> dict:
        return results


class FlipTooSeldom:
    """Says one half and does one third, in place."""

    prob = 0.5

    def __call__(self, results: dict) -> dict:
        if np.random.rand() < 1 / 3:
            results["img"][:] = results["img"][:, ::-1].copy()
        return results


@pytest.fixture(autouse=True)
def host_scope():
    with DefaultScope.overwrite_default_scope("mmpretrain"), fixed_randomness(0):
        yield


def noise(count: int = 8) -> list[np.ndarray]:
    """Coloured noise, neither grey, flat nor symmetric; not square, so that every crop shows."""
    return list(np.random.default_rng(0).integers(0, 256, (count, 40, 48, 3), dtype=np.uint8))


def audit(*view) -> dict:
    """Name -> (stated, counted share, whether it keeps its word)."""
    steps = count_changes(list(view), noise(), RUNS)
    return {s.name: (s.stated, s.changes / RUNS, s.keeps_its_word(RUNS)) for s in steps}


def test_a_transform_that_does_nothing_is_found():
    stated, counted, fine = audit(FLIP, BlurThatDoesNothing())["BlurThatDoesNothing"]
    assert (stated, counted, fine) == (0.5, 0.0, False)


def test_a_wrong_probability_is_found_also_where_the_image_is_changed_in_place():
    stated, counted, fine = audit(FlipTooSeldom())["FlipTooSeldom"]
    assert counted == pytest.approx(1 / 3, abs=0.06)
    assert (stated, fine) == (0.5, False)


def test_a_flip_keeps_its_word():
    stated, counted, fine = audit(FLIP)["RandomFlip"]
    assert counted == pytest.approx(0.5, abs=0.07)
    assert (stated, fine) == (0.5, True)


def test_what_is_inside_random_apply_happens_as_often_as_both_together():
    inside = dict(type="RandomApply", transforms=[FLIP, BlurThatDoesNothing()], prob=0.4)
    found = audit(inside)
    assert found["RandomApply > RandomFlip"][0] == pytest.approx(0.2)
    assert found["RandomApply > RandomFlip"][2]
    assert not found["RandomApply > BlurThatDoesNothing"][2]


def test_branches_of_a_random_choice_share_its_calls():
    found = audit(dict(type="RandomChoice", transforms=[[FLIP], [BlurThatDoesNothing()]]))
    assert [stated for stated, _, _ in found.values()] == [0.25, 0.25]
    assert [fine for _, _, fine in found.values()] == [True, False]


def test_watching_changes_no_view():
    view = [dict(type="RandomResizedCrop", scale=16), FLIP]
    image = noise(1)[0]
    with fixed_randomness(3):
        watched, _ = watch_transforms(view)
        seen = watched(dict(img=image.copy(), img_shape=(40, 48)))["img"]
    from mmengine.dataset import Compose

    with fixed_randomness(3):
        plain = Compose(view)(dict(img=image.copy(), img_shape=(40, 48)))["img"]
    np.testing.assert_array_equal(seen, plain)


def test_probabilities_are_read_from_what_hosts_call_them():
    names = ({"prob": 0.3}, {"erase_prob": 0.2}, {"p": 0.1}, {"prob": [0.1, 0.2]}, {"prob": None})
    transforms = [type("T", (), n)() for n in names]
    assert [stated_probability(t) for t in transforms] == pytest.approx([0.3, 0.2, 0.1, 0.3, 1.0])


def test_wilsons_interval_has_the_values_of_his_formula():
    # 10 of 20 at z = 1.96: (0.5 +- 1.96 sqrt(0.0125 + 0.0024) ...) / 1.19208, worked by hand.
    assert wilson_interval(10, 20, 1.96) == pytest.approx((0.29930, 0.70070), abs=1e-5)
    assert wilson_interval(0, 600, 5.0) == pytest.approx((0.0, 0.04), abs=1e-9)


def small(value):
    """The same transforms on small crops: sizes do not change how often something happens."""
    if isinstance(value, dict):
        return {k: 24 if k == "scale" else small(v) for k, v in value.items()}
    return [small(item) for item in value] if isinstance(value, list | tuple) else value


def pretraining_views() -> dict[str, list]:
    """Every different view of every pretraining pipeline, by the first config that has it."""
    views: dict[str, list] = {}
    seen: set[str] = set()
    for file in sorted(CONFIGS.rglob("*.py")):
        if {"_base_", "detection", "segmentation"} & set(file.parts):
            continue
        data = Config.fromfile(file).get("train_dataloader", {}).get("dataset", {})
        for i, view in enumerate(view_pipelines(data.get("pipeline") or ())):
            view = small(copy.deepcopy(view))
            key = json.dumps(view, sort_keys=True, default=str)
            if key not in seen:
                seen.add(key)
                views[f"{file.relative_to(CONFIGS)}, view {i + 1}"] = view
    return views


VIEWS = pretraining_views()


def test_there_are_pretraining_pipelines_to_check():
    assert len(VIEWS) >= 3


@pytest.mark.parametrize("name", VIEWS)
def test_every_transform_changes_its_image_as_often_as_stated(name):
    steps = count_changes(VIEWS[name], noise(), RUNS)
    assert len(steps) > 2
    wrong = [(s.name, s.stated, s.changes / RUNS) for s in steps if not s.keeps_its_word(RUNS)]
    assert wrong == []
