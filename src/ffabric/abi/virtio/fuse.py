"""FUSE, the protocol of file system devices (virtio 1.3, 5.11; Linux, include/uapi/linux/fuse.h).

A request is a header, the arguments of its opcode, and names or data. An answer is a header with
0 or a negative error number, and what was asked for.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from ffabric.abi.layout import Field, Layout, raw, sbz, u16, u32, u64

HIGH_PRIORITY, REQUEST = 0, 1
"""The virtqueues; FORGET goes by the first one."""
MAJOR, MINOR = 7, 31
ROOT: Final = 1
"""Node id of the root folder."""
TAG_SIZE: Final = 36

CONFIG: Final = Layout(
    "virtio_fs_config",
    "virtio 1.3, 5.11.4",
    raw("tag", TAG_SIZE, "Name of the file system in UTF-8, padded with zeros"),
    u32("num_request_queues", "How many request queues"),
)
CONFIG_SIZE: Final = CONFIG.at().size


class Op(IntEnum):
    """What is asked for."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    ACCESS = 34
    CREATE = 35
    DESTROY = 38
    BATCH_FORGET = 42
    RENAME2 = 45


SET_MODE: Final = 1 << 0
SET_SIZE: Final = 1 << 3
"""What SETATTR changes."""
OPEN_TRUNCATE: Final = 0o1000
"""Of the flags of OPEN and CREATE, O_TRUNC."""

_SOURCE = "Linux, include/uapi/linux/fuse.h"


def _layout(name: str, *fields: Field) -> Layout:
    return Layout(name, _SOURCE, *fields)


IN_HEADER: Final = _layout(
    "fuse_in_header",
    u32("len", "Bytes of the request"),
    u32("opcode", "What is asked for"),
    u64("unique", "Number of the request"),
    u64("nodeid", "The node that it is about"),
    u32("uid", "User"),
    u32("gid", "Group"),
    u32("pid", "Process"),
    u16("total_extlen", "Length of extensions, in 8 bytes"),
    sbz(2),
).at()
OUT_HEADER: Final = _layout(
    "fuse_out_header",
    u32("len", "Bytes of the answer"),
    u32("error", "0, or a negative error number"),
    u64("unique", "Number of the request"),
).at()
ATTR: Final = _layout(
    "fuse_attr",
    u64("ino", "Node id"),
    u64("size", "Bytes"),
    u64("blocks", "Blocks of 512 bytes"),
    u64("atime", "When it was last read"),
    u64("mtime", "When it was last written"),
    u64("ctime", "When it was last changed"),
    u32("atimensec", "Nanoseconds of that"),
    u32("mtimensec", "Nanoseconds of that"),
    u32("ctimensec", "Nanoseconds of that"),
    u32("mode", "Type and permissions"),
    u32("nlink", "How many names it has"),
    u32("uid", "User"),
    u32("gid", "Group"),
    u32("rdev", "Number of a device"),
    u32("blksize", "Bytes of a sensible transfer"),
    u32("flags", "0"),
).at()
ENTRY_OUT: Final = _layout(
    "fuse_entry_out",
    u64("nodeid", "Node id"),
    u64("generation", "Which use of that id"),
    u64("entry_valid", "Seconds that the name may be remembered"),
    u64("attr_valid", "Seconds that the attributes may be remembered"),
    u32("entry_valid_nsec", "Nanoseconds of that"),
    u32("attr_valid_nsec", "Nanoseconds of that"),
).at()
"""Attributes follow."""
ATTR_OUT: Final = _layout(
    "fuse_attr_out",
    u64("attr_valid", "Seconds that the attributes may be remembered"),
    u32("attr_valid_nsec", "Nanoseconds of that"),
    sbz(4),
).at()
"""Attributes follow."""
GETATTR_IN: Final = _layout(
    "fuse_getattr_in", u32("getattr_flags", "Whether fh is given"), sbz(4), u64("fh", "File")
).at()
SETATTR_IN: Final = _layout(
    "fuse_setattr_in",
    u32("valid", "What is changed"),
    sbz(4),
    u64("fh", "File"),
    u64("size", "Bytes"),
    u64("lock_owner", "Owner of locks"),
    u64("atime", "When it was last read"),
    u64("mtime", "When it was last written"),
    u64("ctime", "When it was last changed"),
    u32("atimensec", "Nanoseconds of that"),
    u32("mtimensec", "Nanoseconds of that"),
    u32("ctimensec", "Nanoseconds of that"),
    u32("mode", "Permissions"),
    sbz(4),
    u32("uid", "User"),
    u32("gid", "Group"),
    sbz(4),
).at()
MKDIR_IN: Final = _layout("fuse_mkdir_in", u32("mode", "Permissions"), u32("umask", "Mask")).at()
"""The name follows."""
RENAME_IN: Final = _layout("fuse_rename_in", u64("newdir", "Node id of the new folder")).at()
"""Both names follow."""
RENAME2_IN: Final = _layout(
    "fuse_rename2_in", u64("newdir", "Node id of the new folder"), u32("flags", "How"), sbz(4)
).at()
"""Both names follow."""
OPEN_IN: Final = _layout(
    "fuse_open_in", u32("flags", "As open(2) has them"), u32("open_flags", "How")
).at()
OPEN_OUT: Final = _layout("fuse_open_out", u64("fh", "File"), u32("open_flags", "How"), sbz(4)).at()
CREATE_IN: Final = _layout(
    "fuse_create_in",
    u32("flags", "As open(2) has them"),
    u32("mode", "Permissions"),
    u32("umask", "Mask"),
    u32("open_flags", "How"),
).at()
"""The name follows."""
READ_IN: Final = _layout(
    "fuse_read_in",
    u64("fh", "File"),
    u64("offset", "Where"),
    u32("size", "At most so many bytes"),
    u32("read_flags", "How"),
    u64("lock_owner", "Owner of locks"),
    u32("flags", "As open(2) has them"),
    sbz(4),
).at()
WRITE_IN: Final = _layout(
    "fuse_write_in",
    u64("fh", "File"),
    u64("offset", "Where"),
    u32("size", "Bytes"),
    u32("write_flags", "How"),
    u64("lock_owner", "Owner of locks"),
    u32("flags", "As open(2) has them"),
    sbz(4),
).at()
"""The data follows."""
WRITE_OUT: Final = _layout("fuse_write_out", u32("size", "Bytes written"), sbz(4)).at()
RELEASE_IN: Final = _layout(
    "fuse_release_in",
    u64("fh", "File"),
    u32("flags", "As open(2) has them"),
    u32("release_flags", "How"),
    u64("lock_owner", "Owner of locks"),
).at()
FORGET_IN: Final = _layout("fuse_forget_in", u64("nlookup", "How many look-ups")).at()
INIT_IN: Final = _layout(
    "fuse_init_in",
    u32("major", "Version"),
    u32("minor", "Version"),
    u32("max_readahead", "Bytes"),
    u32("flags", "What the driver can do"),
).at()
"""Newer versions have more."""
INIT_OUT: Final = _layout(
    "fuse_init_out",
    u32("major", "Version"),
    u32("minor", "Version"),
    u32("max_readahead", "Bytes"),
    u32("flags", "What both can do"),
    u16("max_background", "Requests under way"),
    u16("congestion_threshold", "Requests from which on there are too many"),
    u32("max_write", "Bytes of a WRITE"),
    u32("time_gran", "Nanoseconds between two times"),
    u16("max_pages", "Pages of a request"),
    u16("map_alignment", "Alignment of mappings, a power of 2"),
    sbz(4),
    sbz(28),
).at()
STATFS_OUT: Final = _layout(
    "fuse_kstatfs",
    u64("blocks", "Blocks"),
    u64("bfree", "Free ones"),
    u64("bavail", "Those that users can have"),
    u64("files", "Nodes"),
    u64("ffree", "Free ones"),
    u32("bsize", "Bytes of a block"),
    u32("namelen", "Bytes of a name"),
    u32("frsize", "Bytes of a fragment"),
    sbz(4),
    sbz(24),
).at()
DIRENT: Final = _layout(
    "fuse_dirent",
    u64("ino", "Node id"),
    u64("off", "Where the next one is"),
    u32("namelen", "Bytes of the name"),
    u32("type", "Type, as in bits 15:12 of a mode"),
).at()
"""The name follows, padded to 8 bytes."""
DIRENT_ALIGN: Final = 8


def pad(size: int) -> int:
    """The length of a name in a folder, with its padding."""
    return -(-size // DIRENT_ALIGN) * DIRENT_ALIGN
