#!/usr/bin/env bash
# machine-kernel.sh prints the paths of this machine's own kernel and of its modules, for distributions without apt. It prefers
# the kernel that runs. Fedora and Arch have kernels beside their modules, Alpine has /boot/vmlinuz-virt or -lts.
. "$(dirname "$0")/lib.sh"

release=$(uname -r)
for kernel in "$MACHINE/lib/modules/$release/vmlinuz" "$MACHINE/boot/vmlinuz-$release" "$MACHINE/boot/vmlinuz-${release##*-}" \
	"$MACHINE"/lib/modules/*/vmlinuz; do
	modules=$MACHINE/lib/modules/$release
	[[ $kernel != */lib/modules/* ]] || modules=${kernel%/*}
	if [ -f "$kernel" ] && [ -d "$modules" ]; then
		echo "$kernel $modules"
		exit
	fi
done
