# What you can make here:
#
#   make run         boots a guest and gives you a shell in it. Without a terminal it shows the boot and powers off. The boot's
#                    report is build/boot.json, its picture build/boot.svg. AGENT=path starts your program as the agent;
#                    DOCKER=1 starts dockerd in the guest, for docker run -it --rm busybox sh; KERNEL=path and MODULES=directory
#                    boot a kernel of yours, INITRD=file an initramfs of yours, DISK=file and CMDLINE="root=/dev/vda" your disk
#                    (docs/running.md)
#   make test        what CI runs: linters, unit tests, guests on this machine's stock and own kernel, the rows on the other
#                    architecture, and bench-check. It ends with a table of parts and minutes. ARCH=name tests one
#                    architecture; FULL=1 adds every other kernel and every container engine
#   make unit        the tests that need no guest. FULL=1 runs them with the race detector, too
#   make check       formatting and linters
#   make vmtest      the tests in guests, on the stock kernel. RUN=pattern chooses tests, KERNELS="stock own" the kernels
#   make test-docker containerd and dockerd in a guest. ENGINES=name chooses the engine, FULL=1 runs all (docs/docker.md)
#   make test-dhcp   the DHCP client against servers that people run, badly behaved servers, sleep, clocks and 500 renewals;
#                    UPDATE=1 writes the table of docs/dhcp.md
#   make matrix      writes docs/matrix.md: which rows hold on which kernel
#   make faults      writes docs/faults.md: what still works when a step of the boot fails, and under real faults
#   make bench       measures the boot beside the reference's and writes docs/benchmarks.md; KVM=1 measures by KVM, too
#   make bench-check fails if the boot costs a tenth more than docs/benchmarks.md says
#   make bench-scale measures many guests at once, and guests with many shares and NICs: writes docs/scale.md (amd64)
#   make soak        runs the long tests; SOAK=3m shortens the 30 minutes of TestSoak and of TestSoakStress, RUN=pattern chooses
#   make soak-boot   boots a guest 200 times, and fails if a boot differs from the first; BOOTS=20 shortens it
#   make coverage    writes docs/coverage.md: which of uinit's statements the unit and guest tests reach. It fails if a test does, or
#                    below 85 percent
#   make fuzz        runs each fuzz test for 10 minutes; FUZZTIME=1m for one
#   make dependencies writes docs/dependencies.md: what uinit links, and the bytes of each module in the image
#   make lines       counts the lines of Go, and fails above the limits
#   make initramfs   the images, in build/$ARCH
#   make disk        a disk with uinit as its /sbin/init, for a boot without an initramfs: build/$ARCH/disk.erofs
#   make kernel      this project's kernel, in build/$ARCH. KERNEL_SRC=directory builds another source, TRUSTED=1 a kernel
#                    without mitigations, in build/$ARCH/trusted (docs/kernel.md)
#   make release     makes a release of both architectures: images, kernels, arcinit for Linux and macOS, SBOMs, licences and
#                    checksums, in build/release (docs/release.md). It needs Debian
#   make release-check makes the release, and once more from a clone elsewhere, and fails if a byte differs
#   make clean       removes build
#
# ARCH=amd64 or arm64 is the guest's architecture, by default this machine's. apt installs missing packages, with sudo if
# needed. Downloads are kept in ~/.cache/arcinit, or in $ARCINIT_CACHE.

HOST := $(patsubst x86_64,amd64,$(patsubst aarch64,arm64,$(shell uname -m)))
DEBIAN := $(shell . /etc/os-release 2>/dev/null && [ "$$ID" != debian ] || echo debian)
# The architectures that make test covers. Only Debian's mirrors have packages for both.
TESTED := $(or $(ARCH),$(HOST) $(if $(DEBIAN),$(filter-out $(HOST),amd64 arm64)))
ARCH ?= $(HOST)
BUILD := build/$(ARCH)

# The kernels that TestRows boots: stock is the distribution's, own is this project's, others are Debian releases.
ifdef FULL
KERNELS ?= stock own $(if $(filter amd64,$(ARCH)),bookworm trixie-backports)
else
KERNELS ?= stock
endif
export ARCH FULL

# Directories of the distribution's kernels, and of those that this run boots.
STOCK := $(BUILD) $(addprefix $(BUILD)/kernels/,$(if $(filter amd64,$(ARCH)),bookworm trixie-backports))
BOOTED := $(BUILD) $(addprefix $(BUILD)/kernels/,$(filter-out stock own,$(KERNELS)))

# The kernel that make run boots, if not the stock kernel: the user's, or this machine's own where no apt has a stock kernel.
ifneq ($(filter run prepare prepare-shell,$(MAKECMDGOALS)),)
ifeq ($(KERNEL)$(shell command -v apt-get 2>/dev/null),)
OWN := $(shell scripts/machine-kernel.sh)
KERNEL := $(word 1,$(OWN))
MODULES := $(word 2,$(OWN))
endif
GIVEN := $(if $(KERNEL),$(BUILD)/kernels/$(shell echo '$(KERNEL) $(MODULES)' | sha256sum | head -c 16))
endif
BOOT := $(or $(GIVEN),$(BUILD))
KERNEL_DIRS := $(STOCK) $(GIVEN)

IMAGES := $(addprefix $(BUILD)/initramfs,.cpio .cpio.zst -modules.cpio -debug.cpio -uinit.cpio)
# amd64 runs amd64 programs without an emulator.
EMULATOR := $(if $(filter-out amd64,$(ARCH)),$(BUILD)/emulator)
GUEST := $(BUILD)/vmlinuz-stock $(BUILD)/initramfs.cpio $(BUILD)/initramfs-modules.cpio

# Container engines, each with the program that writes its firewall. One guest has no disk. The engines come from Debian
# releases; a RUN without Docker's tests needs none.
ifneq ($(and $(DEBIAN),$(if $(RUN),$(findstring Docker,$(RUN)),all)),)
ifeq ($(ARCH),$(HOST))
ENGINES ?= 28.5-nft $(if $(FULL),28.5-nft-diskless 28.5-legacy 26.1-nft 20.10-nft 29-nftables)
else
ENGINES ?= $(if $(FULL),28.5-nft)
endif
endif
ENGINE_DISKS = $(ENGINES:%-diskless=%)

# A program's sources. A directory changes when a file is added or removed.
SOURCES := go.mod go.sum $(shell find cmd internal pkg $(COVER:%=vmtests/cover) -type d -o -name '*.s' -o -name '*.go' ! -name '*_test.go')

.PHONY: help run prepare prepare-shell need-guests test unit vmtest packages images test-docker test-dhcp matrix faults bench bench-measure bench-check bench-scale soak soak-boot fuzz check dependencies release release-check coverage lines initramfs disk kernel clean force
ifeq ($(filter prepare prepare-shell,$(MAKECMDGOALS)),)
.NOTPARALLEL:
endif
.DELETE_ON_ERROR:

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

# The parts that take long wait for the network, for the disk or for one processor, so three run at a time. Only a shell on a
# terminal needs the image with commands.
run:
	@command -v bash >/dev/null || { echo 'arcinit: bash is missing: install the package bash' >&2; exit 1; }
	@scripts/need-run.sh $(BOOT) '$(KERNEL)' '$(MODULES)'
	@rm -f build/failed
	@if [ -t 0 ] && [ -t 1 ]; then prepare=prepare-shell; else prepare=prepare; fi; \
		FIRST_FAILURE=build/failed $(MAKE) --no-print-directory -j3 $$prepare
	@build/run -arch $(ARCH) -build $(BUILD) -boot $(BOOT) -agent '$(AGENT)' -initrd '$(INITRD)' -disk '$(DISK)' -cmdline '$(CMDLINE)' $(if $(DOCKER),-docker 28.5-nft)

prepare: need-guests $(BOOT)/vmlinuz-stock $(BOOT)/initramfs-modules.cpio build/run $(BUILD)/example-agent \
	$(if $(DOCKER),$(BUILD)/swapin $(BUILD)/docker/28.5-nft.erofs)

# Docker's disk has a shell.
prepare-shell: prepare $(if $(DOCKER),,$(BOOT)/initramfs-debug.cpio)

need-guests:
	@scripts/need-guests.sh

# What these scripts install has to wait for QEMU's packages.
ifneq ($(filter prepare prepare-shell,$(MAKECMDGOALS)),)
$(BOOT)/modules $(BUILD)/docker/28.5-nft.erofs: | need-guests
endif

test:
	@scripts/test.sh $(HOST) $(TESTED)

# The cache of results does not know what a test builds itself, so it is not used.
unit:
	go test -count=1 ./...
	go -C examples/check test -count=1 ./...
	$(if $(FULL),CGO_ENABLED=1 go test -race -count=1 ./...)

# What vmtest needs from apt, then what it builds; make test runs them as parts of their own.
packages: $(BOOTED:=/stock) $(BUILD)/tools $(BUILD)/swapin $(if $(filter $(HOST),$(ARCH)),$(BUILD)/dhcp-servers.erofs $(if $(FULL),$(BUILD)/gvproxy)) $(EMULATOR) $(sort $(ENGINE_DISKS:%=$(BUILD)/docker/%.erofs))
	@scripts/need-guests.sh
	@scripts/need-disks.sh

images: $(GUEST) $(BOOTED:=/vmlinuz-stock) $(BOOTED:=/initramfs-modules.cpio)

ifeq ($(ARCH),$(HOST))
RUN ?= .
images: $(addprefix $(BUILD)/initramfs-,debug.cpio uinit.cpio fault.cpio $(if $(FULL),race.cpio))
else
RUN ?= ^(TestRows|TestVirtioConsole|TestRosetta|TestRosettaUnfit|TestFEX|TestHandlers|TestProductionImageBoots|TestOwnKernelMeetsMoby|TestJailer$(if $(ENGINES),|TestDocker))$$
endif

# One package at a time, because each boots guests. Three guests for two processors, because many guests mostly wait. The tests read
# ARCH, KERNELS, ENGINES, FULL and UPDATE from the environment.
vmtest: packages images $(if $(filter own,$(KERNELS)),$(BUILD)/kernel $(BUILD)/disk.erofs)
	GOOS=linux GOARCH=$(ARCH) CGO_ENABLED=0 go build -o $(BUILD)/arcbox-agent ./vmtests/agent
	ARCINIT_BUILD=$(abspath $(BUILD)) KERNELS='$(KERNELS)' ENGINES='$(ENGINES)' go test -tags vmtest$(FULL:%=,full) -count=1 -p 1 -parallel $$(($$(nproc) * 3 / 2)) -timeout 90m -run '$(RUN)' -skip '$(SKIP)' ./vmtests/...

test-docker:
	$(MAKE) vmtest FULL= RUN='^TestDocker$$$$' ENGINES='$(or $(strip $(ENGINES)),28.5-nft)'

test-dhcp:
	$(MAKE) vmtest FULL=1 KERNELS=stock ENGINES= RUN='^(TestDHCP.*|TestAsleep|TestFastServer)$$$$'

matrix: $(TESTED:%=matrix-%)

matrix-%:
	$(MAKE) vmtest ARCH=$* FULL=1 UPDATE=1 RUN='^TestRows$$$$'

faults:
	$(MAKE) vmtest UPDATE=1 KERNELS=own ENGINES= RUN='^(TestFaultTable|TestRealFaults)$$$$'

bench: $(TESTED:%=bench-%)

$(TESTED:%=bench-%): bench-%:
	$(MAKE) bench-measure ARCH=$*

# The bench measures what mitigations cost at boot where they do: amd64 patches each return in the kernel.
bench-measure: $(if $(filter amd64,$(ARCH)),$(BUILD)/trusted/kernel)
bench-measure bench-check bench-scale: $(BUILD)/reference $(BUILD)/initramfs.cpio $(BUILD)/initramfs.cpio.zst $(BUILD)/kernel
	@scripts/need-guests.sh
	go run ./vmtests/bench -arch $(ARCH) $(if $(KVM),-kvm) $(@:bench-%=%)

# The tests that only the build tag soak compiles. TestSoakBoots is a target of its own.
soak: RUN := ^($(shell sed -n 's/^func \(Test[A-Za-z0-9]*\).*/\1/p' $$(grep -l '^//go:build.*soak' vmtests/*_test.go) | grep -v TestSoakBoots | paste -sd'|'))$$
soak: $(BUILD)/stress
soak-boot: RUN := ^TestSoakBoots$$
soak soak-boot: packages images
	GOOS=linux GOARCH=$(ARCH) CGO_ENABLED=0 go build -o $(BUILD)/arcbox-agent ./vmtests/agent
	ARCINIT_BUILD=$(abspath $(BUILD)) SOAK=$(SOAK) BOOTS=$(BOOTS) go test -tags vmtest,soak -count=1 -timeout 0 -run '$(RUN)' -v ./vmtests

coverage: $(addprefix $(BUILD)/,vmlinuz-stock modules kernel tools swapin)
	scripts/coverage.sh $(BUILD)

FUZZTIME ?= 10m

# go test lists the fuzz tests of each package. go test keeps an input that fails in the package's testdata/fuzz, and uses it
# as a seed from then on.
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

dependencies: $(BUILD)/initramfs.cpio
	UPDATE=1 ARCINIT_BUILD=$(abspath $(BUILD)) go test -count=1 -run '^TestDependencies$$' ./vmtests

lines:
	@scripts/lines.sh

initramfs: $(IMAGES) $(BUILD)/vmlinuz-stock

disk: $(BUILD)/disk.erofs

$(BUILD)/disk.erofs: $(BUILD)/initramfs.cpio scripts/disk.sh scripts/disks.sh
	scripts/disk.sh $< $@

# Always runs the script, because only the script knows what the kernel depends on. A kernel from the cache takes seconds.
kernel:
	scripts/own-kernel.sh $(BUILD)$(TRUSTED:%=/trusted)

release:
	scripts/release.sh build/release

release-check: release
	scripts/release-check.sh build/release

clean:
	rm -rf build

# The distribution's kernel and modules: first as packaged, then as an image holds them.
$(STOCK:=/stock): scripts/kernel.sh scripts/debs.sh
	@scripts/kernel.sh $@ $(patsubst $(BUILD)/kernels/%/stock,%,$(filter-out $(BUILD)/stock,$@))
	@touch $@

ifneq ($(GIVEN),)
$(GIVEN)/stock: $(KERNEL) $(wildcard $(MODULES:=/modules.dep.bin)) scripts/given-kernel.sh
	@scripts/given-kernel.sh $@ '$(KERNEL)' '$(MODULES)'
	@touch $@
endif

$(KERNEL_DIRS:=/vmlinuz-stock): %/vmlinuz-stock: %/stock
	@cp $</vmlinuz $@

$(BUILD)/kernel $(BUILD)/trusted/kernel: scripts/own-kernel.sh scripts/debs.sh $(addprefix kernel-config/,common $(ARCH) $(ARCH).mitigations bootconfig)
	TRUSTED=$(findstring trusted,$@) scripts/own-kernel.sh $(@D)

$(KERNEL_DIRS:=/modules): %/modules: %/stock kernel-config/modules scripts/modules.sh
	@scripts/modules.sh $< kernel-config/modules $@
	@touch $@

$(BUILD)/tools: scripts/tools.sh scripts/debs.sh
	scripts/tools.sh $@
	@touch $@

$(BUILD)/stress: scripts/stress.sh scripts/debs.sh
	scripts/stress.sh $@
	@touch $@

$(BUILD)/emulator: scripts/emulator.sh scripts/debs.sh
	scripts/emulator.sh $@

# The files that the tests pack into root file systems.
$(BUILD)/swapin: scripts/swapin.sh scripts/debs.sh scripts/disks.sh
	@scripts/swapin.sh $@
	@touch $@

# The DHCP servers that the tests run in a guest.
$(BUILD)/dhcp-servers.erofs: scripts/dhcp-servers.sh scripts/debs.sh scripts/disks.sh
	@scripts/dhcp-servers.sh $@

$(BUILD)/gvproxy: scripts/gvproxy.sh
	@scripts/gvproxy.sh $@

# The guest that bench compares arcinit with, and the agent of both.
$(BUILD)/reference: scripts/reference.sh scripts/debs.sh scripts/disks.sh $(wildcard vmtests/bench/reference/*)
	scripts/reference.sh $@
	@touch $@

# Root file systems of container engines.
$(BUILD)/docker/%.erofs: scripts/docker.sh scripts/debs.sh scripts/disks.sh
	@scripts/docker.sh $@ $(subst -, ,$*)

# The time of the last change to the sources and their version, which go into the program. The file is only rewritten when
# they change.
$(BUILD)/built: force
	@mkdir -p $(BUILD)
	@scripts/built.sh >$@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(IMAGES) $(BUILD)/initramfs-fault.cpio $(BUILD)/initramfs-race.cpio $(KERNEL_DIRS:=/initramfs-modules.cpio): scripts/initramfs.sh

# Builds that run at the same time compile the standard library once each, so these come after the image.
build/run $(BUILD)/example-agent: | $(BUILD)/initramfs.cpio

build/run: $(SOURCES) $(shell find vmtests/run vmtests/guest vmtests/busybox -name '*.go')
	@scripts/program.sh build/ ./vmtests/run ./cmd/arcinit
	@touch $@

$(BUILD)/example-agent: $(SOURCES) $(wildcard vmtests/run/agent/*.go)
	@GOOS=linux GOARCH=$(ARCH) scripts/program.sh $@ ./vmtests/run/agent

$(BUILD)/initramfs.cpio: $(SOURCES) $(BUILD)/built
	@scripts/initramfs.sh plain $@

$(BUILD)/initramfs.cpio.zst: $(BUILD)/initramfs.cpio
	scripts/compress.sh $< $@

$(KERNEL_DIRS:=/initramfs-modules.cpio): %/initramfs-modules.cpio: $(BUILD)/initramfs.cpio %/modules
	@scripts/initramfs.sh modules $@ $< $(@D)/modules

$(KERNEL_DIRS:=/initramfs-debug.cpio): %/initramfs-debug.cpio: %/initramfs-modules.cpio
	@scripts/initramfs.sh debug $@ $<

$(BUILD)/initramfs-fault.cpio: $(BUILD)/modules $(SOURCES) $(BUILD)/built
	@scripts/initramfs.sh fault $@ "" $<

# Only for this machine's architecture, because the race detector needs a C compiler.
$(BUILD)/initramfs-race.cpio: $(BUILD)/modules $(SOURCES) $(BUILD)/built
	@scripts/initramfs.sh race $@ "" $<

$(BUILD)/initramfs-uinit.cpio: $(BUILD)/modules $(SOURCES) $(BUILD)/built
	@scripts/initramfs.sh uinit $@ "" $<
