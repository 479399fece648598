# Builds and runs the two images; the Makefile includes this. Needs Docker with buildx.

FLAVOR ?= gpu
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' src/dogbreeds/__init__.py)
TRAINING_IMAGE := dogbreeds-training:$(VERSION)-$(FLAVOR)
SERVING_IMAGE := dogbreeds-serving:$(VERSION)-$(FLAVOR)
NOTEBOOK_IMAGE := dogbreeds-notebook:$(VERSION)

# A GPU image gets all GPUs unless GPU=none.
GPU ?= $(if $(filter gpu,$(FLAVOR)),all,none)
OUT ?= build/train-local
MODEL_DIR ?= $(OUT)/ml/model
PORT ?= 8080

# docker/build reads these from the environment.
export BASE_IMAGE DEBIAN_IMAGE TORCH_INDEX WEIGHTS_FILE MAVEN_REPOSITORY

.PHONY: base build build-training build-serving sbom push train-local serve-local test-images

base:  ## Build the CPU base (Debian, Python, torch) [DEBIAN_IMAGE= TORCH_INDEX=]
	docker/build base

build: build-training build-serving  ## Build both images [FLAVOR=gpu|cpu BASE_IMAGE= WEIGHTS_FILE=]

build-training:  ## Build the training image alone
	docker/build training $(FLAVOR) $(TRAINING_IMAGE)

build-serving:  ## Build the serving image alone; FLAVOR=slim: without PyTorch
	docker/build serving $(FLAVOR) $(SERVING_IMAGE)

sbom:  ## Write the SBOMs of both images to build/ [FLAVOR=]
	@mkdir -p build
	docker/sbom $(TRAINING_IMAGE) >build/sbom-training-$(FLAVOR).json
	docker/sbom $(SERVING_IMAGE) >build/sbom-serving-$(FLAVOR).json

# Without REGISTRY, push to the account's ECR after logging in; dogbreeds.toml has the settings.
push: $(if $(REGISTRY),,.venv/.installed-cloud)  ## Tag and push both images [REGISTRY=HOST[:PORT][/PATH], else ECR]
	@$(if $(REGISTRY),docker/push "$(REGISTRY)" $(TRAINING_IMAGE) $(SERVING_IMAGE),\
		.venv/bin/dogbreeds push --flavor $(FLAVOR))

train-local:  ## Train in a container DATA=DIR [GPU=all|none MODEL= WEIGHTS= EPOCHS= OUT=]
	@GPU=$(GPU) WEIGHTS="$(WEIGHTS)" docker/train-local $(TRAINING_IMAGE) "$(DATA)" "$(OUT)" \
		$(if $(MODEL),model="$(MODEL)") $(if $(EPOCHS),epochs="$(EPOCHS)") \
		$(if $(BATCH_SIZE),batch-size="$(BATCH_SIZE)") $(if $(LR),lr="$(LR)") \
		$(if $(OPTIMIZER),optimizer="$(OPTIMIZER)")

serve-local:  ## Serve a model in a container [MODEL_DIR=DIR PORT=8080 GPU=all|none]
	@docker/serve-local $(SERVING_IMAGE) "$(MODEL_DIR)" $(PORT) $(GPU)

test-images: .venv/.installed-dev  ## Build the CPU images and test them in containers, with a real engine
	@# A time limit is for the test, not for the images that the first one waits for
	.venv/bin/python -m pytest -o timeout_func_only=true tests/images
