"""What xtest's cases call in OP-TEE, for the OP-TEE in Python: a twin of each TA that they need.

xtest's own TAs are AArch64 code; these do for the same commands what the cases look at. Commands
that no case of `CASES` uses are not there.
"""

from __future__ import annotations

from typing import Final

from ffabric.guests.optee.ffa.core import OpTee
from ffabric.lab.xtest.apps.concurrent import Concurrent, ConcurrentLarge
from ffabric.lab.xtest.apps.crypt import Crypt
from ffabric.lab.xtest.apps.invoke_tests import InvokeTests
from ffabric.lab.xtest.apps.storage import StorageApp

CASES: Final = ("1001", "1002", "1003", "1004", "1005", "1013", "6001", "6002", "6003")
"""Cases of the regression suite that pass with them."""


class XtestOpTee(OpTee):
    """An OP-TEE with the TAs of `CASES`."""

    tas = (InvokeTests, Crypt, Concurrent, ConcurrentLarge, StorageApp)
