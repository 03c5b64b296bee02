"""A user's own build of OP-TEE: what its folder says, and what is no build for an SPMC at S-EL2."""

import pytest

from ffabric.lab.optee.build import BuildError, read_build

SETTINGS = {
    "PLATFORM": "vexpress",
    "PLATFORM_FLAVOR": "qemu_armv8a",
    "CFG_ARM64_core": "y",
    "CFG_CORE_SEL2_SPMC": "y",
    "CFG_TZDRAM_START": "0x0e304000",
    "CFG_TZDRAM_SIZE": "0x00cfc000",
    "CFG_TEE_CORE_NB_CORE": "4",
    "CFG_NUM_THREADS": "2",
    "CFG_NS_VIRTUALIZATION": "n",
}


@pytest.fixture
def build(tmp_path):
    """Makes an output folder with these settings besides; None takes one away."""

    def make(**settings):
        (tmp_path / "core").mkdir(exist_ok=True)
        (tmp_path / "core/tee-pager_v2.bin").write_bytes(b"image")
        said = {name: value for name, value in {**SETTINGS, **settings}.items() if value}
        text = "".join(f"{name}={value}\n" for name, value in said.items())
        (tmp_path / "conf.mk").write_text(f"# auto-generated\n{text}")
        return tmp_path

    return make


def test_its_settings_say_where_it_runs(build):
    found = read_build(build())
    assert found.image == b"image"
    assert (found.load_address, found.mem_size) == (0x0E30_0000, 0x00D0_0000)
    assert (found.cores, found.threads, found.guests) == (4, 2, 0)
    assert found.console == 0x0904_0000


@pytest.mark.parametrize("name", ["core", "core/tee-pager_v2.bin"])
def test_a_part_of_the_folder_is_enough(build, name):
    assert read_build(build() / name).image == b"image"


def test_it_may_be_virtualized_and_print_through_its_spmc(build):
    found = read_build(
        build(
            CFG_NS_VIRTUALIZATION="y",
            CFG_VIRT_GUEST_COUNT="2",
            CFG_FFA_CONSOLE="y",
            CFG_TEE_CORE_NB_CORE="16",
        )
    )
    assert (found.guests, found.console, found.cores) == (2, None, 8)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"CFG_ARM64_core": "n"}, "an OP-TEE of 32 bits: build it with CFG_ARM64_core=y"),
        (
            {"CFG_CORE_SEL2_SPMC": "n", "CFG_CORE_SEL1_SPMC": "y"},
            "an OP-TEE to be the SPMC itself, at S-EL1: build it with CFG_CORE_SEL2_SPMC=y",
        ),
        (
            {"CFG_CORE_SEL2_SPMC": "n", "CFG_CORE_EL3_SPMC": "y"},
            "an OP-TEE for an SPMC at EL3: build it with CFG_CORE_SEL2_SPMC=y",
        ),
        (
            {"CFG_CORE_SEL2_SPMC": None},
            "an OP-TEE for a monitor with OP-TEE's SMC ABI, without FF-A: build it with",
        ),
        ({"CFG_TZDRAM_SIZE": None}, "conf.mk has no number for CFG_TZDRAM_SIZE: ''"),
        ({"CFG_TZDRAM_START": "high"}, "conf.mk has no number for CFG_TZDRAM_START: 'high'"),
        ({"CFG_TZDRAM_START": "0x1000"}, "CFG_TZDRAM_START=0x1000 leaves no room for a manifest"),
    ],
)
def test_what_is_no_secure_partition_is_told(build, settings, told):
    with pytest.raises(BuildError) as found:
        read_build(build(**settings))
    assert told in str(found.value)
    assert "\n" not in str(found.value)


def test_what_is_missing_is_told(build, tmp_path):
    with pytest.raises(BuildError, match="there is no such file or folder"):
        read_build(tmp_path / "nothing")
    folder = build()
    (folder / "conf.mk").unlink()
    with pytest.raises(BuildError, match=r"there is no conf\.mk beside the image"):
        read_build(folder / "core/tee-pager_v2.bin")
    (folder / "core/tee-pager_v2.bin").unlink()
    with pytest.raises(BuildError, match=r"there is no core/tee-pager_v2\.bin of OP-TEE in it"):
        read_build(folder)
