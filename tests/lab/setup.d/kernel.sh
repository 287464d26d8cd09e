# SPDX-License-Identifier: GPL-2.0-only
# Step 2: for each supported series the stock Debian kernel, and a source tree of the same version prepared for
# building Rust modules against it.
#
# kernel-SERIES-KEY/
#     release         the kernel release, as uname -r prints it
#     vmlinuz         the stock image
#     modules.erofs   the stock modules, seen by guests under /usr/lib/modules
#     initrd          what a guest starts: tests/lab/guest/initramfs and the modules that mount its root
#     build/          prepared source tree: make -C build M=... builds modules for this very kernel

# Modules that a guest needs before its root file system is there.
initrd_modules="virtio_pci virtio_blk virtio_console erofs overlay 9p 9pnet_virtio"

# newest_release SERIES -> the newest stock amd64 release whose source package has the same version
newest_release() {
	local source
	source=$(in_root apt-cache show --no-all-versions "linux-source-$1" 2>/dev/null | sed -n 's/^Version: //p' | head -n 1)
	in_root apt-cache search --names-only "^linux-modules-${1//./\\.}\.[0-9]+\+deb13-amd64\$" | awk '{ print $1 }' | sort -rV |
		while read -r package; do
			if [ "$(in_root apt-cache show --no-all-versions "$package" | sed -n 's/^Version: //p')" = "$source" ]; then
				echo "${package#linux-modules-}"
				break
			fi
		done
}

# The packages of a release: the signed image, or the unsigned one while signing lags behind a new release.
fetch_kernel() {
	local series=$1 release=$2 dir=$3 binary=linux-binary-$2 package
	in_root apt-cache show "$binary" >/dev/null 2>&1 || binary=linux-binary-unsigned-$release
	for package in "linux-base-$release" "$binary" "linux-modules-$release" "linux-headers-$release" "linux-source-$series"; do
		(cd "$cache/debs" && in_root apt-get download -q -o APT::Sandbox::User=root "$package") || return
		dpkg-deb -x "$(ls -t "$cache/debs/${package}"_*.deb | head -n 1)" "$dir/packages" || return
	done
}

# The stock modules as an image. Decompressed: unpacking xz under an emulated CPU costs more than the space.
make_modules_image() {
	local release=$1 dir=$2 modules=$2/packages/usr/lib/modules/$1
	find "$modules" -name '*.ko.xz' -print0 | xargs -0 -P "$(nproc)" -n 64 xz -d -q || return
	ln -s usr/lib "$dir/packages/lib" # where kmod looks below another root
	in_root depmod -b "$dir/packages" "$release" || return
	in_root mkfs.erofs --quiet --exclude-regex='/vmlinuz|/kernel/(drivers/(gpu|media|staging|iio|net/(wireless|ethernet))|sound)/' \
		"$dir/modules.erofs" "$dir/packages/usr/lib/modules"
}

make_initrd() {
	local release=$1 dir=$2 tree=$2/initrd.d module file
	rm -rf "$tree"
	mkdir -p "$tree/bin" "$tree/modules" "$tree/proc" "$tree/sys" "$tree/dev" "$tree/ro" "$tree/rw" "$tree/new"
	cp "$root/usr/bin/busybox" "$tree/bin/busybox" || return
	cp "$lab/guest/initramfs" "$tree/init" || return
	# modprobe lists dependencies before dependants, built-in ones as "builtin"; the order is kept for insmod.
	for module in $initrd_modules; do
		in_root modprobe -d "$dir/packages" -S "$release" --show-depends "$module" || return
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$tree/modules.list"
	while read -r file; do
		cp "$file" "$tree/modules/" || return
		echo "${file##*/}"
	done <"$tree/modules.list" >"$tree/modules/order" || return
	rm "$tree/modules.list"
	in_root sh -c 'cd "$1" && find . | cpio --quiet -o -H newc -R 0:0 >"$2"' sh "$tree" "$dir/initrd" || return
	rm -rf "$tree"
}

# A tree in which `make M=...` builds Rust modules for the stock image: Debian's headers packages carry no Rust
# metadata, so it is made here from the same source, the kernel's own configuration and its release name.
prepare_tree() {
	local series=$1 release=$2 dir=$3 build=$3/build
	tar -C "$dir" -xf "$dir/packages/usr/src/linux-source-$series.tar.xz" || return
	mv "$dir/linux-source-$series" "$build" || return
	cp "$dir/packages/usr/lib/modules/$release/config" "$build/.config" || return
	# kernel.release = version of the source + localversion; the package adds what follows the first '+'.
	echo "+${release#*+}" >"$build/localversion" || return
	in_root make -C "$build" -j "$(nproc)" CROSS_COMPILE=x86_64-linux-gnu- olddefconfig modules_prepare || return
	cp "$dir/packages/usr/src/linux-headers-$release/Module.symvers" "$build/Module.symvers" || return
	same_configuration "$dir/packages/usr/lib/modules/$release/config" "$build/.config" || return
	[ "$(cat "$build/include/config/kernel.release")" = "$release" ] || {
		echo "prepared tree says $(cat "$build/include/config/kernel.release"), the stock kernel $release"
		return 1
	}
	[ -e "$build/rust/libkernel.rmeta" ] || {
		echo "prepared tree has no rust/libkernel.rmeta: this kernel was configured without CONFIG_RUST"
		return 1
	}
}

# Every option that the stock kernel has must have come through olddefconfig. One that did not (a missing pahole takes
# CONFIG_DEBUG_INFO_BTF away, say) changes struct module, and no module built here would load.
same_configuration() {
	local lost
	lost=$(grep '^CONFIG_' "$1" | grep -vE '^CONFIG_(CC_VERSION_TEXT|PAHOLE_VERSION)=' | grep -vxFf "$2")
	[ -z "$lost" ] || {
		echo "the prepared tree lost options of the stock kernel, so a tool is missing in tests/lab/packages:" $lost
		return 1
	}
}

make_kernel() {
	local series=$1 release=$2 dir=$3 new=$3.new
	rm -rf "$new"
	mkdir -p "$new"
	say "kernel $series: fetching $release"
	logged "kernel-$series-fetch" fetch_kernel "$series" "$release" "$new"
	say "kernel $series: stock image and modules"
	cp "$new/packages/usr/lib/modules/$release"/vmlinuz* "$new/vmlinuz" ||
		die "the packages of $release hold no vmlinuz: please report this with the list of $cache/debs"
	logged "kernel-$series-modules" make_modules_image "$release" "$new"
	logged "kernel-$series-initrd" make_initrd "$release" "$new"
	say "kernel $series: source tree prepared for Rust modules (about a minute on two cores)"
	# The tree holds its own absolute path in make's dependency files, so it is made under its last name.
	rm -rf "$dir"
	mv "$new" "$dir"
	logged "kernel-$series-prepare" prepare_tree "$series" "$release" "$dir"
	rm -rf "$dir/packages"
	echo "$release" >"$dir/release"
}

# The release is looked up once and kept; `make lab-update` looks for a newer patch level.
setup_kernel() {
	local series=$1 release dir inputs
	inputs=$({
		cat "$lab/setup.d/kernel.sh" "$lab/guest/initramfs"
		in_root sh -c 'gcc --version; rustc --version; pahole --version' # a tree is of use to the compilers that prepared it
	} | key)
	release=$(cat "$cache/lab/release-$series" 2>/dev/null || true)
	if [ -z "$release" ]; then
		release=$(newest_release "$series")
		[ -n "$release" ] || die "Debian offers no stock $series kernel with its source here: check that the mirror carries trixie-backports"
	fi
	dir=$cache/kernel-$release-$inputs
	[ -e "$dir/release" ] || make_kernel "$series" "$release" "$dir"
	echo "$release" >"$cache/lab/release-$series"
	ln -sfn "$dir" "$cache/lab/kernel-$series"
}
