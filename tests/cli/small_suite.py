"""A small suite of tests in the form of Arm's FF-A ACS, as CMake would leave a build of it.

The images are `tests/images/acs_*.S`; the manifests are of four partitions that receive direct
requests. Their tests: answers, refused, left_out (suite "calling"), skips, hangs, crashes, spins
(suite "ending"), last (suite "calling").
"""

import shutil
from pathlib import Path

IMAGES = Path(__file__).parents[1] / "images"

SP = """/dts-v1/;
/ {{
    compatible = "arm,ffa-manifest-1.0";
    description = "partition {n}";
    ffa-version = <0x00010002>;
    uuid = <{n} 2 3 4>;
    id = <{n}>;
    execution-ctx-count = <8>;
    exception-level = <2>;
    execution-state = <0>;
    load-address = <{address:#x}>;
    entrypoint-offset = <0x4000>;
    xlat-granule = <0>;
    boot-order = <{n}>;
    messaging-method = <0x3>;
}};
"""
SPMC = """/dts-v1/;
#include "fvp-defs.dtsi"
/ {{
    compatible = "arm,ffa-core-manifest-1.0";
    #address-cells = <2>;
    #size-cells = <2>;
    attribute {{
        spmc_id = <0x8000>;
        maj_ver = <1>;
        min_ver = <2>;
    }};
    hypervisor {{
        compatible = "hafnium,hafnium";
        {vms}
    }};
    cpus {{
        #address-cells = <2>;
        #size-cells = <0>;
        CPU_0 CPU_7 CPU_6 CPU_5 CPU_4 CPU_3 CPU_2 CPU_1
    }};
    memory@0 {{
        device_type = "memory";
        reg = <0x0 0x7000000 0x0 0x1000000>;
    }};
    memory@1 {{
        device_type = "ns-memory";
        reg = <0x0 0x88000000 0x0 0x1000000>, <0x0 0xfe300000 0x0 0x1000>;
    }};
}};
"""
VM = """vm{n} {{
    is_ffa_partition;
    debug_name = "partition {n}";
    load_address = <{address:#x}>;
    vcpu_count = <8>;
    mem_size = <0x200000>;
}};"""
CACHE = """# written by nobody
CMAKE_HOME_DIRECTORY:INTERNAL={tree}
TARGET:INTERNAL=tgt_tfa_fvp
PLATFORM_SPMC_EL:UNINITIALIZED=2
PLATFORM_NS_HYPERVISOR_PRESENT:UNINITIALIZED={hypervisor}
"""


def lay_out(tree: Path, *, hypervisor: bool = False) -> Path:
    """Write a source tree, and a build of it beside; the build's folder."""
    manifests = tree / "source/platform/manifest/tgt_tfa_fvp"
    output = tree / "build/output"
    (manifests / "v12").mkdir(parents=True)
    output.mkdir(parents=True)
    places = [(n, 0x700_0000 + 0x20_0000 * (n - 1)) for n in (1, 2, 3, 4)]
    for n, address in places:
        (manifests / f"v12/sp{n}.dts").write_text(SP.format(n=n, address=address))
        shutil.copy(IMAGES / "acs_sp.bin", output / f"sp{n}.bin")
    vms = " ".join(VM.format(n=n, address=address) for n, address in places)
    (manifests / "fvp_spmc_manifest.dts").write_text(SPMC.format(vms=vms))
    shutil.copy(IMAGES / "acs_vm1.bin", output / "vm1.bin")
    cache = CACHE.format(tree=tree / "source", hypervisor=int(hypervisor))
    (tree / "build/CMakeCache.txt").write_text(cache)
    return tree / "build"
