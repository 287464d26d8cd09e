# SPDX-License-Identifier: GPL-2.0-only

SHELL := /bin/bash

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'

.PHONY: demo
demo: lab ## The whole product in two virtual hosts in under three minutes, beside upstream rxe
	@LAB_KERNELS=7.2 compat/build-module ""
	@tests/soak/build
	@tests/capture/build
	@tests/lab/run --kernel 7.2 --rails 2 --mem 768 --timeout 240 --out out/demo --script tests/lab/demo.sh

# The lab's kernels by default, which need the lab; KDIR=... is any prepared tree, with the compilers of this machine.
.PHONY: module
module: $(if $(KDIR),,lab) ## Build usb4_rxe.ko for the lab's kernels, or for KDIR=a prepared tree, see docs/building.md
	@compat/build-module "$(KDIR)" $(foreach name,CLIPPY RUSTC KRUSTFLAGS LLVM CROSS_COMPILE V W,$(if $(filter command line environment,$(origin $(name))),$(name)='$($(name))'))

.PHONY: module-lint
module-lint: lab ## The kernel's own Rust lints over the module (clippy)
	@compat/build-module "" CLIPPY=1

.PHONY: compare
compare: lab module ## Figures beside upstream rxe, TCP and USB4STREAM over the same cables, as ratios of one run (six minutes)
	@perftest-scripts/compare

.PHONY: test
test: test-host test-lab ## Everything: host tests first, then the scenarios in guests (some on one kernel only; all on 7.2: tests/lab/test --kernel 7.2)

.PHONY: test-host
test-host: lint ## Tests that need no guest
	cargo test --quiet --workspace

# What scenarios run in the guests.
.PHONY: guest-programs
guest-programs: lab
	@for program in lab/probe-module hostile-peer verbs hostile soak nccl capture perftest; do tests/$$program/build || exit 1; done

.PHONY: test-lab
test-lab: lab module module-lint guest-programs ## Scenarios in guests (needs the lab)
	@tests/lab/test

.PHONY: test-long
test-long: lab module guest-programs ## All scenarios in guests, those of minutes too, with more rounds of those that count (two hours)
	@tests/lab/test --long

.PHONY: test-debug
test-debug: lab-debug module guest-programs ## The module's scenarios on a kernel with KASAN, lockdep, kmemleak, the DMA API's checks (hours; the kernel itself takes an hour once)
	@tests/lab/test --kernel debug rust-module module-load pyverbs rdma- usb4-

# A distribution's cargo may come without rustfmt and clippy: then there is nothing to check with.
.PHONY: lint
lint: ## rustfmt, clippy, shell syntax
	@if cargo fmt --version >/dev/null 2>&1; then echo cargo fmt --check; cargo fmt --all --check; else echo "lint: no rustfmt, skipped (apt-get install rustfmt)"; fi
	@if rustfmt --version >/dev/null 2>&1; then rustfmt --check src/usb4_rxe.rs compat/compat.rs; fi
	@if cargo clippy --version >/dev/null 2>&1; then echo cargo clippy; cargo clippy --quiet --workspace --all-targets -- -D warnings; else echo "lint: no clippy, skipped (apt-get install rust-clippy)"; fi
	@for file in $$(git ls-files | xargs grep -lE '^#!/(bin|usr/bin/env) ?(ba)?sh'); do bash -n $$file || exit 1; done

.PHONY: miri
miri: ## The pure modules under Miri (needs: rustup component add --toolchain nightly miri rust-src)
	MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --lib
	MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --test engine -- adversary cases
	MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --test simulation -- one --exact

.PHONY: bench
bench: ## Benchmarks of engine, wire format, rails and fabric (criterion)
	cargo bench --workspace

.PHONY: lab
lab: ## Make the lab: Debian root, QEMU, stock kernels (2 to 4 minutes once, then nothing)
	@tests/lab/setup

.PHONY: lab-debug
lab-debug: lab ## Make the debug kernel (an hour of one core's time, once)
	@tests/lab/setup --debug

.PHONY: lab-update
lab-update: ## Look for newer patch levels of the stock kernels
	@tests/lab/setup --update

.PHONY: lab-prune
lab-prune: ## Remove what earlier versions of the lab left in the cache
	@tests/lab/setup --prune

.PHONY: lab-shell
lab-shell: lab ## Work in two guests by hand
	@tests/lab/shell --no-module

.PHONY: clean
clean: ## Remove what was built here (the lab in the cache stays)
	rm -rf out target
