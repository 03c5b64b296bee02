"""The properties that a `Manifest` says: those that are required, and those not at their default.

A manifest has some thirty properties, and most partitions say a handful. Whoever goes through a
manifest by its properties, to judge or to write them, looks at these alone.
"""

from __future__ import annotations

from operator import attrgetter

from ffabric.system.manifest.keys import PROPERTIES
from ffabric.system.manifest.manifest import Manifest
from ffabric.system.options.keys import Key

_KEYS = tuple(key for key in PROPERTIES if key.field in Manifest.__struct_fields__)
_values = attrgetter(*(key.field for key in _KEYS))
_DEFAULTS = _values(Manifest())


def said(manifest: Manifest) -> list[tuple[Key, object]]:
    """The properties of the root node that ``manifest`` says, in the order of their declaration."""
    return [
        (key, value)
        for key, value, default in zip(_KEYS, _values(manifest), _DEFAULTS, strict=True)
        if value != default or key.required
    ]
