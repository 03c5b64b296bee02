"""Optional features of processors, and what is said of those that are not there (`features.S`)."""

import pytest
from unicorn_board import IPA, Board

from ffabric.machine import cpu_features
from ffabric.machine.cpu_features import DEFAULT_FEATURES, complaints, lacking

EC, IL = 26, 1 << 25
SVE = (*DEFAULT_FEATURES, "sve")


class TellingBoard(Board):
    """A board that keeps what is said of instructions whose features are not there."""

    def __init__(self, features, model):
        self.said = []
        super().__init__(
            "features",
            features=features,
            model=model,
            on_missing=lambda name, line: self.said.append((name, line)),
        )


@pytest.fixture
def boards():
    """Makes boards with features; closes them."""
    made = []

    def board(*features, model="max"):
        board = TellingBoard(features, model)
        made.append(board)
        return board

    yield board
    for each in made:
        each.close()


@pytest.mark.parametrize(
    ("features", "sve", "bti", "pauth"),
    [(DEFAULT_FEATURES, 0, 1, 1), (SVE, 1, 1, 1), ((), 0, 0, 0), (("bti",), 0, 1, 0)],
)
def test_id_registers_tell_of_what_is_there(boards, features, sve, bti, pauth):
    name, x = boards(*features).vcpu(0).step()
    assert (name, x[0]) == ("HVC", 1)
    assert x[1] >> 32 & 0xF == sve
    assert x[2] & 0xF == bti
    assert bool(x[3] & (0xFF << 4 | 0xFF << 24)) == bool(pauth)
    assert x[2] >> 8 & 0xF == 0  # MTE


def test_sve_has_vectors_of_256_bits_that_outlive_calls(boards):
    vcpu = boards(*SVE).vcpu(1)
    assert vcpu.step()[0] == "SMC"
    name, x = vcpu.step()
    assert (name, x[0], x[1], x[2]) == ("HVC", 1, 32, 4)


def test_sve_is_undefined_unless_it_is_switched_on(boards):
    board = boards(*DEFAULT_FEATURES)
    name, x = board.vcpu(1, name="guest.0").step()
    assert (name, x[0]) == ("HVC", IL)
    (said,) = board.said
    assert said[0] == "guest.0"
    assert said[1].endswith("needs sve, which the CPU has not: undefined")


@pytest.mark.parametrize(("features", "esr"), [(SVE, 0x19 << EC | IL), (DEFAULT_FEATURES, IL)])
def test_an_el1_may_trap_sve_if_there_is_any(boards, features, esr):
    name, x = boards(*features).vcpu(2).step()
    assert (name, x[0], x[1]) == ("HVC", esr, IPA + 0x208)


def test_sve_at_s_el0_is_there_from_the_start(boards):
    board = boards(*SVE)
    code = (0x04BF5021, 0xD4000001)  # rdvl x1, #1; svc #0
    board.memory.write(0x9000_0000, b"".join(w.to_bytes(4, "little") for w in code), secure=False)
    name, x = board.vcpu(0, level=0).step()
    assert (name, x[1]) == ("SVC", 32)


def test_memory_tagging_is_a_line_and_then_undefined(boards):
    board = boards(*SVE)
    name, x = board.vcpu(3, name="guest.0").step()
    assert (name, x[0], x[1]) == ("HVC", IL, IPA + 0x308)
    ((_, line),) = board.said
    assert line == f"PC {IPA + 0x308:#x} (irg x1, x2) needs mte, which the CPU has not: undefined"


def test_a_line_is_said_once_for_each_vcpu(boards):
    board = boards()
    for name in ("a.0", "a.0", "a.1"):
        board.vcpu(3, name=name).step()
    assert [name for name, _ in board.said] == ["a.0", "a.1"]


def test_pointer_authentication_is_undefined_where_the_model_has_none(boards):
    assert boards(*DEFAULT_FEATURES).vcpu(4).step()[1][0] == 1
    board = boards(model="cortex-a72")
    assert board.vcpu(4).step()[1][0] == IL
    assert "needs pauth" in board.said[0][1]


def test_vector_registers_are_each_contexts_own(boards):
    board = boards(*SVE)
    vcpus = [board.vcpu(5, x0=n, mpidr=0x8000_0000 + n) for n in (7, 9)]
    for vcpu in vcpus:
        vcpu.step()
        vcpu.ctx.x[:] = [0xFF] * 18
    for _ in range(2):
        for vcpu, own in zip(vcpus, (7, 9), strict=True):
            assert vcpu.step()[1][:3] == [1, own, own]
            assert vcpu.step()[0] == "SMC"


@pytest.mark.parametrize(
    ("word", "feature"),
    [
        (0x9ADF1020, "mte"),  # irg x0, x1
        (0xBAC20020, "mte"),  # subps x0, x1, x2
        (0xD1810420, "mte"),  # subg x0, x1, #16, #1
        (0xD9601C20, "mte"),  # stzg x0, [x1, #16]!
        (0xD518120A, "sve"),  # msr zcr_el1, x10
        (0xD538120A, "sve"),  # mrs x10, zcr_el1
        (0xD518104A, ""),  # msr cpacr_el1, x10
        (0x2518E3E0, "sve"),  # ptrue p0.b
        (0xA400A000, "sve"),  # ld1b {z0.b}, p0/z, [x0]
        (0xDAC10020, "pauth"),  # pacia x0, x1
        (0xD71F0801, "pauth"),  # braa x0, x1
        (0xF8200420, "pauth"),  # ldraa x0, [x1]
        (0xF8200041, "lse"),  # ldadd x0, x1, [x2]
        (0xC8A07C41, "lse"),  # cas x0, x1, [x2]
        (0x9AC20820, ""),  # udiv x0, x1, x2
        (0xDAC00020, ""),  # rbit x0, x1
        (0xF8008C20, ""),  # str x0, [x1, #8]!
        (0xC8007C41, ""),  # stxr w0, x1, [x2]
        (0xD65F03C0, ""),  # ret
        (0x91004020, ""),  # add x0, x1, #16
        (0x4E22D420, ""),  # fadd v0.4s, v1.4s, v2.4s
        (0x00000000, ""),  # udf #0
    ],
)
def test_instructions_and_what_they_need(word, feature):
    assert lacking(word) == feature


def test_what_may_be_asked_for():
    assert complaints("max", SVE) == []
    assert complaints("cortex-a72", ()) == []
    assert complaints("cortex-a72", None) == []
    assert complaints("cortex-a72", ("bti",)) == ["cortex-a72 has no bti: 'max' has"]
    assert complaints("max", ("mte",)) == ["no CPU has mte (memory tagging) under Unicorn"]
    assert complaints("max", ("svee",)) == ["'svee' is not one of pauth, bti, sve"]
    assert not set(cpu_features.FEATURES) & set(cpu_features.IMPOSSIBLE)
