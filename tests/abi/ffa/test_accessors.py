"""Readers and writers of fields, against the tables that they are made from."""

import random

import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.accessors import reader, result_reader, writer
from ffabric.abi.ffa.calls import encode
from ffabric.abi.ffa.registers import at_version
from ffabric.abi.ffa.version import V1_1, V1_2, VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_a_reader_reads_what_its_table_says(version):
    generator = random.Random(version)
    for function in fid.FUNCTIONS.values():
        x = [function.id, *(generator.getrandbits(64) for _ in range(17))]
        args = {arg.name: arg for arg in at_version(function.args, version) if arg.name}
        expected = [arg.get(x, is_64=function.is_64) for arg in args.values()]
        got = [reader(function.id, name, version=version)(x) for name in args]
        assert got == expected, function.name
        if len(args) > 1:
            assert reader(function.id, *args, version=version)(x) == tuple(expected)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_writer_makes_the_call_that_the_table_makes(version):
    generator = random.Random(version)
    for function in fid.FUNCTIONS.values():
        values = {}
        for arg in at_version(function.args, version):
            span, width = arg.span(is_64=function.is_64), arg.width(is_64=function.is_64)
            values[arg.name] = generator.getrandbits(width * len(span))
        values.pop("", None)
        made = writer(function.id, *values, version=version)(*values.values())
        table = encode(function.id, version, **values)
        assert made == table[: len(made)], function.name
        assert not any(table[len(made) :]), function.name


def test_fields_come_in_the_order_of_their_names():
    x = [fid.FFA_NOTIFICATION_SET, 0x8001_0002, 0x3, 5, 0x8000_0000]
    names = ("notifications", "receiver", "sender")
    assert reader(fid.FFA_NOTIFICATION_SET, *names)(x) == (0x8000_0000_0000_0005, 2, 0x8001)
    made = writer(fid.FFA_NOTIFICATION_SET, *names)(0x8000_0000_0000_0005, 2, 0x8001)
    assert made == [fid.FFA_NOTIFICATION_SET, 0x8001_0002, 0, 5, 0x8000_0000]


def test_a_narrow_field_of_a_64_bit_call_ends_with_its_register():
    x = [fid.FFA_MEM_SHARE_64, 0xDEAD_0000_0060, 0xBEEF_0000_0040, 1 << 40, 1]
    fields = reader(fid.FFA_MEM_SHARE_64, "total_length", "fragment_length", "address")
    assert fields(x) == (0x60, 0x40, 1 << 40)


def test_a_call_without_fields_is_its_id():
    assert writer(fid.FFA_ID_GET)() == [fid.FFA_ID_GET]


def test_results_are_read_from_the_success():
    success = [fid.FFA_SUCCESS_32, 0, 5, 0x8000_0000]
    assert result_reader(fid.FFA_MEM_SHARE_64, "handle")(success) == 0x8000_0000_0000_0005
    got = [fid.FFA_SUCCESS_32, 0, 1, 2, 3, 0, 1, 0]
    names = ("from_sps", "from_vms", "from_spm", "from_hypervisor")
    assert result_reader(fid.FFA_NOTIFICATION_GET, *names)(got) == (0x2_0000_0001, 3, 1, 0)


@pytest.mark.parametrize(
    ("values", "field"),
    [((0x1_0000, 0), "target"), ((0, 0x1_0000), "target_vcpu"), ((-1, 0), "target")],
)
def test_a_content_that_does_not_fit_is_named(values, field):
    run = writer(fid.FFA_RUN, "target", "target_vcpu")
    assert run(0xFFFF, 0xFFFF) == [fid.FFA_RUN, 0xFFFF_FFFF]
    with pytest.raises(ValueError, match=f"^{field}: .* does not fit into 16 bits"):
        run(*values)


def test_a_field_that_the_call_or_the_version_lacks():
    with pytest.raises(KeyError):
        reader(fid.FFA_RUN, "colour")
    with pytest.raises(KeyError):
        writer(fid.FFA_MSG_WAIT, "flags", version=V1_1)
    assert writer(fid.FFA_MSG_WAIT, "flags", version=V1_2)(1) == [fid.FFA_MSG_WAIT, 0, 1]
