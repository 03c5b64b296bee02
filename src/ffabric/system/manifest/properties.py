"""The properties that a `Manifest` says: those that are required, and those not at their default.

A manifest has some thirty properties, and most partitions say a handful. Whoever goes through a
manifest by its properties, to judge or to write them, looks at these alone.
"""

from __future__ import annotations

from itertools import compress
from operator import attrgetter, ne

from ffabric.system.manifest.keys import PROPERTIES
from ffabric.system.manifest.manifest import Manifest
from ffabric.system.options.keys import Key

_KEYS = tuple(key for key in PROPERTIES if key.field in Manifest.__struct_fields__)
_values = attrgetter(*(key.field for key in _KEYS))
_NO_DEFAULT = object()
_DEFAULTS = tuple(
    _NO_DEFAULT if key.required else default
    for key, default in zip(_KEYS, _values(Manifest()), strict=True)
)


def said(manifest: Manifest) -> list[tuple[Key, object]]:
    """The properties of the root node that ``manifest`` says, in the order of their declaration."""
    values = _values(manifest)
    return list(compress(zip(_KEYS, values, strict=True), map(ne, values, _DEFAULTS)))
