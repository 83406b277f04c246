from __future__ import annotations

import json

import pytest
from bench.fakes import CEILINGS, FakeMeter, subject
from xnn.backends.registry import Work

import xnn
from xnn.bench import Report, Row, changes, comparison, describe, roofline, run, table
from xnn.bench.measure import Times
from xnn.bench.report import DeviceInfo
from xnn.bench.steps import Step, training_step
from xnn.bench.table import engineering, seconds_text, text_table


def row(
    seconds: float, spread: float = 0.1, *, name="softmax", variant="original", device="cpu", work="forward"
) -> Row:
    samples = tuple(seconds * (1 + spread * k) for k in (-1.0, -0.5, 0.0, 0.5, 1.0))
    times = Times(samples, tuple(s / seconds for s in samples))
    return Row(device, name, "64 x 10", "float32", work, variant).fill(times, Work(5120, 2560), CEILINGS)


def report(*rows: Row, **info) -> Report:
    made = Report.begin(quick=True)
    made.notes.clear()
    made.date = "2026-11-20T12:00:00+00:00"
    for name in dict.fromkeys(r.device for r in rows):
        made.devices[name] = DeviceInfo("a device", {"driver": "1.2"}, 4096, CEILINGS)
    made.rows = list(rows)
    return made


def test_what_follows_from_a_time():
    r = row(1e-5)
    assert r.seconds == 1e-5
    assert (r.low, r.high) == (pytest.approx(0.95e-5), pytest.approx(1.05e-5))
    assert r.bandwidth == pytest.approx(5.12e8)
    assert r.rate == pytest.approx(2.56e8)
    assert r.share == pytest.approx(0.512)  # 5.12 us at 1 GB/s, 0.256 us at 10 Gop/s
    assert r.rounds == 5


def test_a_file_gives_back_what_was_written(tmp_path):
    written = report(row(1e-5), Row("cpu", "relu", "4", "float32", "forward", "PyTorch", note="none"))
    written.write(tmp_path / "a.json")
    read = Report.read(tmp_path / "a.json")
    assert read.devices == written.devices
    assert (read.date, read.versions, read.commit) == (written.date, written.versions, written.commit)
    assert read.rows[0].seconds == written.rows[0].seconds
    assert read.rows[1] == written.rows[1]
    content = json.loads((tmp_path / "a.json").read_text())
    assert set(content) >= {"format", "date", "commit", "versions", "devices", "rows", "notes", "load"}
    assert "samples" not in content["rows"][0]
    assert {"python", "xnn", "numpy"} <= set(content["versions"])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "rows": [{"x": 1}]}'])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other.json: expected results written by xnn bench --json"):
        Report.read(path)


def test_changes_are_sorted_and_noise_is_no_change():
    before = report(row(1e-5), row(1e-5, name="relu"), row(1e-5, name="gelu"), row(1e-5, name="gone"))
    after = report(row(1.02e-5), row(3e-5, name="relu"), row(0.5e-5, name="gelu"), row(1e-5, name="new"))
    both, gone, new = changes(before, after)
    assert [(c.before.name, c.verdict) for c in both] == [
        ("relu", "slower"),
        ("gelu", "faster"),
        ("softmax", "same"),
    ]
    assert both[0].ratio == pytest.approx(3.0)
    assert both[0].range == (pytest.approx(3 * 0.95 / 1.05), pytest.approx(3 * 1.05 / 0.95))
    assert ([r.name for r in gone], [r.name for r in new]) == (["gone"], ["new"])
    text = comparison(before, after)
    assert "3 rows compared: 1 faster, 1 slower, 1 the same" in text
    assert "only after: 1 rows, new 64 x 10" in text
    assert max(map(len, text.splitlines())) <= 120


def test_two_devices_can_be_compared_but_do_not_mix():
    one, other = report(row(1e-5)), report(row(1e-6, device="other"))
    assert [c.verdict for c in changes(one, other)[0]] == ["faster"]
    both = report(row(1e-5), row(1e-6, device="other"))
    assert [c.ratio for c in changes(both, other)[0]] == [1.0]


def test_the_table_fits_and_says_what_is_best():
    note = "torch.compile failed: no compiler"
    failed = Row("cpu", "softmax", "64 x 10", "float32", "forward", "torch.compile", note=note)
    text = table(
        report(
            row(1e-5, variant="kernel"), row(3e-5), row(2e-5, variant="PyTorch"),
            failed,
            row(1e-3, name="batch_norm_training", work="backward"),
        )
    )  # fmt: skip
    lines = text.splitlines()
    assert lines[0].split() == [
        *("cpu", "size", "dtype", "pass", "time", "±", "B/s", "op/s", "roof"),
        *("/orig", "/torch", "/comp"),
    ]
    assert lines[1].split()[:7] == ["softmax", "64", "x", "10", "f32", "forward", "10.0"]
    assert "51 %" in lines[1]
    assert lines[1].endswith("-")
    assert "batch_norm_training" in lines[2]
    assert "torch.compile: torch.compile failed: no compiler (softmax 64 x 10 float32)" in text
    assert max(map(len, lines)) <= 120


def test_columns_are_aligned_and_empty_ones_left_out():
    assert (
        text_table(["a", "b", "c"], [["x", "", "1"], ["long", "", "22"]], left=1)
        == "a      c\nx      1\nlong  22"
    )


def test_numbers_have_three_digits_and_a_prefix():
    assert [engineering(x, "B/s") for x in (None, 1.0, 999.4, 999.6, 4.123e12)] == [
        *("", "1.00 B/s", "999 B/s", "1.00 kB/s", "4.12 TB/s"),
    ]
    assert [seconds_text(x) for x in (None, 2.5e-9, 9.999e-6, 0.0999, 12.0)] == [
        *("", "2.50 ns", "10.0 µs", "99.9 ms", "12.0 s"),
    ]


def test_the_roofline_is_a_picture(tmp_path):
    roofline(
        report(row(1e-5), row(2e-5, variant="PyTorch"), row(1e-6, device="other")), tmp_path / "roof.png"
    )
    assert (tmp_path / "roof.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="expected results of operations"):
        roofline(report(), tmp_path / "none.png")


def test_a_whole_run_on_the_cpu(monkeypatch):
    monkeypatch.setattr("xnn.bench.session.measure_ceilings", lambda *_, **__: CEILINGS)
    step = Step((4, 3, 2), 2, "SGD", {"lr": 0.1})
    found = run(
        device="cpu", dtypes=["float32", "bfloat16"], quick=True, steps=True, peer=False,
        among=[subject()], trained=[step], meter=FakeMeter,
    )  # fmt: skip
    assert [(r.name, r.work, r.variant) for r in found.rows] == [
        ("twice", "forward", "original"), ("twice", "backward", "original"), ("MLP 4-3-2", "training step", "xnn"),
    ]  # fmt: skip
    assert found.rows[-1].samples_per_second == pytest.approx(2 / found.rows[-1].seconds)
    assert found.rows[-1].operations == 2 * (6 * (12 + 6) - 2 * 12)
    assert "cpu has no bfloat16" in found.notes
    assert "copy" in describe(found)
    assert "samples/s" in table(found)
    assert max(map(len, table(found).splitlines())) <= 120


def test_what_was_measured_is_kept_when_it_is_interrupted(monkeypatch, tmp_path):
    monkeypatch.setattr("xnn.bench.session.measure_ceilings", lambda *_, **__: CEILINGS)
    file, seen = tmp_path / "unfinished.json", []

    def progress(text):
        seen.append(text)
        if len(seen) == 3:  # after the ceilings and one operation
            raise KeyboardInterrupt

    found = run(
        device="cpu", peer=False, among=[subject(), subject()], meter=FakeMeter, progress=progress,
        save=lambda unfinished: unfinished.write(file),
    )  # fmt: skip
    assert [r.work for r in found.rows] == ["forward", "backward"]
    assert found.notes[-1] == f"Interrupted at {seen[-1]}: that and what follows was not measured."
    assert found.settings["interrupted"]
    assert Report.read(file).rows == []  # as it was before the last measurement that began


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["nothing"]}, "expected names of operations, got 'nothing'"),
        ({"dtypes": ["float33"]}, r"expected dtypes among float16, .*, got 'float33'"),
        ({"device": "tpu"}, r"expected 'auto', 'cpu', .* got 'tpu'"),
        ({"device": "cpu,cuda:77"}, "CUDA"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_measured(options, message):
    with pytest.raises((ValueError, xnn.DeviceError), match=message):
        run(**{"names": ["softmax"], "device": "cpu", **options}, meter=None)


def test_a_training_step_trains():
    step = Step((4, 8, 2), 16, "SGD", {"lr": 0.5})
    run_step, weights, (x, target) = training_step(step, xnn.device("cpu"))
    losses = [float(run_step().item()) for _ in range(20)]
    assert losses[-1] < losses[0]
    assert set(weights) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert x.shape == (16, 4)
    assert target.shape == (16,)
