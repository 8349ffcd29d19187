"""The benches run, small; what they claim of crashes is checked on every run of CI."""

import gzip
import subprocess
import sys
from pathlib import Path

from bench.scale.work import PARTS

ROOT = Path(__file__).parent.parent


def run_bench(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, cwd=ROOT, timeout=250, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_twenty_updates_killed_at_random_moments_lose_nothing():
    printed = run_bench("bench.kill", "--times", "20")
    assert "20 kills: every store verified" in printed
    assert "20  killed" in printed or "ended first" in printed


def test_the_digits_stream_is_learned_and_poison_refused():
    printed = run_bench("bench.digits", "--seeds", "1")
    (row,) = [line.split() for line in printed.splitlines() if line.strip().startswith("0 ")]
    assert row[1:4] == ["5", "of", "5"]
    streamed, ridge, network = map(float, row[4:7])
    assert streamed >= 0.97
    assert streamed >= max(ridge, network) - 0.005
    assert row[7:10] == ["refused", "same", "bits"]


def test_each_piece_of_a_closed_form_stage_stands_beside_its_floor():
    small = {"--rows": "40", "--trusted": "50", "--classes": "3", "--columns": "448", "--pause": "0"}
    printed = run_bench("bench.closed_form", *(word for pair in small.items() for word in pair))
    lines = printed.splitlines()
    table = lines[lines.index(next(line for line in lines if line.startswith("piece"))) + 1 :]
    assert [len(line.rsplit(maxsplit=5)) for line in table[:8]] == [6] * 8
    assert "GFLOP/s in float64" in table[-1]


def test_pairs_are_learned_by_every_method():
    lines = run_bench("bench.seq2seq", "--quick").splitlines()
    rows = [line.rsplit(maxsplit=6) for line in lines if line.endswith(tuple("0123456789")) and ", " in line[:40]]
    rows = [row for row in rows if row[0].startswith(("Dripstone", "decoder", "last", "full"))]
    assert len(rows) == 8
    assert all(0 <= float(row[place]) <= 1 < float(row[place + 1]) for row in rows for place in (1, 3))


def test_a_language_model_meets_its_domains(tmp_path):
    texts = [
        (f"the {noun} sees number {i} of the {noun}s, and says {i * 7}.\n" * 4 + "\n")
        for i, noun in enumerate(["cat", "dog", "bird", "fish"] * 120)
    ]
    for folder, name in (
        ("lm_tinyshakespeare", "input.txt"),
        ("lm_bible_kjv", "bible_kjv.txt.gz"),
        ("lm_python_docs", "library.rst.txt.gz"),
    ):
        (tmp_path / folder).mkdir()
        data = "".join(texts).encode()
        (tmp_path / folder / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        texts = [text.upper() for text in texts]
    methods = "Dripstone;full, replay;retrained at every stage"
    printed = run_bench("bench.lm", "--data", str(tmp_path), "--quick", "--methods", methods)
    rows = [line for line in printed.splitlines() if line.startswith(tuple(methods.split(";"))) and "seed" not in line]
    assert len(rows) == 3
    assert sum(line.endswith((": met", ": MISSED")) for line in printed.splitlines()) == 3


def test_a_thousand_updates_are_compared_with_the_first_ones():
    printed = run_bench("bench.scale", "--updates", "30", "--rows", "30", "--window", "15", "--first", "200", "--quick")
    rows = [line for line in printed.splitlines() if line.endswith(("met", "MISSED"))]
    assert [row.split("  ")[0] for row in rows] == [
        *(["CPU-s", "CPU-s, promoted or not", "MB held", "bytes stored"] * 2),
        *PARTS,
    ]


def test_every_way_to_move_a_small_part_stands_beside_the_whole():
    printed = run_bench("bench.methods", "--only", "head@ridge,entries:0.01@adamw,rows:0.01@adamw,full@adamw,low_rank")
    rows = [line.split() for line in printed.splitlines() if "@" in line.split(" ")[0] and not line.startswith("$")]
    table, goals = [row for row in rows if not row[0].endswith(":")], [row for row in rows if row[0].endswith(":")]
    assert len(table) == 4 + 8
    assert all(float(row[2]) > 0.3 for row in table), table
    assert [row[0] for row in goals] == ["rows:0.01@adamw:", "entries:0.01@adamw:"]
    # Memory of a process as small as this one is not measured well enough to ask it of a test.
    assert all(row[row.index("state") + 5] == "met;" and "MISSED" not in row[-12:] for row in goals), goals


def test_help_is_cheap_and_reading_commands_load_no_torch():
    printed = run_bench("bench.startup", "--times", "2")
    rows = [line.rsplit(maxsplit=3) for line in printed.splitlines() if line.startswith("dripstone ")]
    assert [row[0].strip() for row in rows] == [
        "dripstone --help",
        "dripstone status",
        "dripstone log",
        "dripstone show",
    ]
    assert {row[-1] for row in rows} == {"no"}


def test_what_has_grown_answers_the_same_and_is_stored_as_what_was_added():
    printed = run_bench("bench.growth", "--width", "48", "--depth", "2", "--rows", "12")
    rows = [line.split() for line in printed.splitlines() if line.startswith(("depth +2", "ffn +256"))]
    assert len(rows) == 3
    for row in rows:
        added, stored, share, exact, served, *_ = row[-7:]
        assert float(share) < 1
        assert int(stored.replace(",", "")) < int(added.replace(",", ""))
        assert max(float(exact), float(served)) <= 1e-6


def test_searched_settings_stand_beside_the_present_ones():
    printed = run_bench("bench.tune", "--seeds", "1", "--trials", "5")
    lines = printed.splitlines()
    rows = [line.split() for line in lines if line.startswith(("loop ", "astray ", "start ", "few "))]
    assert [row[0] for row in rows] == ["loop", "astray", "start", "few"]
    for row in rows:
        before, after, points = map(float, row[2:5])
        assert abs(100 * (after - before) - points) < 0.02
        assert (" ".join(row[9:]) == "nothing") <= (before == after)
    assert sum(line.endswith(("in the mean", "at worst")) for line in lines) == 4
