"""One payload with two firmwares, by turns, by the time of the processor."""

import re
import struct
import sys
from uuid import UUID

import pytest

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa.version import V1_1
from ffabric.lab.peers import hafnium, measured, ours, tfa
from ffabric.lab.peers.payload import KERNEL, UART, VMS
from ffabric.machine.host.process import MissingProgram
from ffabric.system.files.dtb import parse_dtb
from ffabric.system.files.fip import NAMES, build_fip, parse_fip
from ffabric.system.manifest.binding import read_manifest
from ffabric.system.manifest.manifest import Messaging

COUNTS = (7, 5, 4, 3)
UUIDS = {name: UUID(uuid) for uuid, name in NAMES.items()}

LIKE_A_PEER = """
import sys
*counts, slowness = map(int, sys.argv[1:])
counts = dict(zip(("null", "direct", "notify", "memory"), counts, strict=True))
print("booting", flush=True)
spent = 0
while True:
    for kind, count in counts.items():
        print(f"[{spent} 0] {kind}  ", flush=True)
        spent += 10 * count * slowness
"""


def like_a_peer(slowness):
    return lambda counts, folder: [
        sys.executable,
        "-c",
        LIKE_A_PEER,
        *map(str, [*counts, slowness]),
    ]


def saying(*lines):
    return lambda counts, folder: [sys.executable, "-c", f"print({chr(10).join(lines)!r})"]


def compare(ours, theirs, payload=VMS, **how):
    return measured.compare(measured.Match(payload, ours, theirs), **how)


def test_the_counts_stand_in_the_image():
    assert struct.unpack_from("<4I", VMS.image(COUNTS), 4) == COUNTS
    assert VMS.image(COUNTS)[20:] == VMS.image((1, 1, 1, 1))[20:]
    assert struct.unpack_from("<3I", KERNEL.image((7, 5), UART), 4) == (7, 5, UART)


def test_hafnium_finds_manifest_and_image_in_its_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(hafnium, "find", lambda program, package: f"/usr/bin/{program}")
    words = hafnium.command(tmp_path / "hafnium.bin", COUNTS, tmp_path)
    assert words[0] == "/usr/bin/qemu-system-aarch64"
    assert words[words.index("-kernel") + 1] == str(tmp_path / "hafnium.bin")
    data = (tmp_path / "initrd.img").read_bytes()
    found = {}
    at = 0
    while True:
        magic, *_, name_size, high, low = struct.unpack_from("<13H", data, at)
        assert magic == 0o070707
        size = high << 16 | low
        name = data[at + 26 : at + 26 + name_size].rstrip(b"\0").decode()
        at += 26 + name_size + (name_size & 1)
        if name == "TRAILER!!!":
            break
        found[name] = data[at : at + size]
        at += size + (size & 1)
    assert found["payload.bin"] == VMS.image(COUNTS)
    vms = parse_dtb(found["manifest.dtb"]).root.child("hypervisor")
    assert [each.name for each in vms.children] == ["vm1", "vm2"]
    client, server = vms.children
    assert client.strings("kernel_filename") == ("payload.bin",)
    assert server.strings("fdt_filename") == ("server.dtb",)
    assert {"is_ffa_partition", "hyp_loaded"} <= server.props.keys() - client.props.keys()


def test_the_vm_that_is_notified_says_so_in_a_manifest_of_ff_a():
    tree = parse_dtb(hafnium.partition()).root
    manifest = read_manifest(tree, "server.dtb")
    assert manifest.notification_support
    assert (manifest.ffa_version, manifest.messaging_method) == (V1_1, Messaging.DIRECT_REQ_RECV)


def test_bl33_is_another_one_and_the_rest_as_it_was():
    images = {UUIDS["tos-fw"]: b"partition", UUIDS["nt-fw"]: b"u-boot", UUIDS["soc-fw"]: b"el3"}
    flash = bytes(0x40000) + build_fip(images, flags=5)
    changed = tfa.with_bl33(flash, b"a longer one than before")
    found = parse_fip(changed[0x40000:])
    assert changed[:0x40000] == flash[:0x40000]
    assert found.flags == 5
    assert {each.uuid: each.data for each in found.entries} == images | {
        UUIDS["nt-fw"]: b"a longer one than before"
    }


@pytest.mark.parametrize(
    ("flash", "why"),
    [
        (b"", "no firmware image package in it"),
        (bytes(0x50000), "no firmware image package in it"),
        (bytes(0x1000) + build_fip({UUIDS["tos-fw"]: b"partition"}), "has none"),
        (bytes(0x1000) + build_fip({UUIDS["nt-fw"]: b"cut"})[:-1], "leave the file"),
    ],
    ids=["nothing", "zeros", "without BL33", "cut"],
)
def test_what_is_no_flash_of_tfa_is_told(flash, why):
    with pytest.raises(DecodeError, match=why):
        tfa.with_bl33(flash, b"kernel")


def test_without_qemu_it_is_told_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda *_args, **_more: None)
    with pytest.raises(MissingProgram, match="apt-get install qemu-system-arm"):
        hafnium.command(tmp_path / "hafnium.bin", COUNTS, tmp_path)


@pytest.fixture
def spent(monkeypatch):
    """The processor's time is what a peer's lines say: a busy host reads them when it can."""
    read = measured.Peer._line

    def line(peer):
        peer.last = read(peer)
        return peer.last

    def nanoseconds(peer):
        said = re.match(r"\[(\d+) ", peer.last)
        return int(said[1]) if said else 0

    monkeypatch.setattr(measured.Peer, "_line", line)
    monkeypatch.setattr(measured.Peer, "_nanoseconds", nanoseconds)


@pytest.mark.usefixtures("spent")
def test_a_peer_that_takes_longer_answers_fewer_calls():
    rows = compare(like_a_peer(20), like_a_peer(200), rounds=2, seconds=0.05)
    assert [row.name for row in rows] == ["null", "direct", "notify", "memory"]
    assert all(len(row.pairs) == 2 for row in rows)
    assert all(row.ratios.low == row.ratios.high == pytest.approx(10) for row in rows)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["Panic: no memory"], "the peer does not run the payload:\nPanic: no memory"),
        (["null", "direct", "notify", "refused"], "refused"),
        (["null", "direct", "memory"], "memory"),
        ([], "the peer does not run the payload"),
    ],
)
def test_a_peer_that_does_not_run_the_payload_is_told_with_what_it_said(lines, told):
    with pytest.raises(measured.PeerError, match=told):
        compare(like_a_peer(20), saying(*lines), rounds=1, seconds=0.002)


def test_a_peer_that_says_nothing_is_given_up(monkeypatch):
    read = measured.Peer._line

    def line(peer):
        found = read(peer)
        monkeypatch.setattr(measured, "SILENCE", 0.01)  # nothing more is said from now on
        return found

    monkeypatch.setattr(measured.Peer, "_line", line)
    silent = [sys.executable, "-c", "import time; print('booting', flush=True); time.sleep(60)"]
    with pytest.raises(measured.PeerError, match=r"booting\n\(silent for 0.01 s\)"):
        compare(lambda *_: silent, like_a_peer(20), rounds=1, seconds=0.002)


def test_our_own_hypervisor_runs_the_payload():
    rows = compare(ours.vms, like_a_peer(100), rounds=1, seconds=0.02)
    assert all(row.ours.median > 100 for row in rows)


def test_our_own_firmware_runs_the_kernel():
    rows = compare(ours.kernel, ours.kernel, KERNEL, rounds=1, seconds=0.02)
    assert [row.name for row in rows] == ["smccc", "null"]
    assert all(row.ours.median > 100 for row in rows)
