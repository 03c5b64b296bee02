# Every target sets up what it needs in .venv, once, and then only runs.
#
#   make demo     a system with both worlds, its calls and refusals explained
#   make demo-linux   Debian's Linux as the normal world, in QEMU
#   make demo-pkvm   the same Linux as a protected hypervisor of its own
#   make demo-xtest   OP-TEE's own tests in two Linux VMs at once, on one real OP-TEE
#   make demo-virtio  a virtio device of each kind behind FF-A, every message judged; the case of
#                     Xen (back ends in one VM's domain, drivers in another), and Android's Trusty
#   make demo-vhost   disks, files and sockets of real back ends, through virtio-msg
#   make programs what tests compare with: programs of Debian's packages
#   make test     the tests           (ARGS="-k share" to choose)
#   make mutants  how many small mistakes in the firmware the tests notice   (SAMPLE=200 SEED=1)
#   make mutants-kept   those that they have noticed and must notice again
#   make coverage what the tests execute: packages, rules both ways; no less than before
#   make rules    which tests break and pass each rule, for the documentation   (CHECK=1)
#   make bench    how fast the calls are
#   make bench-peers HAFNIUM=IMAGE TFA=FLASH   the same calls, with a build of Hafnium or TF-A by turns
#   make docs     the documentation   -> docs/_build/html/index.html
#   make lint     style, types, floors
#   make dist     the packages, built and checked   -> dist
#   make clean    take everything away again

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DELETE_ON_ERROR:
.PHONY: demo demo-linux demo-pkvm demo-xtest demo-virtio demo-vhost programs test mutants mutants-kept coverage rules bench bench-peers docs lint format dist clean

demo: $(VENV)/.has-all
	$(BIN)/ffabric demo $(ARGS)

demo-linux: $(VENV)/.has-all
	@bash tests/programs.sh qemu-system-aarch64:qemu-system-arm
	$(BIN)/ffabric linux $(ARGS)

demo-pkvm: $(VENV)/.has-all
	@bash tests/programs.sh qemu-system-aarch64:qemu-system-arm
	$(BIN)/ffabric linux --pkvm --cpus 4 $(ARGS)

demo-xtest: $(VENV)/.has-all
	@bash tests/programs.sh qemu-system-aarch64:qemu-system-arm
	$(BIN)/ffabric xtest $(ARGS)

demo-virtio: $(VENV)/.has-all
	$(BIN)/ffabric virtio demo $(ARGS)
	$(BIN)/ffabric virtio xen
	$(BIN)/ffabric virtio android

demo-vhost: $(VENV)/.has-all
	@bash tests/programs.sh 'qemu-storage-daemon:qemu-system-common qemu-utils' qemu-img:qemu-utils mke2fs:e2fsprogs
	@PYTHONPATH=tools $(BIN)/python -m daemons
	PATH="$$PATH:$$(PYTHONPATH=tools $(BIN)/python -m daemons --folder)" $(BIN)/ffabric vhost $(ARGS)

programs: $(VENV)/.has-all,test
	@bash tests/programs.sh
	@PYTHONPATH=tools $(BIN)/python -m daemons

test: programs
	$(BIN)/python -m pytest -n auto $(ARGS)

# KEEP=N lets the list of kept mutants have N, killed ones of the sample.
SAMPLE ?= 200
SEED ?= 1
KEEP ?= 0
mutants: programs $(VENV)/.has-measured
	PYTHONPATH=tools $(BIN)/python -m mutants --sample $(SAMPLE) --seed $(SEED) --keep $(KEEP) $(ARGS)

mutants-kept: programs
	PYTHONPATH=tools $(BIN)/python -m mutants --kept

# RAISE=1 writes the floors anew.
coverage: programs $(VENV)/.has-measured
	PYTHONPATH=tools $(BIN)/python -m measured $(if $(RAISE),--raise) $(ARGS)

# CHECK=1 runs the tests that are named, and says which no longer do what is said.
rules: programs $(VENV)/.has-measured
	PYTHONPATH=tools $(BIN)/python -m measured.book $(if $(CHECK),--check)

bench: $(VENV)/.has-all
	$(BIN)/ffabric bench $(ARGS)

bench-peers: $(VENV)/.has-all
	@[ -n '$(HAFNIUM)$(TFA)' ] || { echo "make bench-peers HAFNIUM=IMAGE TFA=FLASH: which build?" >&2; exit 1; }
	@bash tests/programs.sh qemu-system-aarch64:qemu-system-arm
	$(if $(HAFNIUM),$(BIN)/ffabric bench --hafnium '$(HAFNIUM)' $(ARGS))
	$(if $(TFA),$(BIN)/ffabric bench --tfa '$(TFA)' $(ARGS))

docs: $(VENV)/.has-all,docs
	$(BIN)/python -m sphinx -W --keep-going -b html $(ARGS) docs docs/_build/html

lint: $(VENV)/.has-all,test,lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini tests
	$(BIN)/lint-imports
	$(BIN)/python .ci/face_types.py

format: $(VENV)/.has-all,test,lint
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

dist: $(VENV)/.has-release
	rm -rf dist build
	FFABRIC_COMPILE=0 $(BIN)/python -m build --quiet
	$(BIN)/python -m build --quiet --wheel
	$(BIN)/python -m twine check --strict dist/*
	PYTHON='$(PYTHON)' bash .ci/check-packages dist build

clean:
	rm -rf $(VENV) build dist docs/_build

# The package with the extras named after "has-"; done again when pyproject.toml changes.
$(VENV)/.has-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch '$@'

# Debian's Python makes environments with a package of its own.
ENVIRONMENTS := $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is older than 3.11: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(ENVIRONMENTS) || bash tests/programs.sh ensurepip:$(notdir $(PYTHON))-venv
	@$(ENVIRONMENTS) || { echo "$(PYTHON) cannot make virtual environments" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
