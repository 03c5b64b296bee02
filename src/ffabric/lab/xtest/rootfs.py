"""The initial file system of a VM: its first process runs the cases that it reads from its console.

A line is the number of a case, or what is to become of tee-supplicant, also while a case runs:
`KILL` or `START`. Linux lets a client wait for the answer of a dead one until it is killed itself,
so it is; as long as there are such requests, another tee-supplicant finds no device, and tries
again. What the process has to say for us are lines that begin with `MARK`; all else is what xtest
prints.
"""

from __future__ import annotations

from typing import Final

from ffabric.lab.linux import cpio
from ffabric.lab.linux.initramfs import MARK
from ffabric.lab.linux.kernel import FFA, TEE, Kernel
from ffabric.lab.xtest.software import Software

KILL: Final = "kill-supplicant"
START: Final = "start-supplicant"

_FOLDERS = ("dev", "proc", "sys", "tmp", "root", "usr", "var/lib/optee-client/data/tee")
_LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib"}
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
_INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/sbin HOME=/root TERM=dumb LD_LIBRARY_PATH=/usr/lib/aarch64-linux-gnu
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
ip link set lo up
stty -echo
say() { echo "MARK $*"; }
for module in MODULES; do
    [ -f /lib/modules/$module.ko ] || continue
    insmod /lib/modules/$module.ko || say failed "insmod $module"
done
say kernel "$(uname -r)"
dmesg | grep 'optee: revision' | while read -r line; do say log "${line#*] }"; done
supplicant() {
    while :; do
        tee-supplicant
        status=$?
        [ $status = 1 ] && [ "$1" = again ] || break
        sleep 1
    done
    say supplicant $status
}
run() {
    say begins "$1"
    xtest -t regression "regression_$1"
    say ends "$1" "$?"
}
supplicant &
say ready
while read -r line; do
    case "$line" in
    KILL) killall -KILL tee-supplicant; killall -KILL xtest ;;
    START) supplicant again & ;;
    *) run "$line" </dev/null & ;;
    esac
done
poweroff -f
"""


def build(kernel: Kernel, software: Software) -> bytes:
    """The archive for ``kernel`` with ``software``."""
    modules = [name for name in (*FFA, *TEE) if name in kernel.modules]
    init = _INIT.replace("MARK", MARK).replace("MODULES", " ".join(modules))
    init = init.replace("KILL)", f"{KILL})").replace("START)", f"{START})")
    return cpio.build(
        [
            *(cpio.folder(name) for name in _FOLDERS),
            *(cpio.link(name, target) for name, target in _LINKS.items()),
            cpio.character_device("dev/console", 5, 1),
            cpio.file("usr/bin/busybox", kernel.busybox, 0o755),
            *(cpio.file(f"usr/lib/modules/{name}.ko", kernel.modules[name]) for name in modules),
            *(cpio.file(path, text.encode()) for path, text in _FILES.items()),
            *software.entries,
            cpio.file("init", init.encode(), 0o755),
        ]
    )
