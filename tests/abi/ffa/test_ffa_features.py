"""Feature ids and properties."""

import pytest

from ffabric.abi.ffa import features
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.version import V1_1, V1_2


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (fid.FFA_MEM_SHARE_64, "FFA_MEM_SHARE_64"),
        (0x8400_00EE, "0x840000ee"),
        (features.NPI, "NPI"),
        (features.SRI, "SRI"),
        (features.MEI, "MEI"),
        (9, "feature 0x9"),
    ],
)
def test_names(value, name):
    assert features.feature_name(value) == name


def test_properties_depend_on_the_version():
    assert features.RxtxMapProperties.defined(V1_1) == 0x3
    assert features.RxtxMapProperties.defined(V1_2) == 0xFFFF_0003
    assert str(features.RxtxMapProperties(0x0004_0001)) == (
        "0x40001 (MAX_PAGES=4, MIN_SIZE=SIZE_64K)"
    )


def test_properties_are_of_functions_or_features():
    assert set(features.PROPERTIES) <= {*fid.FUNCTIONS, *features.FEATURES}
    assert all(features.FEATURES[i].id == i for i in features.FEATURES)
