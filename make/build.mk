# Building: a wheel in dist/, and in bin/ the programs under the names that the build instructions use.
# TMC_COMPONENTS="error-handling,health,metrics,recovery": the others are off in what bin/ starts, unless a flag or variable turns them on.
TMC_COMPONENTS ?=
GOOS ?= linux
GOARCH ?= any
PLATFORMS := linux/amd64 linux/arm64
ANALYSIS_STAMP := $(VENV)/.installed-analysis

$(ANALYSIS_STAMP): $(DEV_STAMP)
	@echo "Installing profilers and coverage …"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,analysis]'
	@touch $@

.PHONY: build
build: $(STAMP) ## Wheel and programs: dist/*.whl, bin/kcp, bin/workload-syncer, bin/kubectl-kcp, bin/kubectl-workspaces
	@$(BIN)/python scripts/build/wheel.py dist $(GOOS)/$(GOARCH)
	@$(BIN)/python scripts/build/programs.py bin "$(TMC_COMPONENTS)"

.PHONY: build-tmc
build-tmc: ## As build; TMC is part of every program and is switched on by --enable-tmc
	@$(MAKE) --no-print-directory build TMC_COMPONENTS="$(or $(TMC_COMPONENTS),all)"

.PHONY: build-cross-platform
build-cross-platform: $(STAMP) ## dist/<os>-<arch>/: the wheel with all it needs, to be installed without a network, and build files of images
	@for platform in $(PLATFORMS); do $(BIN)/python scripts/build/wheel.py --bundle dist $$platform || exit 1; done

.PHONY: all
all: build check test ## Build, check and test everything

.PHONY: build-metrics
build-metrics: $(STAMP) ## How long building, importing and starting take
	@$(BIN)/python scripts/build/durations.py

.PHONY: size-analysis
size-analysis: $(STAMP) ## How large the wheel, its rooms and what it depends on are
	@$(BIN)/python scripts/build/sizes.py

.PHONY: deps-analysis
deps-analysis: $(STAMP) ## What depends on what, with versions and licences
	@$(BIN)/python scripts/build/dependencies.py

.PHONY: cpu-profile
cpu-profile: $(ANALYSIS_STAMP) ## dist/profiles/cpu.svg: where a server's CPU goes while workspaces and objects are made
	@PYTHONPATH=benchmarks $(BIN)/python -m measure.profiles cpu dist/profiles

.PHONY: memory-profile
memory-profile: $(ANALYSIS_STAMP) ## dist/profiles/memory.html: what a server's memory holds after that
	@PYTHONPATH=benchmarks $(BIN)/python -m measure.profiles memory dist/profiles
