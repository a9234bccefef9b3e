# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A teacher of a pretraining on shards: asked shard by shard, stopped, gone on with."""

import json
import shutil

import numpy as np
import pytest
from mmengine.config import Config

from xmoco_plugin import pretraining as own
from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.cli import pretrain_teacher
from xmoco_plugin.data.shards import ShardSet, write_shards
from xmoco_plugin.pretraining.memory import StepCost
from xmoco_plugin.teachers.lesson import FEATURES, FILE
from xmoco_plugin.teachers.stored import HEAD, StoredFeatures

from ..format_once import leave_unformatted
from ..pretraining.folder import draw
from ..tool_modules import run_tool
from .command import FAST, STUDENT

IMAGES, WIDTH = 70, 64  # of which one is cut; of the teacher's features


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A set of some shards in a folder."""
    root = tmp_path_factory.mktemp("shards")
    draw(root / "images", IMAGES - 1, side=16)
    (root / "images" / "cut.png").write_bytes((root / "images/000.png").read_bytes()[:300])
    write_shards(root / "images", str(root / "set"), 0.02)
    return root / "set"


@pytest.fixture
def begin(tool, monkeypatch, url, teacher, tmp_path):
    """Starts the tool, which prepares a run and does not train it; returns the exit status."""
    monkeypatch.setattr(tool, "train", lambda *_: 0)
    monkeypatch.setattr(tool.end, "finish", lambda *_: None)
    monkeypatch.setenv("XMOCO_NAMED_SET", "")
    cost = StepCost(fixed=10**6, per_image=10**5, seconds_per_image=1e-3, checkpoint=10**6)
    monkeypatch.setattr(own, "measure_step", lambda *_: cost)
    leave_unformatted(monkeypatch)
    words = ("--data", url, "--teacher", teacher, "--out", tmp_path / "run", *FAST, *STUDENT)
    return lambda *more: run_tool(tool, monkeypatch, *words, *more)


@pytest.fixture
def opened(monkeypatch) -> list[tuple[ShardSet, int]]:
    """(set, shard) of each shard that this process opens, in turn."""
    found, look = [], ShardSet._look

    def noted(self, number):
        found.append((self, number))  # not its id, which the next one may have
        return look(self, number)

    monkeypatch.setattr(ShardSet, "_look", noted)
    return found


def features(folder) -> tuple[dict, np.ndarray]:
    content = (folder / FEATURES).read_bytes()
    return json.loads(content[:HEAD]), np.frombuffer(content[HEAD:], "<f2").reshape(-1, WIDTH)


def test_a_teacher_is_asked_once_for_each_image_shard_by_shard(
    begin, url, tmp_path, opened, capsys
):
    assert begin() == 0
    head, rows = features(tmp_path / "run")
    assert (head["done"], len(rows)) == (IMAGES, IMAGES)
    shards = ShardSet(str(url))
    names = [shards.read(image)[0] for image in range(IMAGES)]
    cut = names.index("cut.png")
    said = capsys.readouterr().err
    assert said.count("left out of the training: cannot read cut.png: ") == 1
    assert (rows[cut] == rows[cut - 1 if cut else 1]).all()  # one beside it
    assert len(np.unique(rows, axis=0)) == IMAGES - 1
    number = len(shards.lengths)
    assert number > 3
    each = [[shard for found, shard in opened if found is one] for one, _ in opened]
    assert all(turns == sorted(set(turns)) for turns in each)  # once, in their order
    cfg = Config.fromfile(str(tmp_path / "run" / "config.py"))
    assert cfg.custom_hooks[-1] == dict(type="TeacherHook", knn=None)
    assert cfg.train_dataloader.dataset.pipeline[1].type == "OneView"


def test_a_pass_that_was_killed_goes_on_where_it_was_and_on_no_other_set(
    begin, url, tmp_path, monkeypatch, capsys
):
    ask, asked = pretrain_teacher.asker, []

    def dies(*arguments):
        def answers(batches):
            yield next(iter(ask(*arguments)(batches)))
            raise KeyboardInterrupt

        return answers

    monkeypatch.setattr(StoredFeatures.fill, "__defaults__", (64, None, lambda *_: None, 1))
    monkeypatch.setattr(pretrain_teacher, "asker", dies)
    with pytest.raises(KeyboardInterrupt):
        raise KeyboardInterrupt(begin())
    assert features(tmp_path / "run")[0]["done"] == 64
    assert not (tmp_path / "run" / "config.py").exists()

    # The same place, another set in it.
    aside = url.rename(tmp_path / "aside")
    draw(tmp_path / "others", IMAGES, side=16, seed=9)
    write_shards(tmp_path / "others", str(url), 0.02)
    assert begin() == 2
    assert "holds features of another set" in capsys.readouterr().err
    shutil.rmtree(url)
    aside.rename(url)

    def notes(*arguments):
        def answers(batches):
            asked.extend(image for batch in batches for image in batch)
            return ask(*arguments)(batches)

        return answers

    monkeypatch.setattr(pretrain_teacher, "asker", notes)
    assert begin() == 0
    assert asked == list(range(64, IMAGES))


def test_a_teacher_that_is_asked_for_each_crop_of_shards_stores_no_features(begin, tmp_path):
    assert begin("--teacher-views", "crop") == 0
    assert not (tmp_path / "run" / FEATURES).exists()
    state = read_checkpoint(tmp_path / "run" / FILE)["state_dict"]
    assert any(key.startswith("backbone.") for key in state)
