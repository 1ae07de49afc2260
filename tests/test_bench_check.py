"""bench-check tells a loop on the fast path from one that fell off, on listings made up here."""

import pytest

from bench import check
from fastmlp.kernels.variants import VARIANTS

AVX512, AVX2, BASE = VARIANTS


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


def verdict(name, text, variant=AVX2):
    loops = list(check.innermost_loops(text))
    return {row.loop: row for row in check.judge("a build", variant, loops)}[name]


TILE = "tile 6 x 1, 2"


@pytest.mark.parametrize(
    "body",
    [tile(6, 2), [*tile(6, 2), "mov    0x78(%rsp),%r10"], tile(6, 2) * 2],
    ids=["as it should be", "an address on the stack", "unrolled twice"],
)
def test_a_tile_in_full_registers_passes(body):
    found = verdict(TILE, listing(body, tile(6, 1)))
    assert (found.fault, found.spills) == (None, 0)


def test_an_unrolled_tile_is_not_taken_for_a_higher_one():
    assert verdict(TILE, listing(tile(3, 2) * 2, tile(3, 1) * 2)).fault
    assert verdict("tile 3 x 1, 2", listing(tile(3, 2) * 2, tile(3, 1) * 2)).fault is None


@pytest.mark.parametrize("place", ["(%rsp)", "0x40(%rsp)", "-0x70(%rbp)", "0x40(%rsp,%rax,8)"])
def test_a_tile_that_spills_falls_off(place):
    spilling = [f"vmovaps {place},%ymm15", *tile(6, 2), f"vmovaps %ymm15,{place}"]
    found = verdict(TILE, listing(FRAME, spilling, tile(6, 1)))
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
def test_a_tile_that_is_not_one_loop_of_full_registers_falls_off(body, instead):
    found = verdict(TILE, listing(body, tile(6, 1)))
    assert found.vectors == [13]
    assert found.fault == (
        f"a build: {TILE}: 1 of 2 inner loops are on ymm registers; the others: {instead}."
    )


def test_tiles_of_the_other_instruction_sets_are_recognised():
    embedded = [f"vfmadd231ps (%r14,%r{i},1){{1to16}},%zmm3,%zmm{4 + i}" for i in range(8)]
    assert verdict("tile 8 x 1, 2, 3", listing(embedded), AVX512).vectors == [8]
    for kind, send in (("ps", "shufps $0x0,%xmm2,%xmm2"), ("pd", "unpcklpd %xmm2,%xmm2")):
        body = []
        for i in range(6):
            body += [f"movs{kind[1]} (%rax),%xmm2", send]
            body += [f"mul{kind} %xmm0,%xmm2", f"add{kind} %xmm2,%xmm{4 + i}"]
        assert verdict(TILE, listing(body), BASE).vectors == [24]


def test_a_vectorised_loop_passes():
    found = verdict("adam", listing(ADAM))
    assert (found.fault, found.vectors, found.spills) == (None, [10], 0)


def test_constants_on_the_stack_are_not_spills():
    body = [line.replace("0x2a(%rip)", "0x20(%rsp)") for line in ADAM]
    assert verdict("adam", listing(body)).fault is None


def test_rbp_is_the_stack_only_where_it_is_the_frame_pointer():
    body = [line.replace("(%rdi,%rax,1)", "0x0(%rbp,%rax,1)") for line in ADAM]
    pointer = ["push   %rbp", "mov    %rdi,%rbp", "jmp    1000"]
    assert verdict("adam", listing(FRAME, pointer, body)).fault is None
    assert verdict("adam", listing(FRAME, body)).spills == 1


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
def test_a_loop_that_is_not_vectorised_falls_off(change, fault):
    body = [line.replace(*change) for line in ADAM]
    assert verdict("adam", listing(body)).fault.endswith(fault)


@pytest.mark.parametrize("fault", [None, "avx2 float32: adam: it fell off."])
def test_the_check_exits_with_1_for_a_fault_and_says_it(monkeypatch, capsys, fault):
    rows = [check.Verdict("avx2 float32", "adam", [16], 0, fault)]
    monkeypatch.setattr(check, "check", lambda variant, dtype: rows)
    monkeypatch.setattr(check.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(check.shutil, "which", lambda name: name)
    assert check.main() == (fault is not None)
    out = capsys.readouterr().out
    assert ("falls off" in out, "adam: it fell off." in out) == (fault is not None,) * 2


@pytest.mark.parametrize("takes", [True, False])
def test_an_absent_build_is_a_fault_unless_the_compiler_left_it_out(monkeypatch, takes):
    monkeypatch.setattr(check.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(check, "compiler_takes", lambda flags: takes)
    (found,) = check.check(AVX512, "f64")
    assert found.fault == ("avx512 float64: this build is not installed." if takes else None)
    assert found.loop == ("absent" if takes else "left out by the compiler")
