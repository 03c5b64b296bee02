def test_share_with_a_driven_sp(ffabric):
    system = ffabric.boot(sps=["sp"], vms=["vm"], pes=2)
    vm, sp = system.vm("vm"), system.sp("sp")
    ipa = vm.ram.allocate(3)
    vm.memory.write(ipa, b"hello")
    handle = vm.ffa.share("sp", ipa=ipa, pages=3)
    got = sp.ffa.retrieve(handle, "vm")
    assert sp.memory.read(got.ipa, 5) == b"hello"
    sp.memory.write(got.ipa, b"HELLO")
    assert vm.memory.read(ipa, 5) == b"HELLO"
    with ffabric.refuses("mem.reclaim.retrieved"):
        vm.ffa.reclaim(handle)
    sp.ffa.relinquish(handle)
    vm.ffa.reclaim(handle)
    assert vm.memory.read(ipa, 5) == b"HELLO"
