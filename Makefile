# Everything that people and CI do. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
PREFIX ?= $(HOME)/.local
BUNDLE ?= models/mnist-not4
PYTHON_LIBS := third_party/python
PYTHON_CLIENT := third_party/python-client
PYTHON_VENV := third_party/python-venv
BATCH_VENV := third_party/batch-venv
WHEELS := target/wheels
CONSOLE_TEST := third_party/console-test
PYTHON_SOURCES := $(shell find python/src -name '*.py' -not -name '*_pb2.py') python/hatch_build.py python/pyproject.toml \
  proto/lfbm/v1/anomaly_detector.proto
DEPLOY_TOOLS := third_party/deploy-tools
GPU_PACK_TOOLS := third_party/gpu-pack-tools
PROMTOOL := third_party/bin/promtool
# Which ONNX Runtime `make install` installs: onnxruntime, or onnxruntime-gpu for CUDA.
ONNXRUNTIME ?= onnxruntime
# What is built where only the server and its client are needed. CI names every package and the examples, because
# cargo builds dependencies anew for another choice of packages, or of what tests depend on.
PACKAGES ?=
# Python that ruff checks: of the package, of its wheels, and what users are shown.
PYTHON_LINTED := python examples
# Where `make notebook` puts the notebook with what its cells show.
NOTEBOOK_OUT ?= target/inspect.ipynb
GPU_CHECK := target/gpu-check
GPU_PACK ?= target/lfbm-gpu-check.tar.xz
# Which tests `make test` runs.
TESTS ?= --workspace
FUZZ_TARGETS := calibration checkpoint image import manifest onnx request
# Seconds for each fuzz target, and for the soak test.
FUZZ_S ?= 60
LFBM_SOAK_S ?= 600

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: onnxruntime
onnxruntime: ## Put ONNX Runtime where the build finds it
	@$(PYTHON) scripts/native-libs.py onnxruntime

.PHONY: native-libs
native-libs: ## Put ONNX Runtime and libtorch where the build finds them
	@$(PYTHON) scripts/native-libs.py onnxruntime libtorch

.PHONY: network
network: ## Put EfficientNet-Lite0, whose features the trainer takes, into third_party/efficientnet-lite0
	@$(PYTHON) scripts/native-libs.py efficientnet-lite0

.PHONY: python
python: $(PYTHON_LIBS)/.installed ## Put the Python packages that tests use where they find them

$(PYTHON_LIBS)/.installed: scripts/requirements.txt
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --upgrade --target $(PYTHON_LIBS) -r $<
	touch $@

.PHONY: python-client
python-client: $(PYTHON_CLIENT)/.installed ## Put the Python package and what it needs into third_party/python-client

$(PYTHON_CLIENT)/.installed: $(PYTHON_SOURCES)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --upgrade --target $(PYTHON_CLIENT) \
	  --constraint python/requirements-test.txt ./python
	touch $@

$(PYTHON_VENV)/.installed: python/requirements-test.txt
	$(PYTHON) -m venv $(PYTHON_VENV)
	$(PYTHON_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

# The wheel is built from the sdist, so that this one is complete.
.PHONY: python-test
python-test: onnxruntime $(PYTHON_VENV)/.installed ## Build the Python package, lint it, and test it against a server
	cargo build $(PACKAGES) --bins
	$(PYTHON_VENV)/bin/ruff check $(PYTHON_LINTED)
	$(PYTHON_VENV)/bin/ruff format --check $(PYTHON_LINTED)
	rm -rf python/dist
	$(PYTHON_VENV)/bin/python -m build --outdir python/dist python >/dev/null
	$(PYTHON_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps \
	  python/dist/*.whl
	cd $(PYTHON_VENV) && bin/mypy --config-file ../../python/pyproject.toml -p lfbm
	$(PYTHON_VENV)/bin/python -m pytest --quiet python/tests

$(PYTHON_VENV)/.client: $(PYTHON_VENV)/.installed $(PYTHON_SOURCES)
	$(PYTHON_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps ./python
	touch $@

# What the programs need of glibc decides which systems the wheel is for: build it on an old one.
.PHONY: wheel
wheel: server $(PYTHON_VENV)/.installed ## Build a wheel of the server and its client into target/wheels
	scripts/wheel.sh target/release $(WHEELS) $(PYTHON_VENV)/bin

.PHONY: wheel-test
wheel-test: onnxruntime $(PYTHON_VENV)/.installed ## Test the wheel, of unoptimised programs, in an empty environment
	cargo build $(PACKAGES) --bins
	scripts/wheel.sh target/debug $(WHEELS)/debug $(PYTHON_VENV)/bin
	LFBM_WHEELS=$(CURDIR)/$(WHEELS)/debug $(PYTHON_VENV)/bin/python -m pytest --quiet python/server/tests

# NOTEBOOK_OUT=examples/inspect.ipynb keeps what the cells show beside them.
.PHONY: notebook
notebook: native-libs $(PYTHON_VENV)/.client ## Execute the notebook of examples/ into target/inspect.ipynb
	cargo build --workspace --bins --examples
	PATH=$(CURDIR)/target/debug:$$PATH $(PYTHON_VENV)/bin/python -B scripts/run-notebook.py \
	  examples/inspect.ipynb $(NOTEBOOK_OUT)

$(BATCH_VENV)/.installed: python/requirements-batch.txt python/requirements-test.txt $(PYTHON_SOURCES)
	$(PYTHON) -m venv $(BATCH_VENV)
	$(BATCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $< ./python
	touch $@

.PHONY: batch
batch: onnxruntime $(BATCH_VENV)/.installed ## Score files by Ray Data and by Spark, on this machine; needs Java 17
	@command -v java >/dev/null || { echo 'make batch: Spark needs Java 17 (Debian: apt-get install default-jre-headless)' >&2; exit 1; }
	cargo build $(PACKAGES) --bins
	$(BATCH_VENV)/bin/python -m pytest --quiet -m batch python/tests/test_batch.py

$(CONSOLE_TEST)/.installed: tests/console/requirements.txt
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --upgrade --target $(CONSOLE_TEST) -r $<
	touch $@

# LFBM_SCREENSHOTS=FOLDER keeps pictures of the page.
.PHONY: console-test
console-test: onnxruntime $(CONSOLE_TEST)/.installed ## Test the console in a browser; needs chromium and chromedriver
	cargo build $(PACKAGES) --bins
	LFBM_SERVER=$(CURDIR)/target/debug/lfbm-server PYTHONPATH=$(CONSOLE_TEST) \
	  $(PYTHON) -B tests/console/test_console.py

$(DEPLOY_TOOLS)/.installed: deploy/requirements.txt
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --upgrade --target $(DEPLOY_TOOLS) -r $<
	touch $@

.PHONY: promtool
promtool: $(PROMTOOL) ## Put promtool, which checks alerts and metrics, where deploy-check finds it

$(PROMTOOL):
	scripts/promtool.sh $@

.PHONY: demo
demo: onnxruntime ## Start the server on the shipped bundle and score the shipped images
	cargo build --release
	@scripts/demo.sh $(BUNDLE)

.PHONY: server
server: onnxruntime ## Build the server and its client, optimised
	cargo build --release

.PHONY: trainer
trainer: native-libs ## Build the trainer, optimised
	cargo build --release -p lfbm-trainer

.PHONY: examples
examples: onnxruntime python-client ## Run the programs of examples/ against a server
	cargo build $(PACKAGES) --bins --example score
	PYTHON=$(PYTHON) scripts/run-examples.sh target/debug $(PYTHON_CLIENT)

.PHONY: test
# Fits of different tests run side by side, and threads of libtorch that wait for each other spin.
test: export OMP_NUM_THREADS = 1
test: native-libs python promtool ## Run every test
	cargo build --workspace --bins --examples
	cargo test $(TESTS)

.PHONY: deploy-check
deploy-check: onnxruntime $(PROMTOOL) $(DEPLOY_TOOLS)/.installed ## Check deploy/ by schemas and against a real server
	cargo build $(PACKAGES) --bins
	$(PYTHON) scripts/check-deploy.py

# DOCS_CHECK_ARGS=--shared-target=target builds unoptimised, with the dependencies that are built already.
.PHONY: docs-check
docs-check: ## Run the commands of README and docs in a fresh clone
	$(PYTHON) scripts/check_docs_test.py
	$(PYTHON) scripts/check-docs.py $(DOCS_CHECK_ARGS)

.PHONY: fuzz-check
fuzz-check: clippy ## Lint the fuzz targets, with all else

# Stable Rust lets the fuzzer in only by RUSTC_BOOTSTRAP.
.PHONY: fuzz
fuzz: export RUSTC_BOOTSTRAP = 1
# The fuzzer's instrumentation may get lost when code is optimised across crates.
fuzz: export CARGO_PROFILE_RELEASE_LTO = false
fuzz: ## Fuzz what reads untrusted bytes, FUZZ_S seconds a target; needs cargo-fuzz
	cargo fuzz build --features libfuzzer
	target/*/release/seeds fuzz/corpus
	for target in $(FUZZ_TARGETS); do \
	  cargo fuzz run --features libfuzzer $$target -- -max_total_time=$(FUZZ_S) || exit; done

.PHONY: soak
soak: onnxruntime ## Load a server for ten minutes: memory is flat, every answer is right
	LFBM_SOAK_S=$(LFBM_SOAK_S) cargo test $(filter-out --examples,$(PACKAGES)) --test soak -- --nocapture

.PHONY: nightly
nightly: soak batch fuzz ## What takes too long for every change: soak, Ray and Spark, fuzz

# For the Prometheus operator, the rules that Prometheus reads from a file elsewhere.
deploy/kubernetes/base/prometheusrule.yaml: deploy/prometheus/alerts.yml
	printf '%s\n' '# Made of deploy/prometheus/alerts.yml by `make $@`.' \
	  'apiVersion: monitoring.coreos.com/v1' 'kind: PrometheusRule' 'metadata:' '  name: lfbm-server' 'spec:' > $@
	sed -e '/^#/d' -e 's/^./  &/' $< >> $@

.PHONY: fmt
fmt: ## Check the formatting
	cargo fmt --all --check

.PHONY: clippy
clippy: native-libs ## Lint, warnings denied; the fuzz targets, too
	cargo clippy --workspace --all-targets --features lfbm-fuzz/libfuzzer -- -D warnings

.PHONY: deny
deny: ## Check licences, sources and forbidden dependencies
	cargo deny --workspace --all-features check bans licenses sources

.PHONY: modules
modules: ## Check that the modules of each crate form no circle
	$(PYTHON) scripts/check_modules_test.py
	$(PYTHON) scripts/check_modules.py

.PHONY: bench
bench: onnxruntime ## Time a posterior step, and Score end to end
	cargo bench --bench posterior_step --bench score

.PHONY: growth
growth: onnxruntime ## Measure how time and memory grow, and draw it: target/growth.svg
	cargo bench --bench growth

.PHONY: bench-scheduling
bench-scheduling: server ## Measure goodput and latency under load; takes ten minutes
	$(PYTHON) scripts/bench-scheduling.py

# What `make gpu-pack` packs for a machine with a GPU, but for the code for GPUs, packed and run.
.PHONY: gpu-check
gpu-check: native-libs ## Run the check of a GPU with the CPU in its place
	$(PYTHON) -B scripts/cuda_fatbin_test.py
	$(PYTHON) -B scripts/gpu_check_test.py
	cargo build --workspace --bins --examples
	rm -rf $(GPU_CHECK)
	mkdir -p $(GPU_CHECK)
	$(PYTHON) -B scripts/gpu-pack.py --without-cuda --fast --bin target/debug $(GPU_CHECK)/pack.tar.xz
	tar xf $(GPU_CHECK)/pack.tar.xz -C $(GPU_CHECK)
	PYTHON=$(PYTHON) $(GPU_CHECK)/lfbm-gpu-check/scripts/gpu-check.sh --device cpu --quick --out $(GPU_CHECK)

$(GPU_PACK_TOOLS)/.installed: scripts/requirements-gpu-pack.txt
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --upgrade --target $(GPU_PACK_TOOLS) -r $<
	touch $@

.PHONY: gpu-pack
gpu-pack: $(GPU_PACK_TOOLS)/.installed ## Pack what a machine with a GPU needs for that check; fetches 247 MB
	PYTHONPATH=$(GPU_PACK_TOOLS) $(PYTHON) -B scripts/gpu-pack.py $(GPU_PACK)

.PHONY: install
install: ## Install the server and its client under PREFIX
	@$(PYTHON) scripts/native-libs.py $(ONNXRUNTIME)
	cargo install --locked --path . --root $(PREFIX)
	cargo install --locked --path cli --root $(PREFIX)
	install -d $(PREFIX)/lib/lfbm
	install -m 644 third_party/$(ONNXRUNTIME)/lib/*.so $(PREFIX)/lib/lfbm/
	install -D -m 644 -t $(PREFIX)/share/doc/lfbm/onnxruntime \
	  third_party/$(ONNXRUNTIME)/LICENSE third_party/$(ONNXRUNTIME)/ThirdPartyNotices.txt
	$(PYTHON) scripts/crate-licences.py $(PREFIX)/share/doc/lfbm/crates.txt

.PHONY: clean
clean: ## Remove what was built and fetched
	rm -rf target third_party runs
