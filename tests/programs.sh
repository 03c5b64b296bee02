#!/usr/bin/env bash
# The programs that tests compare with, from Debian's packages: installs those that are missing, where
# that is possible. A test whose program is missing all the same fails and names its package.
# Arguments, PROGRAM:PACKAGE each, are installed instead.
set -euo pipefail

if [ "$#" -gt 0 ]; then
    PROGRAMS=("$@")
else
    PROGRAMS=(aarch64-linux-gnu-as:binutils-aarch64-linux-gnu
        aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu dtc:device-tree-compiler cpp:cpp
        cpio:cpio qemu-system-aarch64:qemu-system-arm chromium:chromium chromedriver:chromium-driver tshark:tshark
        gdb-multiarch:gdb-multiarch
        "qemu-storage-daemon:qemu-system-common qemu-utils" mke2fs:e2fsprogs)
fi

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 \
        -o DPkg::Lock::Timeout=600 "$@"
}

# A mirror that is being updated answers wrongly for a moment.
update_package_lists() {
    local try
    for try in 1 2 3 4; do
        apt_get update && return
        echo "apt-get update: try $try failed" >&2
        sleep $((try * 10))
    done
    return 1
}

packages=()
for each in "${PROGRAMS[@]}"; do
    read -r -a of_each <<<"${each#*:}"
    command -v "${each%%:*}" >/dev/null || packages+=("${of_each[@]}")
done
[ "${#packages[@]}" -gt 0 ] || exit 0
if ! command -v apt-get >/dev/null || { [ "$(id -u)" -ne 0 ] && ! sudo -n true 2>/dev/null; }; then
    echo "programs are missing: sudo apt-get install ${packages[*]}" >&2
    exit 0
fi
# What the lists name may be gone from the mirror a moment later.
for try in 1 2 3; do
    update_package_lists
    apt_get install --yes --no-install-recommends "${packages[@]}" && exit 0
    echo "apt-get install: try $try failed" >&2
    sleep $((try * 10))
done
exit 1
