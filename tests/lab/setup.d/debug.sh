# SPDX-License-Identifier: GPL-2.0-only
# On demand (tests/lab/setup --debug): the debug kernel, a small Linux with KASAN, lockdep, kmemleak and object debugging, of the same source package as
# a stock kernel, with the options of setup.d/debug.config and nothing else.
#
# kernel-VERSION-debug-KEY/ holds what the folder of a stock kernel holds (see kernel.sh). `build` is the tree that the kernel was built in, so
# modules are built against it in the same way, but by clang: the kernel allows KASAN and Rust together only so.

debug_series=7.2

fetch_debug_source() {
	local dir=$1 package=linux-source-$debug_series
	[ -e "$dir/build/Makefile" ] && return
	rm -rf "$dir/packages" "$dir/linux-source-$debug_series" "$dir/build"
	mkdir -p "$dir"
	(cd "$cache/debs" && in_root apt-get download -q -o APT::Sandbox::User=root "$package") || return
	dpkg-deb -x "$(ls -t "$cache/debs/${package}"_*.deb | head -n 1)" "$dir/packages" || return
	tar -C "$dir" -xf "$dir/packages/usr/src/$package.tar.xz" || return
	mv "$dir/linux-source-$debug_series" "$dir/build"
}

debug_make() { in_root nice make -C "$1/build" -j "$(nproc)" CC=clang CROSS_COMPILE=x86_64-linux-gnu- "${@:2}"; }

configure_debug_kernel() {
	local build=$1/build lost
	echo -debug >"$build/localversion" || return
	cp "$lab/setup.d/debug.config" "$build/debug.config" || return
	debug_make "$1" KCONFIG_ALLCONFIG=debug.config allnoconfig || return
	# An option that was asked for and is not there leaves a check out without a word.
	lost=$(grep '^CONFIG_.*=[^n]' "$build/debug.config" | grep -vxFf "$build/.config" || true)
	[ -z "$lost" ] || {
		echo "tests/lab/setup.d/debug.config asks for options that the kernel does not take:" $lost
		return 1
	}
}

# Make goes on where an interrupted build stopped.
build_debug_kernel() { debug_make "$1" bzImage modules; }

pack_debug_kernel() {
	local dir=$1 release modules
	release=$(cat "$dir/build/include/config/kernel.release") || return
	rm -rf "$dir/packages"
	mkdir -p "$dir/packages/usr/lib"
	ln -s usr/lib "$dir/packages/lib" # where kmod looks below another root
	debug_make "$dir" INSTALL_MOD_PATH="$dir/packages/usr" modules_install || return
	modules=$dir/packages/usr/lib/modules
	rm -f "$modules/$release/build"
	in_root depmod -b "$dir/packages" "$release" || return
	in_root mkfs.erofs --quiet "$dir/modules.erofs" "$modules" || return
	make_initrd "$release" "$dir" || return
	cp "$dir/build/arch/x86/boot/bzImage" "$dir/vmlinuz" || return
	# What building modules needs is the tree without the kernel's own objects.
	find "$dir/build" \( -path "$dir/build/scripts" -o -path "$dir/build/tools" -o -path "$dir/build/rust" \) -prune -o \
		\( -name '*.o' -o -name '*.a' -o -name '*.ko' -o -name '.*.cmd' -o -name vmlinux.unstripped \) -type f -exec rm -f {} + || return
	rm -rf "$dir/packages"
	echo "$release" >"$dir/release"
}

# debug_dir: the folder of the debug kernel that the present inputs make.
debug_dir() {
	local version inputs
	version=$(cat "$cache/lab/release-debug" 2>/dev/null || true)
	if [ -z "$version" ]; then
		version=$(in_root apt-cache show --no-all-versions "linux-source-$debug_series" | sed -n 's/^Version: \([0-9.]*\).*/\1/p' | head -n 1)
		echo "$version" >"$cache/lab/release-debug"
	fi
	inputs=$({
		cat "$lab/setup.d/debug.sh" "$lab/setup.d/debug.config" "$lab/guest/initramfs"
		in_root sh -c 'clang --version; rustc --version'
	} | key)
	echo "$cache/kernel-$version-debug-$inputs"
}

setup_debug_kernel() {
	local dir
	root=$(readlink -f "$cache/lab/root")
	dir=$(debug_dir)
	if [ ! -e "$dir/release" ]; then
		say "debug kernel: source"
		logged kernel-debug-fetch fetch_debug_source "$dir"
		logged kernel-debug-config configure_debug_kernel "$dir"
		say "debug kernel: building (an hour of one core's time)"
		logged kernel-debug-build build_debug_kernel "$dir"
		logged kernel-debug-pack pack_debug_kernel "$dir"
		rm -f "$cache/debs/"*.deb
	fi
	ln -sfn "$dir" "$cache/lab/kernel-debug"
	say "debug kernel: ready ($(cat "$dir/release"))"
}
