# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from pathlib import Path

import pytest
from mmpretrain.registry import MODELS

from tests import reference, tiny_runner
from tests.models import views
from tests.plug_in import user_algorithm
from tests.plug_in.rows import logged

FILE = Path(user_algorithm.__file__)
NECK = dict(type="LinearNeck", in_channels=16, out_channels=8, gap_dim=2, norm_cfg=None)


def config(head):
    return dict(type="TwoViews", backbone=dict(type="TinyEncoder", norm=True), neck=NECK, head=head)


def test_an_algorithm_outside_the_package_gets_the_terms_by_its_head_alone():
    ours = MODELS.build(config(user_algorithm.head)).double()
    host = MODELS.build(config(user_algorithm.head["head"])).double()
    host.load_state_dict(ours.state_dict())
    inputs = views(8, seed=0)
    a, b = (ours.neck(ours.backbone(view))[0] for view in inputs)
    q, k = ((z / z.norm(dim=1, keepdim=True)).tolist() for z in (a, b))
    terms = reference.consistency(q, k, None, "batch", "transpose", "mse", 0.2)
    terms += 0.1 * reference.uniformity(q, k, None, "batch", "forward", 0.2)
    total, expected = ours.loss(inputs, None)["loss"], host.loss(inputs, None)["loss"]
    assert total.item() == pytest.approx(expected.item() + terms, rel=1e-9)


def test_it_trains(tmp_path):
    preprocessor = dict(mean=[128.0] * 3, std=[64.0] * 3)
    model = config(user_algorithm.head) | dict(data_preprocessor=preprocessor)
    tiny_runner.build(tmp_path, model=model).train()
    assert min(logged("loss_consistency", 8)) > 0


def test_the_page_shows_the_file_as_it_is():
    page = FILE.parents[2] / "docs" / "plug_in.md"
    assert FILE.read_text() in page.read_text()
    assert len(FILE.read_text().splitlines()) <= 32
