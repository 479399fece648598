# The entry points of this project. `make` alone lists the targets.

# The host environment
# Interpreter, 3.11 to 3.13; empty: the first suitable one on the PATH
PYTHON ?=
# An index with CPU wheels of torch, e.g. https://download.pytorch.org/whl/cpu (200 MB, not 5 GB)
TORCH_INDEX ?=

# What to train: a photos directory (empty: a drawn sample) and hyperparameters
DATA ?=
MODEL ?=
WEIGHTS ?=
EPOCHS ?=
BATCH_SIZE ?=
LR ?=
OPTIMIZER ?=
# Where serve-demo and serve-local listen
PORT ?= 8080
# What test-gpu runs on: cuda, or cpu for all checks at toy size
DEVICE ?= cuda

# Real photos for the accuracy tests, which are skipped without them
export DOGBREEDS_PHOTOS ?= ../shared/dogs

.DEFAULT_GOAL := help
.PHONY: help demo serve-demo notebook cloud test test-unit test-photos test-pythons drill bench bench-check test-gpu \
	test-gpu-images test-ngc-shape lint lock clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.installed-demo: requirements/demo.txt requirements/torch.txt
	@PYTHON="$(PYTHON)" TORCH_INDEX="$(TORCH_INDEX)" requirements/install demo

.venv/.installed-cloud: requirements/cloud.txt requirements/torch.txt
	@PYTHON="$(PYTHON)" TORCH_INDEX="$(TORCH_INDEX)" requirements/install cloud

.venv/.installed-notebook: requirements/notebook.txt requirements/torch.txt
	@PYTHON="$(PYTHON)" TORCH_INDEX="$(TORCH_INDEX)" requirements/install notebook

.venv/.installed-dev: requirements/dev.txt requirements/sagemaker_v3.txt requirements/torch.txt
	@PYTHON="$(PYTHON)" TORCH_INDEX="$(TORCH_INDEX)" requirements/install dev

DEMO = .venv/bin/dogbreeds demo $(if $(DATA),"$(DATA)") $(if $(WEIGHTS),--weights "$(WEIGHTS)") \
	$(if $(MODEL),--set model="$(MODEL)") $(if $(EPOCHS),--set epochs="$(EPOCHS)") \
	$(if $(BATCH_SIZE),--set batch-size="$(BATCH_SIZE)") $(if $(LR),--set lr="$(LR)") \
	$(if $(OPTIMIZER),--set optimizer="$(OPTIMIZER)")

demo: .venv/.installed-demo  ## Train, serve and ask on this machine [DATA= MODEL= WEIGHTS= EPOCHS=]
	@$(DEMO)

serve-demo: .venv/.installed-demo  ## The same, and leave the server running [PORT=8080]
	@$(DEMO) --port $(PORT) --keep-serving

IN_CONTAINER = $(filter notebook,$(FLAVOR))
notebook: $(if $(IN_CONTAINER),,.venv/.installed-notebook)  ## The notebooks of examples/ in JupyterLab [FLAVOR=notebook: in a container]
	$(if $(IN_CONTAINER),docker/notebook $(NOTEBOOK_IMAGE) 8888,.venv/bin/jupyter lab \
		--LabApp.news_url=None --LabApp.extension_manager=readonly \
		--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate examples)

cloud: .venv/.installed-cloud  ## Install what .venv/bin/dogbreeds needs for AWS: the SageMaker SDK

test: .venv/.installed-dev lint  ## The tests: the real `train`, the real server, AWS's control plane by moto
	@# Use all cores, one test file at a time, long ones first; OpenMP threads would only compete
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n logical --dist loadfile --no-loadscope-reorder \
		-m "not photos" tests/integration tests/cloud tests/unit

test-unit: .venv/.installed-dev  ## The tests without sockets and processes: under a minute
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n logical --dist loadfile tests/unit

test-photos: .venv/.installed-dev  ## Accuracy on real photos, where DOGBREEDS_PHOTOS has them
	.venv/bin/python -m pytest -m photos tests/integration

drill: .venv/.installed-dev  ## Break things on purpose: what is lost, how soon is all well again? [QUICK=1]
	OMP_NUM_THREADS=1 $(if $(QUICK),DRILL_QUICK=1) .venv/bin/python -m pytest tests/drills \
		$(if $(QUICK),,--drill-table benchmarks/results/drills.csv)
	$(if $(QUICK),,DOGBREEDS_FUZZ_PHOTOS=80000 DOGBREEDS_FUZZ_ENVELOPES=60000 \
		DOGBREEDS_FUZZ_REQUESTS=100000 .venv/bin/python -m pytest -o timeout=3600 \
		tests/unit/test_fuzz.py tests/integration/test_serving_operations.py -k "mutated or random")

BENCH = .venv/bin/python benchmarks
RESULTS = benchmarks/results

bench: .venv/.installed-dev  ## Measure serving, training and data beside peers, and write benchmarks/RESULTS.md, results.html
	$(BENCH)/serving.py --output $(RESULTS)/serving.csv
	$(BENCH)/training.py --output $(RESULTS)/training.csv
	$(BENCH)/data.py --output $(RESULTS)/data.csv
	$(BENCH)/findings.py $(wildcard $(DOGBREEDS_PHOTOS)/dogImages/train) --output $(RESULTS)/findings.csv
	$(BENCH)/check.py --update
	$(BENCH)/summary.py
	$(BENCH)/plots.py

bench-check: .venv/.installed-dev  ## Is this tree as fast as the last results? Three minutes
	$(BENCH)/check.py

test-pythons: .venv/.installed-dev  ## The lock files on Python 3.12 and 3.13, where these are found
	.venv/bin/python -m pytest tests/environments/test_pythons.py

test-gpu:  ## Training and serving on this machine's GPUs: is it right, is it fast? [DEVICE=cpu PYTHON=]
	@DEVICE="$(DEVICE)" PYTHON="$(PYTHON)" tests/gpu/run

test-gpu-images: .venv/.installed-dev  ## Build the GPU images on NVIDIA's base and run them with a GPU [BASE_IMAGE=]
	DEVICE=images .venv/bin/python -m pytest -m "gpu and images" tests/gpu

test-ngc-shape: .venv/.installed-dev  ## The oldest PyTorch of our GPU bases, and images on stand-ins for these
	.venv/bin/python -m pytest tests/environments/test_ngc_shape.py

lint: .venv/.installed-dev  ## Linter, formatter and type checker
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports --no-cache
	.venv/bin/mypy src benchmarks docker
	@# Check one test folder at a time: each has its own conftest.py
	for tests in tests/conftest.py tests/*/; do .venv/bin/mypy $$tests || exit 1; done

lock:  ## Compile the lock files from the hand-written lists (needs uv)
	requirements/lock

clean:  ## Remove what the demo and the tests made
	rm -rf build .pytest_cache .mypy_cache .ruff_cache

-include docker/docker.mk
