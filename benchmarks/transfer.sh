#!/usr/bin/env bash
# Does pretraining on a set's own images help a detector or a segmentor? transfer.sh {det,seg} DATA OUT [IMAGES ...]
# Pretrains on the training images of DATA and all below IMAGES, fine-tunes from that and from scratch with
# SEEDS (0..2), MAX_ITERS (200) and images of SIZE pixels (256); the tables are in OUT. Goes on where it stopped.
set -euo pipefail
if (($# < 3)) || [[ $1 != det && $1 != seg ]]; then
  echo "usage: [SEEDS=0..2 MAX_ITERS=200 SIZE=256 PRETRAIN_ITERS=300 PYTHON=.venv/bin/python] $0 {det,seg} DATA OUT [IMAGES ...]" >&2
  exit 2
fi
task=$1 data=$(realpath "$2") out=$3
shift 3
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")/../tools" && pwd)
configs=$tools/../configs
source "$tools/python.sh"
seeds=${SEEDS:-0..2} iters=${MAX_ITERS:-200} size=${SIZE:-256}
mkdir -p "$out/images"
out=$(realpath "$out")
if [[ $task == det ]]; then
  config=$configs/detection/faster-rcnn_r18-fpn_small.py own=train
  scales=(train_dataloader.dataset.pipeline.2.scale="($size,$size)")
else
  config=$configs/segmentation/fcn_r18_small.py own=img_dir/train
  scales=(
    train_dataloader.dataset.pipeline.2.scale="($size,$size)"
    train_dataloader.dataset.pipeline.3.crop_size="($((size / 2)),$((size / 2)))"
    model.data_preprocessor.size="($((size / 2)),$((size / 2)))"
  )
fi
for stage in val test; do scales+=("${stage}_dataloader.dataset.pipeline.1.scale=($size,$size)"); done

number=0
for folder in "$data/$own" "$@"; do
  ln -sfn "$(realpath "$folder")" "$out/images/$number"
  number=$((number + 1))
done
images=$(find -L "$out/images" -type f -name '*.jpg' | wc -l)
# Whole epochs of batches of 32 that come nearest to so many iterations.
epochs=$((${PRETRAIN_ITERS:-300} / (images / 32)))
checkpoint=$out/pretrain/epoch_$epochs.pth
if [[ ! -e $checkpoint ]]; then
  "$python" "$tools/train.py" "$configs/xmoco_r18_1xb32_folder-small.py" --data-root "$out/images" \
    --work-dir "$out/pretrain" --resume auto --cfg-options train_cfg.max_epochs=$epochs \
    param_scheduler.0.T_max=$epochs
fi
for start in scratch "$checkpoint"; do
  PYTHON=$python bash "$tools/transfer.sh" "$start" "$task" "$config" --data-root "$data" --seeds "$seeds" \
    --max-iters "$iters" --work-dir "$out/$(basename "$start" .pth)" --cfg-options "${scales[@]}"
done
cat "$out"/*/table.md
