"""Remote procedure calls: what OP-TEE asks of the normal world (OP-TEE 4.10, optee_rpc_cmd.h).

An RPC is a message with one of these commands; the normal world answers in place and resumes the
thread. Its kernel serves some itself and hands the others to tee-supplicant.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final


class Command(IntEnum):
    """What is asked for (OPTEE_RPC_CMD_*)."""

    LOAD_TA = 0
    RPMB = 1
    FS = 2
    GET_TIME = 3
    NOTIFICATION = 4
    SUSPEND = 5
    SHM_ALLOC = 6
    SHM_FREE = 7
    GPROF = 9
    SOCKET = 10
    FTRACE = 11
    SUPP_PLUGIN = 12
    BENCH_REG = 20
    I2C_TRANSFER = 21
    RPMB_PROBE_RESET = 22
    RPMB_PROBE_NEXT = 23
    RPMB_FRAMES = 24


RPMB_REQUEST: Final = Struct("<3H")
"""Before the frames of `Command.RPMB`: what is asked for, of which device, how many frames are to
be answered (struct rpmb_req of tee_rpmb_fs.c)."""
RPMB_DATA, RPMB_DEVICE_INFO = 0, 1
RPMB_DEVICE: Final = Struct("<16s3B")
"""The answer to RPMB_DEVICE_INFO: CID, RPMB_SIZE_MULT, the sectors of a reliable write, 0 (struct
rpmb_dev_info)."""


class Notification(IntEnum):
    """value[0].a of NOTIFICATION; b is the notification value, c the timeout of a WAIT in ms."""

    WAIT = 0
    SEND = 1


class ShmType(IntEnum):
    """value[0].a of SHM_ALLOC (b: size, c: alignment) and of SHM_FREE (b: cookie)."""

    APPL = 0
    KERNEL = 1
    GLOBAL = 2


class Fs(IntEnum):
    """value[0].a of FS; where a file or a directory is open, b is its descriptor."""

    OPEN = 0
    CREATE = 1
    CLOSE = 2
    READ = 3
    WRITE = 4
    TRUNCATE = 5
    REMOVE = 6
    RENAME = 7
    OPENDIR = 8
    CLOSEDIR = 9
    READDIR = 10


class Socket(IntEnum):
    """value[0].a of SOCKET; b is the TA's instance, c the socket's handle."""

    OPEN = 0
    CLOSE = 1
    CLOSE_ALL = 2
    SEND = 3
    RECV = 4
    IOCTL = 5


MAX_PARAMS: Final = 4
"""How many parameters an RPC has at most (THREAD_RPC_MAX_NUM_PARAMS)."""
ASYNC_VALUE_MAX: Final = 63
"""The last notification value that can be signalled asynchronously (notif.h)."""
SYNC_VALUE_BASE: Final = ASYNC_VALUE_MAX + 1
"""A thread that waits for a lock waits for this value plus its number (notif.h)."""
