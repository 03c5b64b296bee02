"""The initial file system: busybox, the kernel's modules, and what the first process does.

The first process loads the drivers and says on the console what came of it, a line each that
begins with `MARK`. Then it opens a session with a TA, if there is a TEE, and turns the machine off
or gives a shell.
"""

from __future__ import annotations

from importlib import resources

from ffabric.lab.linux import cpio
from ffabric.lab.linux.kernel import FFA, TEE, Kernel

MARK = "ffabric:"
ARGUMENTS = (
    "console=ttyAMA0 quiet loglevel=3 panic=-1 rdinit=/init cryptomgr.notests nokaslr"
    " mitigations=off audit=0 random.trust_bootloader=on"
)
"""What the kernel is told: where its console is, and to lose no time."""
SHELL = "ffabric.shell"
"""An argument of the kernel that asks for a shell."""

_APPLETS = (
    *("cat", "chmod", "clear", "cp", "cttyhack", "cut", "date", "dmesg", "echo", "grep", "head"),
    *("hexdump", "insmod", "ls", "lsmod", "mkdir", "mount", "mv", "nproc", "od", "poweroff", "ps"),
    *("reboot", "rm", "rmmod", "sed", "setsid", "sh", "sleep", "sort", "tail", "top", "uname"),
    *("uptime", "vi", "wc"),
)
_FOLDERS = ("dev", "proc", "sys", "tmp", "root")
_INIT = """#!/bin/sh
export PATH=/bin HOME=/root TERM=linux
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
say() { echo "MARK $*"; }
up() { cut -d' ' -f1 /proc/uptime; }
say kernel "$(uname -r)"
say cpus "$(nproc)"
say init "$(up)"
for module in MODULES; do
    [ -f /lib/modules/$module.ko ] || continue
    insmod /lib/modules/$module.ko || say failed "insmod $module"
done
say probed "$(up)"
dmesg | grep -iE 'FF-A|ffa|optee' | while read -r line; do say log "${line#*] }"; done
for device in /sys/bus/arm_ffa/devices/*; do
    [ -d $device ] || continue
    say partition "$(cat $device/partition_id)" "$(cat $device/uuid)"
done
[ -c /dev/tee0 ] && teeloop
grep -q ARM-FFA-SRI /proc/interrupts && say sri "$(grep ARM-FFA-SRI /proc/interrupts | head -n 1)"
say done "$(up)"
if grep -q SHELL /proc/cmdline; then
    cd /root
    setsid cttyhack sh
fi
poweroff -f
"""


def build(kernel: Kernel) -> bytes:
    """The archive for ``kernel``."""
    modules = [name for name in (*FFA, *TEE) if name in kernel.modules]
    init = _INIT.replace("MARK", MARK).replace("MODULES", " ".join(modules))
    program = (resources.files(__package__) / "teeloop.bin").read_bytes()
    return cpio.build(
        [
            *(cpio.folder(name) for name in _FOLDERS),
            cpio.character_device("dev/console", 5, 1),
            cpio.file("bin/busybox", kernel.busybox, 0o755),
            *(cpio.link(f"bin/{applet}", "busybox") for applet in _APPLETS),
            cpio.file("bin/teeloop", program, 0o755),
            *(cpio.file(f"lib/modules/{name}.ko", kernel.modules[name]) for name in modules),
            cpio.file("init", init.replace("SHELL", SHELL).encode(), 0o755),
        ]
    )
