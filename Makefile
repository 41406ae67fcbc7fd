# What can be made here:
#
#   make run         boot a guest: with a terminal you get a shell in it, else it shows the boot and powers off;
#                    the boot stays in build/boot.json and is drawn in build/boot.svg;
#                    AGENT=path starts a program of yours in place of the example agent; DOCKER=1 has dockerd run in the
#                    guest, for docker run -it --rm busybox sh
#   make test        everything that can be tested: unit, and vmtest for both architectures or the one that ARCH says; with
#                    FULL=1 on every kernel, which builds two, and check and bench-check, too
#   make unit        the tests that need no guest
#   make vmtest      the tests in booted guests: all on this machine's architecture, on another one those of the set-up;
#                    RUN=pattern chooses
#   make test-docker of those, Docker in a guest: engine 28.5 with iptables-nft; with FULL=1 engines 20.10, 26.1 and 29,
#                    iptables-legacy, and a guest without a disk, too (docs/docker.md); ENGINES=name chooses
#   make matrix      writes into README what holds on which kernel
#   make bench       measures the boot beside the reference's, and writes docs/benchmarks.md and its figures (on amd64)
#   make bench-check fails if the boot costs a tenth more than those figures say
#   make bench-scale many guests at once, and guests with many shares and NICs: writes docs/scale.md
#   make soak        a guest with a crash-looping agent, orphans and short leases, for 30 minutes (SOAK=3m: for 3)
#   make fuzz        each fuzz test for 10 minutes; with FUZZTIME=1m: for one
#   make check       formatting and linters
#   make initramfs   the images, in build/$ARCH
#   make kernel      this project's own kernel, there too; KERNEL_SRC=directory builds another source (docs/kernel.md)
#   make clean       removes build
#
# ARCH=amd64 or arm64 is the guest's architecture, this machine's by default. What is missing is installed by apt, with
# sudo where need be. Downloads are kept in ~/.cache/arcinit, or where ARCINIT_CACHE says.

HOST := $(shell go env GOHOSTARCH)
# What is tested without ARCH: this machine's, and where the distribution's mirrors have more than that, the other one.
DEBIAN := $(shell . /etc/os-release && [ "$$ID" != debian ] || echo debian)
TESTED := $(or $(ARCH),$(HOST) $(if $(DEBIAN),$(filter-out $(HOST),amd64 arm64)))
ARCH ?= $(HOST)
BUILD := build/$(ARCH)
export ARCH

# Where the distribution's kernels are: the one that stands for all, and those of other releases of Debian.
STOCK := $(BUILD) $(addprefix $(BUILD)/kernels/,$(if $(filter amd64,$(ARCH)),bookworm trixie-backports))

IMAGES := $(addprefix $(BUILD)/initramfs,.cpio .cpio.zst -modules.cpio -debug.cpio -uinit.cpio)
# Programs for amd64 run by themselves there.
EMULATOR := $(if $(filter-out amd64,$(ARCH)),$(BUILD)/emulator)
GUEST := $(BUILD)/vmlinuz-stock $(BUILD)/initramfs.cpio $(BUILD)/initramfs-modules.cpio

# The engines that are tested, each with what writes its firewall, and one in a guest that has no disk. They come from
# releases of Debian, and other tests than Docker's do without.
ifneq ($(and $(DEBIAN),$(if $(RUN),$(findstring Docker,$(RUN)),all)),)
ifeq ($(ARCH),$(HOST))
ENGINES ?= 28.5-nft $(if $(FULL),28.5-nft-diskless 28.5-legacy 26.1-nft 20.10-nft 29-nftables)
else
ENGINES ?= $(if $(FULL),28.5-nft)
endif
endif
ENGINE_DISKS = $(ENGINES:%-diskless=%)

# What a program is built from. Directories change when a file in them comes or goes.
SOURCES := go.mod go.sum $(shell find cmd internal pkg -type d -o -name '*.go' ! -name '*_test.go')

.PHONY: help run test unit vmtest test-docker matrix bench bench-check bench-scale soak fuzz check initramfs kernel clean force
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

run: $(GUEST) $(BUILD)/initramfs-debug.cpio $(if $(DOCKER),$(BUILD)/swapin $(BUILD)/docker/28.5-nft.erofs)
	@scripts/need-guests.sh
	go run ./vmtests/run -arch $(ARCH) -build $(BUILD) -agent "$(AGENT)" $(if $(DOCKER),-docker 28.5-nft)

test: unit $(TESTED:%=vmtest-%) $(if $(FULL),check $(if $(filter amd64,$(HOST)),bench-check))

# Without the cache of results, which does not know of what a test builds itself.
unit:
	go vet ./...
	go test -count=1 ./...

ifeq ($(ARCH),$(HOST))
RUN ?= .
vmtest: $(addprefix $(BUILD)/initramfs-,debug.cpio uinit.cpio fault.cpio) $(BUILD)/swapin
else
RUN ?= ^(TestRows|TestVirtioConsole|TestRosetta|TestRosettaUnfit|TestFEX|TestHandlers|TestProductionImageBoots|TestOwnKernelMeetsMoby|TestJailer$(if $(ENGINES),|TestDocker))$$
endif
ifdef FULL
vmtest: $(STOCK:=/vmlinuz-stock) $(STOCK:=/initramfs-modules.cpio) $(BUILD)/kernel
endif

# A package at a time, since each boots guests. The tests find ARCH, ENGINES, FULL and UPDATE in the environment.
vmtest: $(GUEST) $(BUILD)/tools $(EMULATOR) $(if $(ENGINES),$(BUILD)/swapin $(sort $(ENGINE_DISKS:%=$(BUILD)/docker/%.erofs)))
	@scripts/need-guests.sh
	@scripts/need-disks.sh
	GOOS=linux GOARCH=$(ARCH) CGO_ENABLED=0 go build -o $(BUILD)/arcbox-agent ./vmtests/agent
	ARCINIT_BUILD=$(abspath $(BUILD)) ENGINES='$(ENGINES)' go test -tags vmtest -count=1 -p 1 -timeout 90m -run '$(RUN)' ./vmtests/...

test-docker:
	$(MAKE) vmtest FULL= RUN='^TestDocker$$$$' ENGINES='$(or $(strip $(ENGINES)),28.5-nft)'

vmtest-%:
	$(MAKE) vmtest ARCH=$*

matrix: $(TESTED:%=matrix-%)

matrix-%:
	$(MAKE) vmtest ARCH=$* FULL=1 UPDATE=1 RUN='^TestRows$$$$'

# These are for amd64, and say so elsewhere.
bench bench-check bench-scale: $(BUILD)/reference $(BUILD)/initramfs.cpio $(BUILD)/initramfs.cpio.zst $(BUILD)/kernel
	@scripts/need-guests.sh
	go run ./vmtests/bench -build $(BUILD) $(patsubst bench-%,%,$(@:bench=measure))

soak: $(GUEST)
	@scripts/need-guests.sh
	GOOS=linux GOARCH=$(ARCH) CGO_ENABLED=0 go build -o $(BUILD)/arcbox-agent ./vmtests/agent
	ARCINIT_BUILD=$(abspath $(BUILD)) SOAK=$(SOAK) go test -tags vmtest,soak -count=1 -timeout 0 -run '^TestSoak$$' -v ./vmtests

FUZZTIME ?= 10m

# The packages are asked for their fuzz tests, so that none is forgotten. An input that a test fails on is kept in its
# package's testdata/fuzz, and is a seed from then on.
fuzz:
	@set -e; for package in $$(go list ./...); do \
		targets=$$(go test -list '^Fuzz' $$package); \
		for target in $$(echo "$$targets" | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

check:
	scripts/check.sh

initramfs: $(IMAGES) $(BUILD)/vmlinuz-stock

# Asked for by name, it is made anew: that costs seconds if the cache has it, and only the script knows what it depends on.
kernel:
	scripts/own-kernel.sh $(BUILD)

clean:
	rm -rf build

# The distribution's kernel and its modules as packed, then as they go into an image.
$(STOCK:=/stock): scripts/kernel.sh scripts/debs.sh
	scripts/kernel.sh $@ $(patsubst $(BUILD)/kernels/%/stock,%,$(filter-out $(BUILD)/stock,$@))
	@touch $@

$(STOCK:=/vmlinuz-stock): %/vmlinuz-stock: %/stock
	cp $</vmlinuz $@

$(BUILD)/kernel: scripts/own-kernel.sh scripts/debs.sh $(addprefix kernel-config/,common $(ARCH) bootconfig)
	scripts/own-kernel.sh $(BUILD)

$(STOCK:=/modules): %/modules: %/stock kernel-config/modules scripts/modules.sh
	scripts/modules.sh $< kernel-config/modules $@
	@touch $@

$(BUILD)/tools: scripts/tools.sh scripts/debs.sh
	scripts/tools.sh $@
	@touch $@

$(BUILD)/emulator: scripts/emulator.sh scripts/debs.sh
	scripts/emulator.sh $@

# What the tests make root file systems of.
$(BUILD)/swapin: scripts/swapin.sh scripts/debs.sh scripts/disks.sh
	scripts/swapin.sh $@
	@touch $@

# What the boot is measured beside, and the agent of both.
$(BUILD)/reference: scripts/reference.sh scripts/debs.sh scripts/disks.sh $(wildcard vmtests/bench/reference/*)
	scripts/reference.sh $@
	@touch $@

# Root file systems of container engines.
$(BUILD)/docker/%.erofs: scripts/docker.sh scripts/debs.sh scripts/disks.sh
	scripts/docker.sh $@ $(subst -, ,$*)

# When the sources were last changed, which the program knows. A file that is written when it changes: a commit does that.
$(BUILD)/built: force
	@mkdir -p $(BUILD)
	@scripts/built.sh >$@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(IMAGES) $(BUILD)/initramfs-fault.cpio $(STOCK:=/initramfs-modules.cpio): scripts/initramfs.sh

$(BUILD)/initramfs.cpio: $(SOURCES) $(BUILD)/built
	scripts/initramfs.sh plain $@

$(BUILD)/initramfs.cpio.zst: $(BUILD)/initramfs.cpio
	scripts/compress.sh $< $@

$(STOCK:=/initramfs-modules.cpio): %/initramfs-modules.cpio: $(BUILD)/initramfs.cpio %/modules
	scripts/initramfs.sh modules $@ $< $(@D)/modules

$(BUILD)/initramfs-debug.cpio: $(BUILD)/initramfs-modules.cpio
	scripts/initramfs.sh debug $@ $<

$(BUILD)/initramfs-fault.cpio: $(BUILD)/modules $(SOURCES) $(BUILD)/built
	scripts/initramfs.sh fault $@ "" $<

$(BUILD)/initramfs-uinit.cpio: $(BUILD)/modules $(SOURCES) $(BUILD)/built
	scripts/initramfs.sh uinit $@ "" $<
