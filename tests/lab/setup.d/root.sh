# SPDX-License-Identifier: GPL-2.0-only
# Step 1: a Debian trixie root with the toolchain, QEMU and the guests' user land, and the guests' image made of it.
#
# root-KEY/          the root itself, used through tests/lab/in-root
# root-KEY.erofs     what guests boot from: the same files less the toolchain, read-only, so no guest sees a change

# Packages that must come from backports: kernels and QEMU (>= 10.1 is the first with vfio-user-pci) with its firmware, and the
# libraries that objtool of those kernels needs.
backports_preferences='Package: src:linux src:qemu src:seabios src:elfutils
Pin: release n=trixie-backports
Pin-Priority: 900
'

# The Debian mirror of this machine, from its own apt sources; LAB_MIRROR overrides.
debian_mirror() {
	local mirror
	mirror=${LAB_MIRROR-$(apt-get indextargets --format '$(SITE) $(ORIGIN)' 2>/dev/null | awk '$2 == "Debian" && $1 !~ /security/ { print $1; exit }')}
	if [ -z "$mirror" ]; then
		mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
			sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] \)\?\([^ ]*\).*/\2/p' | grep '/debian/\?$' | head -n 1)
	fi
	echo "${mirror:-http://deb.debian.org/debian}"
}

make_root() {
	local packages new=$root.new mirror
	packages=$(sed '/^#/d; /^$/d' "$lab/packages")
	mirror=$(debian_mirror)
	rm -rf "$new"

	say "root: Debian trixie from $mirror"
	logged debootstrap mmdebstrap --variant=minbase --format=directory --skip=cleanup/apt \
		--include=ca-certificates trixie "$new" \
		"deb $mirror trixie main" "deb $mirror trixie-updates main" "deb $mirror trixie-backports main"
	printf '%s' "$backports_preferences" >"$new/etc/apt/preferences.d/lab"
	printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d"
	chmod 755 "$new/usr/sbin/policy-rc.d"

	say "root: $(echo "$packages" | wc -w) packages and what they need"
	# The download folder outlives an interrupted run, so a second try fetches only what is missing.
	# shellcheck disable=SC2086 # a list of words is meant
	logged packages "$lab/in-root" --root "$new" apt-get install -y --no-install-recommends \
		-o "Dir::Cache::archives=$cache/debs" -o APT::Keep-Downloaded-Packages=true -o APT::Sandbox::User=root $packages
	unpack_rdma_core_tests "$new"
	mv "$new" "$root"
}

# rdma-core's own test suite is installed as documentation, in part compressed. Made ready to be run, with the byte code beside
# it: an emulated CPU takes seconds to compile it.
unpack_rdma_core_tests() {
	local suite=/usr/lib/rdma-core-tests
	mkdir -p "$1$suite/tests"
	cp "$1"/usr/share/doc/rdma-core/tests/* "$1$suite/tests"
	gunzip "$1$suite"/tests/*.gz
	"$lab/in-root" --root "$1" python3 -m compileall -q "$suite"
}

# Left out of the guests' image: they neither build nor emulate.
make_root_image() {
	local image=$root.erofs
	say "root: image for the guests"
	logged root-image in_root mkfs.erofs --quiet \
		--exclude-regex='^(usr/(src|include|lib/rustlib|lib/llvm-[0-9]+|lib/gcc|share/(doc|man|locale|qemu|info|rust))|var/(cache|lib/apt)|boot)/' \
		--exclude-regex='lib(LLVM|clang|rustc_driver|clang-cpp|gccjit)[-.0-9a-f]*.*\.so' \
		--exclude-regex='^usr/bin/(qemu-.*|rustc|rustdoc|cargo.*|clippy-driver|bindgen|clang.*|x86_64-linux-gnu-(gcc|g\+\+|cpp|lto).*)$' \
		"$image.new" "$root"
	mv "$image.new" "$image"
}

setup_root() {
	root=$cache/root-$(key "$lab/packages" "$lab/setup.d/root.sh")
	[ -d "$root" ] || make_root
	[ -e "$root.erofs" ] || make_root_image
	ln -sfn "$root" "$cache/lab/root"
	ln -sfn "$root.erofs" "$cache/lab/root.erofs"
}
