#!/bin/sh
# SPDX-License-Identifier: MIT
# Sourced by quickstart and check: installs what is missing (Debian packages).
# need_packages LIST...: as root or through sudo; says so when it cannot.

need_packages() {
	missing=
	for p in "$@"; do
		case $(dpkg-query -W -f '${db:Status-Status}' "$p" \
			2>/dev/null) in
		installed) ;;
		*) missing="$missing $p" ;;
		esac
	done
	[ -z "$missing" ] && return 0
	if ! command -v apt-get >/dev/null 2>&1; then
		echo "missing packages (no apt-get here):$missing" >&2
		return 1
	fi
	sudo=
	if [ "$(id -u)" -ne 0 ]; then
		if ! command -v sudo >/dev/null 2>&1; then
			echo "missing packages (need root or sudo):$missing" >&2
			return 1
		fi
		sudo=sudo
	fi
	echo "installing:$missing"
	# shellcheck disable=SC2086
	$sudo env DEBIAN_FRONTEND=noninteractive sh -c "
		apt-get -qq update &&
		apt-get -qq -y --no-install-recommends install $missing" \
		>/dev/null
}

# shellcheck disable=SC2034 # used by those who source this
BUILD_PACKAGES="gcc libc6-dev make autoconf automake libtool pkg-config
	zlib1g-dev libzstd-dev libxxhash-dev libjansson-dev liburing-dev
	libdeflate-dev libssl-dev"
# shellcheck disable=SC2034
TEST_PACKAGES="check qemu-utils python3 strace pmccabe e2fsprogs xz-utils
	binutils libc-bin util-linux"
# Nova itself, whose image cache ours has to get along with: many packages, for
# CI and the long run.
# shellcheck disable=SC2034
NOVA_PACKAGES="python3-nova"
