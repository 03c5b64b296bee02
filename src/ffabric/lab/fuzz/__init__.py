"""Fuzzing through the ABI: a hostile VM and a hostile SP against the firmware and its ledger."""
