# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from functools import partial

import pytest
import torch
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from xmoco_plugin.evaluation.features import (
    ModelEmbedder,
    collect_features,
    embed_pixels,
    evaluation_mode,
    labels_of,
    pixel_features,
    pool_feature,
)

from ..models import config
from .toy import loader


def tiny_model(**options) -> nn.Module:
    torch.manual_seed(0)
    return MODELS.build(config("MoCo", **options)).eval()


def toy_loader(size: int = 20, **options):
    return Runner.build_dataloader(loader(size, seed=3, batch=8, **options), seed=0)


class TestEvaluationMode:
    def test_every_submodule_gets_its_own_mode_back(self):
        model = nn.Sequential(nn.BatchNorm1d(2), nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()))
        model.train()
        model[1][0].eval()  # a frozen norm inside a training model
        before = [module.training for module in model.modules()]
        with evaluation_mode(model):
            assert not any(module.training for module in model.modules())
        assert [module.training for module in model.modules()] == before

    def test_the_modes_come_back_after_an_error_too(self):
        model = nn.Sequential(nn.Dropout()).train()
        with pytest.raises(RuntimeError), evaluation_mode(model):
            raise RuntimeError
        assert model.training
        assert model[0].training


class TestPooling:
    def test_maps_are_averaged_and_the_last_stage_is_taken(self):
        last = torch.arange(16.0).view(1, 4, 2, 2)
        assert pool_feature((torch.ones(1, 9), last)).tolist() == [[1.5, 5.5, 9.5, 13.5]]

    def test_vectors_are_kept(self):
        assert pool_feature(torch.ones(2, 3).half()).dtype == torch.float32

    def test_tokens_give_the_class_token_or_their_mean(self):
        tokens = torch.tensor([[[6.0, 0], [0, 3], [0, 3]]])
        assert pool_feature((tokens,), class_token=True).tolist() == [[6, 0]]
        assert pool_feature((tokens,), class_token=False).tolist() == [[2, 2]]

    def test_maps_of_timm_with_channels_last_are_pooled_over_their_places(self):
        class Last(nn.Module):
            output_fmt = "NHWC"

            def forward(self, x):
                return (x.permute(0, 2, 3, 1),)

        model = nn.Module()
        model.backbone = nn.Module()
        model.backbone.timm_model = Last()
        model.extract_feat = model.backbone.timm_model
        model.data_preprocessor = lambda batch, _: batch
        pixels = torch.rand(2, 3, 4, 5)
        batch = {"inputs": pixels, "data_samples": []}
        features, _ = ModelEmbedder(model, unit=False)(batch)
        torch.testing.assert_close(features, pixels.mean(dim=(2, 3)))

    def test_other_shapes_are_refused_with_the_shape(self):
        with pytest.raises(ValueError, match=r"output \(3,\) is neither"):
            pool_feature(torch.ones(3))

    @pytest.mark.parametrize("out_type", ["raw", "cls_token", "featmap", "avg_featmap"])
    def test_every_output_of_the_hosts_vision_transformer_becomes_a_vector(self, out_type):
        arch = {"embed_dims": 16, "num_layers": 1, "num_heads": 2, "feedforward_channels": 16}
        backbone = {"type": "VisionTransformer", "arch": arch, "img_size": 8, "patch_size": 4}
        neck = {"type": "MoCoV2Neck", "in_channels": 16, "hid_channels": 8, "out_channels": 8}
        embed = ModelEmbedder(tiny_model(backbone=backbone | {"out_type": out_type}, neck=neck))
        features, _ = embed(next(iter(toy_loader())))
        assert features.shape == (8, 16)
        assert embed.class_token
        if out_type == "raw":
            embed.model.backbone.out_type = "cls_token"
            torch.testing.assert_close(features, embed(next(iter(toy_loader())))[0])


class TestModelEmbedder:
    def test_features_are_the_normalised_mean_of_the_backbones_map(self):
        model = tiny_model(data_preprocessor={"mean": [100.0] * 3, "std": [50.0] * 3})
        batch = next(iter(toy_loader()))
        features, samples = ModelEmbedder(model)(batch)
        raw = model.backbone((batch["inputs"].float() - 100) / 50)[-1].mean(dim=(2, 3))
        torch.testing.assert_close(features, raw / raw.norm(dim=1, keepdim=True))
        assert not features.requires_grad
        assert labels_of(samples).tolist() == [0, 1, 2, 3, 4, 5, 0, 1]

    def test_a_classifier_gives_the_features_before_its_head(self):
        model = MODELS.build(
            {
                "type": "ImageClassifier",
                "backbone": {"type": "TinyEncoder"},
                "neck": {"type": "GlobalAveragePooling"},
                "head": {"type": "LinearClsHead", "num_classes": 3, "in_channels": 16},
            }
        )
        assert ModelEmbedder(model)(next(iter(toy_loader())))[0].shape == (8, 16)

    def test_pseudo_collated_images_are_stacked(self):
        batch = next(iter(toy_loader()))
        listed = {**batch, "inputs": list(batch["inputs"])}
        embed = ModelEmbedder(tiny_model())
        assert torch.equal(embed(listed)[0], embed(batch)[0])

    def test_a_two_view_pipeline_is_refused(self):
        with pytest.raises(ValueError, match="one view per image, but this pipeline makes 2"):
            ModelEmbedder(tiny_model())(next(iter(toy_loader(views=2))))


class TestCollecting:
    def test_the_whole_set_comes_in_order_with_its_labels(self):
        embed = ModelEmbedder(tiny_model())
        found = collect_features(toy_loader(), embed, torch.float16)
        assert found.features.shape == (20, 16)
        assert found.features.dtype == torch.float16
        assert found.labels.tolist() == [i % 6 for i in range(20)]
        assert found.places.tolist() == list(range(20))

    def test_an_image_without_a_label_is_named(self):
        with pytest.raises(ValueError, match=r"in the bank toy/0\.png has no gt_label"):
            collect_features(toy_loader(labelled=False), embed_pixels)

    def test_an_image_with_two_labels_is_named(self):
        samples = [DataSample().set_gt_label(1), DataSample().set_gt_label([1, 2])]
        with pytest.raises(ValueError, match="in the queries image 5 has 2 labels"):
            labels_of(samples, "queries", first=4)

    def test_batches_without_data_samples_are_refused(self):
        with pytest.raises(ValueError, match="must end in PackInputs"):
            labels_of(None)

    def test_an_endless_sampler_is_refused(self):
        endless = loader(20, seed=3) | {"sampler": {"type": "InfiniteSampler"}}
        with pytest.raises(ValueError, match="more than the 20 images"):
            collect_features(Runner.build_dataloader(endless, seed=0), embed_pixels)


class TestPixels:
    def test_the_cosine_of_pixel_features_is_the_correlation_of_the_images(self):
        images = torch.stack([toy_loader().dataset[i]["inputs"] for i in range(20)])
        features, labels = pixel_features(toy_loader())
        expected = torch.corrcoef(images.flatten(1).double())
        torch.testing.assert_close((features @ features.T).double(), expected, rtol=0, atol=1e-5)
        assert labels.tolist() == [i % 6 for i in range(20)]

    def test_images_of_several_sizes_are_refused(self):
        batch = {"inputs": [torch.zeros(3, 4, 4), torch.zeros(3, 5, 4)], "data_samples": []}
        with pytest.raises(ValueError, match="images of one size"):
            embed_pixels(batch)


def test_half_precision_changes_features_only_by_its_rounding():
    batch = next(iter(toy_loader()))
    make = partial(ModelEmbedder, tiny_model())
    features, half = make()(batch)[0], make(fp16=True)(batch)[0]
    assert half.dtype == torch.float32
    assert not torch.equal(features, half)
    torch.testing.assert_close(features, half, rtol=0, atol=0.02)
