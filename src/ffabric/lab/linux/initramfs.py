"""The initial file system: busybox, the kernel's modules, and what the first process does.

The first process loads the drivers and says on the console what came of it, a line each that
begins with `MARK`. Then it opens a session with a TA, if there is a TEE, executes the user's
script, if there is one, and turns the machine off or gives a shell.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

from msgspec import Struct

from ffabric.lab.linux import cpio
from ffabric.lab.linux.kernel import FFA, TEE, Kernel
from ffabric.lab.linux.modules import Module

MARK = "ffabric:"
ARGUMENTS = (
    "console=ttyAMA0 quiet loglevel=3 panic=-1 rdinit=/init cryptomgr.notests nokaslr"
    " mitigations=off audit=0 random.trust_bootloader=on"
)
"""What the kernel is told: where its console is, and to lose no time."""
SHELL = "ffabric.shell"
"""An argument of the kernel that asks for a shell."""

HOME: Final = "root"
"""The folder of a user's files."""
SCRIPT: Final = "run"
"""The file there that is executed when all modules are loaded."""


class Own(Struct, frozen=True):
    """What is a user's in the initial file system."""

    modules: tuple[Module, ...] = ()
    """In the order in which they are loaded, after the drivers of FF-A and OP-TEE."""
    files: tuple[cpio.Entry, ...] = ()
    """Below `HOME`."""

    @property
    def has_script(self) -> bool:
        """Whether there is a script to execute."""
        return any(each.path == f"{HOME}/{SCRIPT}" for each in self.files)


NOTHING: Final = Own()
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
    why=$(insmod /lib/modules/$module.ko 2>&1) || say failed "insmod $module: ${why##*: }"
done
say probed "$(up)"
kvm=$(dmesg | grep -m 1 'kvm .*mode initialized')
[ -c /dev/kvm ] && say kvm "${kvm#*]: }"
dmesg | grep -iE 'FF-A|ffa|optee' | while read -r line; do say log "${line#*] }"; done
for device in /sys/bus/arm_ffa/devices/*; do
    [ -d $device ] || continue
    say partition "$(cat $device/partition_id)" "$(cat $device/uuid)"
done
[ -c /dev/tee0 ] && teeloop
if [ -x /AT_HOME/SCRIPT ]; then
    cd /AT_HOME
    ./SCRIPT
    say script $?
fi
for each in SRI NPI; do
    line=$(grep -m 1 ARM-FFA-$each /proc/interrupts) && say sri "$line" && break
done
say done "$(up)"
if grep -q SHELL /proc/cmdline; then
    cd /root
    setsid cttyhack sh
fi
poweroff -f
"""


def build(kernel: Kernel, own: Own = NOTHING) -> bytes:
    """The archive for ``kernel``, with what is a user's ``own``."""
    modules = {name: kernel.modules[name] for name in (*FFA, *TEE) if name in kernel.modules}
    modules |= {each.name: each.data for each in own.modules}
    init = _INIT.replace("MARK", MARK).replace("MODULES", " ".join(modules))
    init = init.replace("AT_HOME", HOME).replace("SCRIPT", SCRIPT)
    program = (resources.files(__package__) / "teeloop.bin").read_bytes()
    return cpio.build(
        [
            *(cpio.folder(name) for name in _FOLDERS),
            cpio.character_device("dev/console", 5, 1),
            cpio.file("bin/busybox", kernel.busybox, 0o755),
            *(cpio.link(f"bin/{applet}", "busybox") for applet in _APPLETS),
            cpio.file("bin/teeloop", program, 0o755),
            *(cpio.file(f"lib/modules/{name}.ko", data) for name, data in modules.items()),
            *own.files,
            cpio.file("init", init.replace("SHELL", SHELL).encode(), 0o755),
        ]
    )
