# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The matrix: every documented way, and the test that walks it from end to end.

A walker in tests/matrix/test_walks.py is heavy and runs in `make test-matrix`; MINUTES says how
much time of one CPU core it took. Every other walker runs in `make test`. Options have rows of
their own in options.txt.
"""

from pathlib import Path

WALKS = "tests/matrix/test_walks.py"
MODEL = f"{WALKS}::test_a_model_trains_and_every_line_of_its_next_steps_runs"
# `pretrain --model`: short names, and a class of each family that docs/export.md lists.
MODELS = (
    *("vit-small", "resnet18", "resnet50", "ConvNeXt:tiny", "ResNeXt:50", "MobileNetV2"),
    *("MobileNetV3:small", "EfficientNet:b0", "RegNet:regnetx_400mf", "DenseNet:121"),
    *("ShuffleNetV2", "SwinTransformer:tiny", "EfficientNetV2:s", "VGG:11", "RepVGG:A0"),
    *("mmdet.CSPNeXt:tiny", "mmdet.ResNet:50", "mmseg.SwinTransformer"),
)
# `pretrain --init`, by the model and the library whose weights it starts from; the layouts of other
# trainings (FAIR's, DINO's, compiled, wrapped) are rows of LAYOUTS.
INITS = (
    *(("MobileNetV2", "torchvision"), ("MobileNetV2", "timm"), ("ConvNeXt:tiny", "timm")),
    *(("EfficientNet:b0", "torchvision"), ("RegNet:regnetx_400mf", "timm")),
    *(("ResNeXt:50", "torchvision"), ("MobileNetV3:small", "torchvision")),
)
INIT = f"{WALKS}::test_a_pretraining_starts_from_the_weights_that_a_library_ships"
FAMILY = f"{WALKS}::test_a_family_of_another_library_comes_in_and_goes_out"
# From a pretraining to AP or mIoU, by the ready configs of single families of backbones.
READY = f"{WALKS}::test_a_backbone_is_pretrained_exported_arrives_and_is_fine_tuned"
PLACES = "tests/export/test_places.py"
SOURCES = "tests/export/test_sources.py"
# Layouts of weights that are read: names of export --from, and what stands before their keys.
LAYOUTS = {
    "auto": f"{PLACES}::test_a_backbone_is_found_behind_what_wrappers_put_before_it",
    "mmpretrain": "tests/test_export_backbone.py::test_every_layout_comes_back_bit_for_bit",
    "moco": f"{SOURCES}::test_fair_moco_comes_in_without_its_head",
    "moco-v3": f"{SOURCES}::test_fair_moco_v3_comes_in_without_its_head",
    "dino": f"{PLACES}::test_the_encoder_that_learns_and_the_one_that_follows_are_told_apart",
    "bare": "tests/test_export_backbone.py::test_every_layout_comes_back_bit_for_bit",
    "torchvision": "tests/export/test_features.py"
    "::test_backbones_of_other_libraries_come_in_with_their_features",
    "timm": "tests/export/test_features.py"
    "::test_backbones_of_other_libraries_come_in_with_their_features",
}
FORMATS_READ = (
    "tests/matrix/test_formats.py::test_a_model_is_built_of_every_form_with_its_weights_and_size"
)
# What commands write, by command and form.
FORMS = {
    **{
        f"export --to {target}": FORMATS_READ
        for target in ("mmpretrain", "torchvision", "timm", "detectron2", "safetensors", "mmseg")
    },
    **{
        f"embed --out {ending}": "tests/test_embed.py::test_csv_and_parquet_hold_the_same_numbers"
        for ending in (".npz", ".csv", ".parquet")
    },
    "select --out .csv": "tests/test_select_images.py"
    "::test_a_run_picks_by_the_features_that_embed_writes_and_says_why",
    "select --out .txt": "tests/test_select_images.py"
    "::test_what_is_labelled_is_not_picked_by_place_by_content_and_by_list",
    **{
        f"runs --format {kind}": "tests/test_runs.py"
        "::test_html_is_escaped_and_text_has_a_line_a_run"
        for kind in ("text", "csv", "html")
    },
    **{
        f"evaluate --protocol {name}": "tests/evaluate_tool/test_run.py"
        "::test_one_command_gives_one_table_printed_and_as_json_and_markdown"
        for name in ("knn", "linear-fast", "svm", "low-shot", "retrieval")
    },
}
# Config families, by the folder below configs/; each walker takes every file of it.
CONFIGS = {
    "": "tests/test_configs.py"
    "::test_one_step_from_image_to_updated_weights_and_queue_on_a_shrunken_copy",
    "demo": "tests/test_configs.py"
    "::test_one_step_from_image_to_updated_weights_and_queue_on_a_shrunken_copy",
    "plug_in": "tests/plug_in/test_configs.py"
    "::test_two_epochs_of_a_real_runner_from_a_host_checkpoint_to_one_that_the_host_reads",
    "linear": "tests/test_classifier_configs.py"
    "::test_it_trains_from_a_checkpoint_and_a_frozen_backbone_stays_as_it_came",
    "semi": "tests/test_classifier_configs.py"
    "::test_it_trains_from_a_checkpoint_and_a_frozen_backbone_stays_as_it_came",
    "teacher": "tests/teachers/test_configs.py::test_a_shrunken_copy_takes_a_step",
    "detection": "tests/transfer/test_configs.py"
    "::test_one_step_on_drawn_images_from_a_pretraining_checkpoint",
    "segmentation": "tests/transfer/test_configs.py"
    "::test_one_step_on_drawn_images_from_a_pretraining_checkpoint",
}


def _options() -> dict[str, dict[str, tuple[str, ...]]]:
    rows: dict[str, dict[str, tuple[str, ...]]] = {}
    for line in Path(__file__).with_name("options.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            command, walker, names = (part.strip() for part in line.split("|"))
            rows.setdefault(command, {})[walker] = tuple(names.split())
    return rows


# Options, by command and walker.
OPTIONS = _options()
# Set by launchers, and for no user.
INTERNAL = {"--local_rank"}
# Of a heavy walker, of CPU time; a parametrized one for each of its rows.
MINUTES = {
    "test_a_model_trains_and_every_line_of_its_next_steps_runs": 1.5,
    "test_a_family_of_another_library_comes_in_and_goes_out": 0.1,
    "test_a_pretraining_starts_from_the_weights_that_a_library_ships": 0.5,
    "test_a_backbone_is_pretrained_exported_arrives_and_is_fine_tuned": 1.0,
    "test_options_of_a_pretraining_that_nothing_else_walks": 0.5,
    "test_a_pretraining_reads_shards_from_a_bucket": 1.0,
    "test_options_of_judging_that_nothing_else_walks": 2.3,
    "test_a_fine_tuning_from_wrapped_weights_with_folders_that_are_named": 1.5,
}
# Commands in fenced blocks of README.md and docs/, by their words as far as they are the same for
# everybody; each has a walker among those of its options, or here.
COMMANDS = {
    **dict.fromkeys(OPTIONS, ""),
    "dist_train.sh": "tests/test_dist_train.py"
    "::test_two_nodes_killed_and_resumed_go_on_where_they_were",
    "dist_test.sh": "tests/test_shell_tools.py",
    "slurm_train.sh": "tests/test_shell_tools.py",
    "transfer.sh": "tests/transfer/test_transfer_tool.py",
    "build_mmcv_ops.sh": "tests/test_packaging.py",
}
