"""The benchmarks' bookkeeping: what counts, what is dropped, what is printed. No time is judged."""

import json

import numpy as np
import pytest

from fastmlp.benchmarks import pairs, runner
from fastmlp.benchmarks.claims import CLAIMS, NETWORKS, WIDTHS
from fastmlp.kernels.variants import VARIANTS

AVX512, AVX2, BASE = VARIANTS


def rounds(*triples):
    return [dict(zip(("baseline", "rival", "control"), triple, strict=True)) for triple in triples]


def test_rounds_with_a_disturbed_control_are_dropped():
    found = rounds(*[(1, 2, 1.0)] * 6, (1, 50, 1.06), (1, 50, 0.94), (1, 2, 1.049))
    assert pairs.undisturbed(found).tolist() == [True] * 6 + [False, False, True]
    summary = pairs.summarize(found, epochs=4)
    assert (summary["kept"], summary["dropped"]) == (7, 2)
    assert summary["ratio"] == {"median": 2, "low": 2, "high": 2}
    assert summary["seconds_per_epoch"] == 0.25


def test_too_few_rounds_give_no_ratio():
    summary = pairs.summarize(rounds(*[(1, 2, 1)] * 4), epochs=1)
    assert summary == {"kept": 4, "dropped": 0, "ratio": None}


def test_the_interval_holds_the_median():
    rng = np.random.default_rng(0)
    found = rounds(*[(1.0, ratio, 1.0) for ratio in rng.uniform(1, 3, 31)])
    ratio = pairs.summarize(found, 1)["ratio"]
    assert 1 < ratio["low"] < ratio["median"] < ratio["high"] < 3


def test_both_sides_are_timed_in_turn_until_enough_rounds_count():
    calls = []
    found = pairs.interleaved(
        lambda: calls.append("a") or 1.0, lambda: calls.append("b") or 2.0, pairs=5
    )
    assert "".join(calls) == "ab" * len(found)
    assert 5 <= len(found) <= 10
    assert all(r["rival"] == 2 * r["baseline"] and r["control"] > 0 for r in found)


def test_every_claim_has_a_name_a_floor_and_a_goal():
    assert len(CLAIMS) == 3 * len(NETWORKS) + 2 + 3 + 2 * len(WIDTHS)
    for name, claim in CLAIMS.items():
        assert name == claim.name
        assert 0 < claim.floor <= claim.goal
        assert claim.threads in (1, 2)


def test_a_claim_is_measured_and_recorded(tmp_path, monkeypatch, capsys):
    name = "default threads 10-8-8-10, 1"
    target = tmp_path / "record.json"
    monkeypatch.setattr(
        "sys.argv", ["pairs", "--claim", name, "--pairs", "5", "--json", str(target)]
    )
    pairs.main()
    record = json.loads(target.read_text())
    assert record["kept"] + record["dropped"] == len(record["rounds"]) >= 5
    assert (record["floor"], record["goal"], record["threads"]) == (0.95, 1, 2)
    assert record["versions"]["fastmlp"]
    record["ratio"] = {"median": 1.25, "low": 1.0, "high": 1.5}
    table = runner.table_of_claims([{"work": name, "rival": "our one thread"} | record])
    assert "1.25 [1, 1.5]" in table
    assert table.splitlines()[2].split()[-2:] == ["0.95", "1"]


@pytest.mark.parametrize("name", ["predict 4-32-16-4, 1 row", "frozen 784-128-10, 1 row"])
def test_predictions_are_compared_with_onnx_runtime(name):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    for call in CLAIMS[name].calls():
        call()


def listing(*loops):
    """What objdump prints of some loops, each with its jump back to its first instruction."""
    lines, address = ["0000000000001000 <.text>:"], 0x1000
    for body in loops:
        start = address
        for instruction in [*body, f"jne    {start:x} <PyInit__avx2_f32@@Base+0x{start:x}>"]:
            lines.append(f"    {address:x}:\t{instruction}")
            address += 4
    return "\n".join(lines)


def tile(rows, vectors, register="%ymm", multiply="vfmadd231ps"):
    """The inner loop of a tile as gcc writes it for AVX2."""
    body = [f"vmovups 0x{32 * v:x}(%rdx),{register}{v}" for v in range(vectors)]
    for i in range(rows):
        body.append(f"vbroadcastss (%rax,%r{8 + i},1),{register}2")
        for v in range(vectors):
            body.append(f"{multiply} {register}{v},{register}2,{register}{3 + i * vectors + v}")
    return [*body, "add    $0x4,%rax", "add    %rcx,%rdx", "cmp    %rax,%rsi"]


ADAM = [
    "vmovups (%rdx,%rax,1),%ymm0",
    "vsubps (%rcx,%rax,1),%ymm0,%ymm1",
    "vfmadd213ps (%rcx,%rax,1),%ymm7,%ymm1",
    "vmovups %ymm1,(%rcx,%rax,1)",
    "vmulps %ymm0,%ymm0,%ymm0",
    "vmovups %ymm0,(%r8,%rax,1)",
    "vsqrtps %ymm0,%ymm0",
    "vfmadd132ps 0x2a(%rip),%ymm5,%ymm0        # 52d00 <PyInit__avx2_f32@@Base+0x469c1>",
    "vdivps %ymm0,%ymm1,%ymm1",
    "vmovups %ymm1,(%rdi,%rax,1)",
    "add    $0x20,%rax",
    "cmp    %rax,%r9",
]
FRAME = ["push   %rbp", "mov    %rsp,%rbp", "jmp    1000"]


def verdict(bench_check, name, text, variant=AVX2):
    loops = list(bench_check.innermost_loops(text))
    return {row.loop: row for row in bench_check.judge("a build", variant, loops)}[name]


TILE = "tile 6 x 1, 2"


@pytest.mark.parametrize(
    "body",
    [tile(6, 2), [*tile(6, 2), "mov    0x78(%rsp),%r10"], tile(6, 2) * 2],
    ids=["as it should be", "an address on the stack", "unrolled twice"],
)
def test_a_tile_in_full_registers_passes(bench_check, body):
    found = verdict(bench_check, TILE, listing(body, tile(6, 1)))
    assert (found.fault, found.spills) == (None, 0)


def test_an_unrolled_tile_is_not_taken_for_a_higher_one(bench_check):
    assert verdict(bench_check, TILE, listing(tile(3, 2) * 2, tile(3, 1) * 2)).fault
    assert (
        verdict(bench_check, "tile 3 x 1, 2", listing(tile(3, 2) * 2, tile(3, 1) * 2)).fault is None
    )


@pytest.mark.parametrize("place", ["(%rsp)", "0x40(%rsp)", "-0x70(%rbp)", "0x40(%rsp,%rax,8)"])
def test_a_tile_that_spills_falls_off(bench_check, place):
    spilling = [f"vmovaps {place},%ymm15", *tile(6, 2), f"vmovaps %ymm15,{place}"]
    found = verdict(bench_check, TILE, listing(FRAME, spilling, tile(6, 1)))
    fault = f"a build: {TILE}: vectors are spilled to the stack in the loop at 0x1010."
    assert (found.fault, found.spills) == (fault, 1)


@pytest.mark.parametrize(
    ("body", "instead"),
    [
        (tile(6, 2, register="%xmm"), "1 xmm"),
        (tile(6, 2, register="%xmm", multiply="vfmadd231ss"), "1 scalar"),
        ([*tile(6, 2)[:-1], "je     2000", "cmp    %rax,%rsi"], "not recognised"),
        (["call   2000 <memcpy@plt>", *tile(6, 2)], "not recognised"),
        (tile(5, 2), "not recognised"),
        ([*tile(6, 2), "vmovups %ymm3,(%rdi)"], "not recognised"),
    ],
    ids=["narrow", "scalar", "a branch", "a call", "another height", "stores"],
)
def test_a_tile_that_is_not_one_loop_of_full_registers_falls_off(bench_check, body, instead):
    found = verdict(bench_check, TILE, listing(body, tile(6, 1)))
    assert found.vectors == [13]
    assert found.fault == (
        f"a build: {TILE}: 1 of 2 inner loops are on ymm registers; the others: {instead}."
    )


def test_tiles_of_the_other_instruction_sets_are_recognised(bench_check):
    embedded = [f"vfmadd231ps (%r14,%r{i},1){{1to16}},%zmm3,%zmm{4 + i}" for i in range(8)]
    assert verdict(bench_check, "tile 8 x 1, 2, 3", listing(embedded), AVX512).vectors == [8]
    for kind, send in (("ps", "shufps $0x0,%xmm2,%xmm2"), ("pd", "unpcklpd %xmm2,%xmm2")):
        body = []
        for i in range(6):
            body += [f"movs{kind[1]} (%rax),%xmm2", send]
            body += [f"mul{kind} %xmm0,%xmm2", f"add{kind} %xmm2,%xmm{4 + i}"]
        assert verdict(bench_check, TILE, listing(body), BASE).vectors == [24]


def test_a_vectorised_loop_passes(bench_check):
    found = verdict(bench_check, "adam", listing(ADAM))
    assert (found.fault, found.vectors, found.spills) == (None, [10], 0)


def test_constants_on_the_stack_are_not_spills(bench_check):
    body = [line.replace("0x2a(%rip)", "0x20(%rsp)") for line in ADAM]
    assert verdict(bench_check, "adam", listing(body)).fault is None


def test_rbp_is_the_stack_only_where_it_is_the_frame_pointer(bench_check):
    body = [line.replace("(%rdi,%rax,1)", "0x0(%rbp,%rax,1)") for line in ADAM]
    pointer = ["push   %rbp", "mov    %rdi,%rbp", "jmp    1000"]
    assert verdict(bench_check, "adam", listing(FRAME, pointer, body)).fault is None
    assert verdict(bench_check, "adam", listing(FRAME, body)).spills == 1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("ymm", "xmm"), "0 of 1 inner loops are on ymm registers; the others: 1 xmm."),
        (("vsqrtps", "vsqrtss"), "0 of 1 inner loops are on ymm registers; the others: 1 scalar."),
        (("vmovups %ymm1,(%rdi", "vmovss %xmm1,(%rdi"), "the others: 1 scalar."),
        (("vsqrtps %ymm0,%ymm0", "call   2000 <sqrtf@plt>"), "the others: not recognised."),
    ],
    ids=["narrow", "scalar root", "scalar store", "a call"],
)
def test_a_loop_that_is_not_vectorised_falls_off(bench_check, change, fault):
    body = [line.replace(*change) for line in ADAM]
    assert verdict(bench_check, "adam", listing(body)).fault.endswith(fault)


@pytest.mark.parametrize("fault", [None, "avx2 float32: adam: it fell off."])
def test_the_check_exits_with_1_for_a_fault_and_says_it(bench_check, monkeypatch, capsys, fault):
    rows = [bench_check.Verdict("avx2 float32", "adam", [16], 0, fault)]
    monkeypatch.setattr(bench_check, "check", lambda variant, dtype: rows)
    monkeypatch.setattr(bench_check.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(bench_check.shutil, "which", lambda name: name)
    assert bench_check.main() == (fault is not None)
    out = capsys.readouterr().out
    assert ("falls off" in out, "adam: it fell off." in out) == (fault is not None,) * 2


@pytest.mark.parametrize("takes", [True, False])
def test_an_absent_build_is_a_fault_unless_the_compiler_left_it_out(
    bench_check, monkeypatch, takes
):
    monkeypatch.setattr(bench_check.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(bench_check, "compiler_takes", lambda flags: takes)
    (found,) = bench_check.check(AVX512, "f64")
    assert found.fault == ("avx512 float64: this build is not installed." if takes else None)
    assert found.loop == ("absent" if takes else "left out by the compiler")
