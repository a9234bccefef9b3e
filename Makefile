# `make help` lists what there is. Everything is installed into .venv, nothing outside this folder.
PYTHON ?= python3
VENV := .venv
VENV_OFFICIAL := .venv-official
DEMO_CONFIG := configs/demo/xmoco_r18_1xb128_patches.py
DEMO_ARGS ?=
BENCH_IMAGES ?=
BENCH_OUT := work_dirs/benchmarks
# For gpu-parcel: CIFAR-10 (train.npz and test.npz), JPEGs, further packages.
DATA ?=
IMAGES ?=
EXTRA ?=
PYTEST_ARGS ?=
# For the fuzzer: readers, --count, --seed, --keep FOLDER.
FUZZ_ARGS ?=
# The tests of fine-tuning need mmcv's compiled ops; TRANSFER=0 leaves both out.
TRANSFER ?= 1
# Two workers; one thread each, or they fight over the cores. tests/conftest.py puts the longest files
# first; pytest-xdist would put those of most tests there.
PYTEST := -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)
# Python compiles on first import what is imported, a small part of what is installed; so it must be
# let write that down, or every process pays anew, 15 seconds where mmdet is installed.
export PYTHONDONTWRITEBYTECODE :=
# What the host's version does not change is tested on the maintained stack alone: these files, and the
# tests that are marked host_free. CONTRIBUTING.md has the rule.
HOST_FREE := $(addprefix tests/,benchmarks cli docs fuzzing losses matrix pretraining test_layering.py test_packaging.py test_runs.py \
  test_progress.py test_report_tool.py test_shell_tools.py test_pack_images.py test_cifar10_to_npz.py test_gpu_stand_in.py test_makefile.py \
  evaluate_tool/test_earlier.py export/test_names.py hostile/test_options.py) \
  $(addprefix tests/data/,test_check_image_file.py test_decode_image.py test_decode_strips.py test_forged_packs.py test_jpeg_header.py \
  test_tiff_file.py shards/test_bucket.py shards/test_failures.py shards/test_hub.py shards/test_local_set.py shards/test_order.py shards/test_other_buckets.py) \
  $(addprefix tests/evaluation/,test_against_start.py test_average_precision.py test_diagnostics.py test_knn.py test_linear_probe.py \
  test_retrieval.py test_selection.py test_same_classes.py test_step_health.py test_svm.py test_verdict.py) \
  $(addprefix tests/momentum/,test_queue.py test_shuffle.py) \
  $(addprefix tests/pretrain_tool/,test_again.py test_before_work.py test_broken_files.py test_fine_tuning.py test_interrupted.py \
  test_moved.py test_names.py test_refusals.py test_shards.py test_shards_channels.py test_shards_teacher.py test_stopped.py) \
  $(addprefix tests/teachers/,test_judgement.py test_projection.py test_stored.py) \
  $(addprefix tests/untrusted/,test_files.py test_image_header.py test_json_file.py test_last_checkpoint.py test_names.py test_streams.py) \
  $(addprefix tests/views/,test_pixels.py) $(addprefix tests/weights/,test_container.py test_numbers.py test_whole.py) \
  $(addprefix tests/visualization/,test_few_labels_figure.py test_run_figure.py test_similarity_map.py) \
  $(addprefix tests/visualization/report/,test_broken_files.py test_browser.py test_charts.py test_checkpoints.py test_comparison.py test_page.py test_twice.py \
  test_work_dir.py)
PIP := -m pip install -q --no-compile --disable-pip-version-check --no-input --progress-bar off
# In the environment rather than as options, so that isolated builds are held to the pins too.
pins = PIP_CONSTRAINT=$(1) PIP_BUILD_CONSTRAINT=$(1)
PEERS := aenum kornia kornia-rs lightly lightly-utils lightning-utilities pytorch-lightning simplejpeg torchcodec torchmetrics
MAINTAINED := requirements/maintained.txt
OFFICIAL := requirements/official.txt
SETUP := $(VENV)/.installed-demo
SETUP_TEST := $(VENV)/.installed-dev
SETUP_TRANSFER := $(VENV)/.installed-transfer
SETUP_BENCH := $(VENV)/.installed-bench
SETUP_DOCS := $(VENV)/.installed-docs
SITE := docs/_build
SETUP_OFFICIAL := $(VENV_OFFICIAL)/.installed-test
SETUP_OFFICIAL_TRANSFER := $(VENV_OFFICIAL)/.installed-transfer
COVERAGE := $(CURDIR)/.coverage

.DEFAULT_GOAL := help
.PHONY: help coverage demo bench docs gpu-parcel fuzz test test-buckets test-gpu test-matrix test-official test-official-transfer check format format-check lint types setup setup-test setup-transfer clean python

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup ## install, then pretrain on an embedded set of real images (DEMO_ARGS="..." for train.py)
	$(VENV)/bin/python tools/train.py $(DEMO_CONFIG) $(DEMO_ARGS)

bench: $(SETUP_BENCH) ## time loss, shuffle, step, growth, kNN, loader and, with BENCH_IMAGES=FOLDER of JPEGs, views on this machine
	OMP_NUM_THREADS=1 $(VENV)/bin/python benchmarks/loss.py --out $(BENCH_OUT)/loss
	OMP_NUM_THREADS=1 $(VENV)/bin/python benchmarks/comm.py --out $(BENCH_OUT)/comm
	OMP_NUM_THREADS=1 $(VENV)/bin/python benchmarks/step.py --out $(BENCH_OUT)/step $(if $(BENCH_IMAGES),--images $(BENCH_IMAGES))
	OMP_NUM_THREADS=1 $(VENV)/bin/python benchmarks/growth.py --out $(BENCH_OUT)/growth
	OMP_NUM_THREADS=1 $(VENV)/bin/python benchmarks/knn.py --out $(BENCH_OUT)/knn
	OMP_NUM_THREADS=1 $(VENV)/bin/python benchmarks/resident.py --out $(BENCH_OUT)/resident
	$(if $(BENCH_IMAGES),OMP_NUM_THREADS=1 $(VENV)/bin/python benchmarks/views.py $(BENCH_IMAGES) --out $(BENCH_OUT)/views,@echo "views: not timed, name a folder of JPEGs: make bench BENCH_IMAGES=FOLDER")

test: setup-test $(if $(filter-out 0,$(TRANSFER)),setup-transfer) ## run the tests (PYTEST_ARGS="..." for pytest; TRANSFER=0: without fine-tuning)
	OMP_NUM_THREADS=1 $(VENV)/bin/python $(PYTEST)

coverage: setup-test $(if $(filter-out 0,$(TRANSFER)),setup-transfer) ## run the tests and list which lines of the package none of them runs
	rm -f $(COVERAGE) $(COVERAGE).*
	OMP_NUM_THREADS=1 COVERAGE_FILE=$(COVERAGE) $(VENV)/bin/python -m coverage run $(PYTEST)
	$(VENV)/bin/python -m coverage combine -q
	$(VENV)/bin/python -m coverage report --show-missing

test-matrix: setup-test $(if $(filter-out 0,$(TRANSFER)),setup-transfer) ## walk every documented way that takes minutes: 25 on one core (PYTEST_ARGS="-k vit-small" for one)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -m matrix tests/matrix $(PYTEST_ARGS)

# Beside the environment: adlfs and gcsfs bring packages that the pins do not have.
test-buckets: setup-test ## walk az:// and gs:// on servers of both, which it installs into build/buckets (needs npm)
	$(call pins,$(MAINTAINED)) $(VENV)/bin/python $(PIP) --upgrade --target build/buckets adlfs gcsfs gcp-storage-emulator
	npm install --silent --no-audit --no-fund --prefix build/buckets azurite
	OMP_NUM_THREADS=1 PATH="$(CURDIR)/build/buckets/node_modules/.bin:$$PATH" PYTHONPATH=build/buckets \
	  $(VENV)/bin/python -m pytest tests/data/shards/test_other_buckets.py $(PYTEST_ARGS)

fuzz: setup-test ## feed 10,000 changed files to each reader: 15 minutes on one core (FUZZ_ARGS="image --seed 7")
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m tests.fuzzing $(FUZZ_ARGS)

test-official: $(SETUP_OFFICIAL) ## run the tests that touch the host on the official OpenMMLab stack, in a second environment
	OMP_NUM_THREADS=1 $(VENV_OFFICIAL)/bin/python $(PYTEST) -m 'not matrix and not host_free' $(addprefix --ignore=,$(HOST_FREE))

test-official-transfer: $(SETUP_OFFICIAL_TRANSFER) ## run the tests of fine-tuning on the official stack
	OMP_NUM_THREADS=1 $(VENV_OFFICIAL)/bin/python $(PYTEST) tests/transfer tests/export

gpu-parcel: setup ## collect in gpu-parcel/, at most 60 MB, what a GPU machine without a registry lacks (DATA=FOLDER of CIFAR-10)
	$(VENV)/bin/python benchmarks/gpu_pack.py gpu-parcel $(if $(DATA),--data $(DATA)) $(if $(IMAGES),--images $(IMAGES)) $(if $(EXTRA),--extra $(EXTRA))

test-gpu: setup-test ## run the tests that need a CUDA device
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -m gpu $(PYTEST_ARGS)

docs: $(SETUP_DOCS) ## build the site of docs/ into docs/_build, with warnings as errors and its links checked
	@# Sphinx has no release for Python 3.10 beside the Markdown parser that is pinned. Built anew as a
	@# whole: of pages that have not changed, it would not repeat the warnings.
	@rm -rf $(SITE)
	@if $(VENV)/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	  OMP_NUM_THREADS=1 $(VENV)/bin/python -m sphinx -q -E -W --keep-going -b html docs $(SITE) && \
	  $(VENV)/bin/python docs/_ext/check_site.py $(SITE); \
	else echo "The site needs Python 3.11 or later and is not built."; fi

check: format-check lint types docs test ## format, lint, types, the site and the tests

format: setup-test ## rewrite the sources in the house's format
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

format-check: setup-test
	$(VENV)/bin/ruff format --check .

lint: setup-test
	$(VENV)/bin/ruff check .

types: setup-test
	$(VENV)/bin/mypy

setup: $(SETUP) ## make .venv with what the demo needs
setup-test: $(SETUP_TEST) ## add what the tests and checks need
setup-transfer: $(SETUP_TRANSFER) ## add mmdet, mmseg and mmcv's ops, compiled once (FORCE_CUDA=1 for a GPU)

# Made anew when a pin or a requirement changes: no package of an older set stays behind.
$(SETUP): $(MAINTAINED) setup.py | python
	@echo "Installing the pinned packages into $(VENV): 2 to 4 minutes, about 5 GB where torch brings CUDA."
	@$(PYTHON) -m venv --clear $(VENV) || { echo "'$(PYTHON) -m venv' failed. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@# Alone and without the cache: a cached mmcv may hold ops compiled against another torch.
	@$(call pins,$(MAINTAINED)) $(VENV)/bin/python $(PIP) --no-cache-dir --no-deps onedl-mmcv
	@$(call pins,$(MAINTAINED)) $(VENV)/bin/python $(PIP) setuptools -e '.[onedl,demo,report,export]'
	@$(VENV)/bin/python -W ignore -c 'import xmoco_plugin'
	@touch $@

$(SETUP_TEST): $(SETUP)
	@echo "Installing what the tests and checks need into $(VENV)."
	@$(call pins,$(MAINTAINED)) $(VENV)/bin/python $(PIP) -e '.[onedl,dev]'
	@touch $@

$(SETUP_TRANSFER): tools/build_mmcv_ops.sh $(SETUP)
	@$(call pins,$(MAINTAINED)) $(VENV)/bin/python $(PIP) 'setuptools>=77,<81' wheel ninja
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" PYTHON=$(VENV)/bin/python bash $< onedl-mmcv "$$(sed -n 's/^onedl-mmcv==//p' $(MAINTAINED))"
	@$(call pins,$(MAINTAINED)) $(VENV)/bin/python $(PIP) -e '.[onedl,demo,report,export,transfer]'
	@# Without their requirements, which would bring a second OpenCV; the needed ones are there by now.
	@$(call pins,$(MAINTAINED)) $(VENV)/bin/python $(PIP) --no-deps onedl-mmdetection onedl-mmsegmentation imaug
	@touch $@

$(SETUP_BENCH): $(SETUP)
	@# The peers, without their requirements: what their transforms need is here.
	@$(call pins,$(MAINTAINED)) $(VENV)/bin/python $(PIP) --no-deps $(PEERS)
	@touch $@

$(SETUP_DOCS): $(SETUP)
	@echo "Installing what the site is built with into $(VENV)."
	@$(call pins,$(MAINTAINED)) $(VENV)/bin/python $(PIP) -e '.[onedl,docs]'
	@touch $@

$(SETUP_OFFICIAL): $(OFFICIAL) setup.py | python
	@echo "Installing the official stack into $(VENV_OFFICIAL): 2 to 4 minutes, about 5 GB where torch brings CUDA."
	@$(PYTHON) -m venv --clear $(VENV_OFFICIAL)
	@$(call pins,$(OFFICIAL)) $(VENV_OFFICIAL)/bin/python $(PIP) -e '.[official,test]'
	@$(VENV_OFFICIAL)/bin/python -W ignore -c 'import xmoco_plugin'
	@touch $@

$(SETUP_OFFICIAL_TRANSFER): tools/build_mmcv_ops.sh $(SETUP_OFFICIAL)
	@$(call pins,$(OFFICIAL)) $(VENV_OFFICIAL)/bin/python $(PIP) 'setuptools>=77,<81' wheel ninja
	@$(VENV_OFFICIAL)/bin/python -m pip uninstall -q -y mmcv-lite
	@PATH="$(CURDIR)/$(VENV_OFFICIAL)/bin:$$PATH" PYTHON=$(VENV_OFFICIAL)/bin/python bash $< mmcv "$$(sed -n 's/^mmcv==//p' $(OFFICIAL))"
	@$(call pins,$(OFFICIAL)) $(VENV_OFFICIAL)/bin/python $(PIP) -e '.[test,transfer]'
	@$(call pins,$(OFFICIAL)) $(VENV_OFFICIAL)/bin/python $(PIP) --no-deps mmdet mmsegmentation
	@touch $@

python:
	@command -v $(PYTHON) >/dev/null || { echo "No '$(PYTHON)' found: install Python 3.10 to 3.12, or name one: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' || { echo "$$($(PYTHON) --version): the pinned versions are for Python 3.10 to 3.12. Name one: make PYTHON=/path/to/python3"; exit 1; }

clean: ## remove what make installed and what the tools cached (work_dirs stays)
	rm -rf $(VENV) $(VENV_OFFICIAL) build dist $(SITE) *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
