"""Which properties a manifest says."""

import msgspec
import pytest

from ffabric.system.manifest.keys import PROPERTIES
from ffabric.system.manifest.manifest import Manifest
from ffabric.system.manifest.properties import said

OPTIONAL = [key for key in PROPERTIES if key.field in Manifest.__struct_fields__]
OTHERS = {bool: True, int: 7, str: "text", tuple: (1,), type(None): 7}
"""By type of a default: another value."""


def test_a_manifest_of_defaults_says_what_is_required_alone():
    said_names = {key.name for key, _ in said(Manifest())}
    assert said_names == {key.name for key in OPTIONAL if key.required}


@pytest.mark.parametrize("key", OPTIONAL, ids=lambda key: key.name)
def test_a_property_that_is_not_at_its_default_is_said(key):
    default = getattr(Manifest(), key.field)
    other = next(value for kind, value in OTHERS.items() if isinstance(default, kind))

    manifest = msgspec.structs.replace(Manifest(), **{key.field: other})

    assert {each.name: value for each, value in said(manifest)}[key.name] == other


@pytest.mark.parametrize("key", OPTIONAL, ids=lambda key: key.name)
def test_every_default_is_a_value_that_the_property_may_have(key):
    """Nobody judges a default: what is not said is not looked at."""
    default = getattr(Manifest(), key.field)
    assert default is None or not key.complaint(default)
