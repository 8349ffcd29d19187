"""The cost of work."""

import time

from dripstone.update.meter import Meter


def test_time_is_counted_from_the_start():
    meter = Meter()
    first = meter.read()
    until = time.process_time() + 0.02
    while time.process_time() < until:
        pass
    second = meter.read()
    assert second.cpu_seconds >= first.cpu_seconds + 0.02
    assert second.wall_seconds >= first.wall_seconds + 0.015
    assert second.peak_memory_bytes >= first.peak_memory_bytes > 2**20


def test_sleeping_costs_no_cpu():
    meter = Meter()
    time.sleep(0.03)
    cost = meter.read()
    assert cost.wall_seconds >= 0.03 > cost.cpu_seconds
