"""Fuzzing through the ABI: a hostile VM and a hostile SP against the firmware and its ledger."""

from ffabric.lab.fuzz.episodes import Failure, Report, campaign

__all__ = ["Failure", "Report", "campaign"]
