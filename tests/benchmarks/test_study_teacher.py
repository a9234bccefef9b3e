# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The study's readings with a frozen teacher: its features stored once, the same views as MoCo."""

import json
import sys

import numpy as np
import pytest
import torch

from tests import models
from xmoco_plugin.teachers import KeyBank

SIZES = {"images": 32, "epochs": 2, "batch": 8, "size": 8, "queue": 16, "held-out": 8}


@pytest.fixture
def study(load, tmp_path, monkeypatch):
    """Runs the benchmark's final of given cells with a tiny teacher."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 48), ("test", 12)):
        images = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        np.savez(tmp_path / f"{split}.npz", images=images, labels=np.arange(n) % 4)
    models.save_checkpoint(tmp_path / "net.pth")
    module = load("study")

    def call(*words):
        given = [f"--{name}={value}" for name, value in SIZES.items()]
        start = ["study.py", "--data", str(tmp_path), "--out", str(tmp_path / "out"), *given]
        final = ["--stage", "final", "--as-given", "--teacher", str(tmp_path / "net.pth")]
        monkeypatch.setattr(sys, "argv", [*start, *final, *map(str, words)])
        module.main()

    return call


def test_a_teacher_is_asked_once_and_its_pass_counts_in_every_run(study, tmp_path, capsys):
    words = ("--readings", "moco", "untrained", "teacher-relation", "--seeds", 7, 8)
    study(*words, "--teacher-size", 8, "--share", 1, 0.5)
    names = {file.name for file in (tmp_path / "out/final").glob("*_7.json")}
    assert names == {
        "moco_tau0.1_weak_7.json",
        "untrained_tau0.1_weak_7.json",
        "teacher-relation_x1_ramp0_tau0.1_7.json",
        "teacher-relation_x1_ramp0_tau0.1_share0.5_7.json",
    }
    facts = json.loads((tmp_path / "out/teacher.json").read_text())
    assert (facts["images"], facts["size"]) == (32, 8)
    assert facts["cpu_seconds"] >= 0
    assert 0 <= facts["test"]["knn"] <= 100
    stamp = (tmp_path / "out/teacher_features.bin").stat().st_mtime_ns
    facts["cpu_seconds"] = 1000.0
    (tmp_path / "out/teacher.json").write_text(json.dumps(facts))
    study("--readings", "teacher+moco", "--seeds", 7, "--teacher-size", 8)
    assert (tmp_path / "out/teacher_features.bin").stat().st_mtime_ns == stamp
    text = capsys.readouterr().out
    assert "teacher+moco_x1_ramp0_tau0.1_weak | 7 |" in text
    assert "1000 of them once" in text
    with pytest.raises(SystemExit, match="features of images of 8 px, and 16 px are asked"):
        study(*words, "--teacher-size", 16)
    (tmp_path / "out/teacher.json").unlink()
    with pytest.raises(SystemExit, match=r"complete and teacher.json is gone"):
        study(*words, "--teacher-size", 8)


def first_batches(run, cell, images, monkeypatch):
    """First views and weights of the backbone of a run of two steps, and what the teacher saw."""
    seen, asked = [], []
    keys = torch.nn.functional.normalize(torch.randn(32, 5), dim=1)

    def ask(pixels):
        asked.append(pixels)
        return keys[: len(pixels)]

    teaching = run.study_teacher.Teaching(KeyBank(keys), ask, 5, {})
    net = sys.modules[run.net_of.__module__].StudyNet
    weight = "backbone.0.weight"
    with monkeypatch.context() as patch:
        forward = net.forward

        def watched(self, x):
            if self.training and torch.is_grad_enabled():
                seen.append((x.clone(), self[0].weight.detach().clone()))
            return forward(self, x)

        patch.setattr(net, "forward", watched)
        length = run.Length(images=32, epochs=1, batch=16, size=8, queue=16)
        model = run.train(cell, length, 3, images, "cpu", teaching)
    assert weight in model.state_dict()
    return model, seen, asked


def test_a_students_views_and_first_weights_are_mocos_of_the_seed(load, monkeypatch):
    run = load("study_run")
    images = torch.randint(256, (32, 3, 32, 32), dtype=torch.uint8)
    _, moco, _ = first_batches(run, run.Cell(), images, monkeypatch)
    for reading in run.study_teacher.READINGS:
        key = "weak" if reading == "teacher+moco" else "none"
        cell = run.Cell(reading, temperature=0.2, key=key, weight=3.0, keys=12)
        model, seen, asked = first_batches(run, cell, images, monkeypatch)
        assert len(seen) == 2
        assert model.num_keys == 12
        # On the student's own crop the teacher sees its very views, as pixels.
        assert len(asked) == (2 if reading.startswith("teacher-crop") else 0)
        std, mean = (torch.tensor(x).view(3, 1, 1) for x in (run.STD, run.MEAN))
        for pixels, (view, _) in zip(asked, seen, strict=False):
            torch.testing.assert_close(pixels, view * std + mean)
        assert all(torch.equal(a[0], b[0]) for a, b in zip(seen, moco, strict=True))
        assert torch.equal(seen[0][1], moco[0][1])
        head = getattr(model, "teacher_head", model.head)
        terms = {n: t for n, t in head.named_children() if t is not None}
        assert [t.loss_weight for t in terms.values()] == [3.0] * (1 + reading.endswith("both"))
        if "relation" in terms:
            assert (head.relation.temperature, head.relation.teacher_temperature) == (0.2, 0.1)
