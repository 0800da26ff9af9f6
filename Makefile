# Two commands do everything on a fresh machine: `make demo` and `make test`. Whatever they fetch or build
# goes into target/, nothing into the system.
#
#   make demo   needs Rust (by rustup) and Python 3.9 or newer with venv
#   make test   needs Node 20 and npm besides
#
# ENVOY=/path/to/envoy uses that binary; otherwise the official 1.40.0 comes as a Python package.

CARGO ?= cargo
PYTHON ?= python3
NPM ?= npm
ENVOY ?=
export ENVOY

PEERS := tests/peers
VENV := target/venv
DENY_VERSION := 0.20.2
DENY_ROOT := target/tools/cargo-deny-$(DENY_VERSION)
DENY := $(DENY_ROOT)/bin/cargo-deny

.PHONY: help demo test format lint kernel dependencies check doc envoy peers advisories

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

# ---- the two commands ------------------------------------------------------------------------------

demo: envoy $(VENV)/.peers
	@$(CARGO) build --quiet --package attache
	@$(CARGO) run --quiet --package attache-tests --bin demo

test: format lint kernel dependencies check doc

# ---- the parts of `make test`, the quick ones first ------------------------------------------------

format:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --workspace --all-targets -- -D warnings

# The kernel also runs inside Envoy: it must build where there is no operating system.
kernel:
	@rustup target list --installed | grep -qx wasm32v1-none || rustup target add wasm32v1-none
	$(CARGO) build --package attache-core --target wasm32v1-none

# deny.toml says why each rule is there.
dependencies: $(DENY)
	$(DENY) --offline check --hide-inclusion-graph licenses bans sources

# The binary is built by itself first, with the features that users get and no test's.
check: envoy peers
	$(CARGO) build --package attache
	$(CARGO) test --workspace

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

# Known vulnerabilities; not part of `make test`, for it needs the advisory database of the day.
advisories: $(DENY)
	$(DENY) check advisories

# ---- what is fetched ---------------------------------------------------------------------------------

ifeq ($(strip $(ENVOY)),)
envoy: target/envoy
else
envoy:
	@test -x "$(ENVOY)" || { echo "ENVOY=$(ENVOY) is no program" >&2; exit 1; }
endif

peers: $(VENV)/.peers target/npm/.peers

$(VENV)/bin/python:
	@mkdir -p target
	$(PYTHON) -m venv $(VENV)

target/envoy: $(PEERS)/python/envoy.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	cp "$$($(VENV)/bin/python -c 'import envoy, os; print(os.path.dirname(envoy.__file__))')/_bin/envoy" $@.new
	$@.new --version
	mv $@.new $@

$(VENV)/.peers: $(PEERS)/python/requirements.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# Node looks for modules beside the script, so the scripts go where the modules are.
target/npm/.peers: $(wildcard $(PEERS)/node/*)
	@mkdir -p target/npm
	cp $(PEERS)/node/* target/npm/
	cd target/npm && $(NPM) ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# Without optimisation: it is built once and runs for a second.
$(DENY):
	CARGO_PROFILE_DEV_DEBUG=0 $(CARGO) install --quiet --locked --debug --no-default-features \
		--root $(DENY_ROOT) --target-dir $(DENY_ROOT)/build cargo-deny@$(DENY_VERSION)
	rm -rf $(DENY_ROOT)/build
