"""``make bench-check``: the inner loops of every build are still on the fast path.

A compiler falls off it without a word: an accumulator on the stack, a narrower register or a loop
left scalar costs a factor of two to ten and changes hardly a bit. So the machine code that was
installed is read (``objdump -d``, also of builds that this CPU cannot run), and each inner loop of
``KINDS`` must be there on whole vector registers, without vectors written to the stack.

What is installed has no symbols: a loop is known by what it computes, not by its name. It is
innermost when it has no other jump and no call between its first instruction and the jump back.
Vectors read from the stack but not written are constants that found no register; they cost what
any constant in memory costs, and are allowed.
"""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import NamedTuple

from fastmlp import kernels
from fastmlp.kernels.variants import DTYPES, VARIANTS, Variant, module_name

REGISTERS = {64: "zmm", 32: "ymm", 16: "xmm", 0: "scalar"}
BYTES = {"z": 64, "y": 32, "x": 16}

INSTRUCTION = re.compile(
    r"\s*([0-9a-f]+):\t(?:(?:bnd|notrack|lock|repz?|repnz|data16|cs)\s+)*(\w+)\s*([^#<]*)"
)
JUMP_OR_CALL = re.compile(r"j\w+|call\w?|ret\w?")
FLOATING = re.compile(r"v?(add|sub|mul|div|sqrt|min|max|cmp|fn?m(?:add|sub))\w*?([ps])[sd]")
SHIFT = re.compile(r"v?psll[dq]")
BITWISE = re.compile(r"v?p?(?:and|or)(?:p[sd]|[dq])?|v?pcmpeq[dq]|vpternlog[dq]|vptestn?m[dq]")
BROADCAST = re.compile(
    r"vbroadcasts[sd] .*|.*\{1to\d+\}.*|movddup .*|shufps \$0x0,(%\w+),\1|unpcklpd (%\w+),\2"
)
WHOLE_STORE = re.compile(r"v?mov(?:[au]p[sd]|nt(?:p[sd]|dq)|dq[au]\d*)")
CONVERSION = re.compile(r"v?cvt(?:ps2pd|pd2ps)[xyz]?")
MEANINGS = {
    "fmadd": ("mul", "add"),
    "fmsub": ("mul", "sub"),
    "fnmadd": ("mul", "sub"),
    "fnmsub": ("mul", "sub"),
    "min": ("compare",),
    "max": ("compare",),
    "cmp": ("compare",),
}
"""What an operation on floating-point numbers counts as, where that is not its own name."""


class Instruction(NamedTuple):
    """One line of the listing."""

    address: int
    name: str
    operands: str


class Loop(NamedTuple):
    """An innermost loop: what one iteration computes, and on what.

    ``counts`` holds the operations by name; a fused multiply-add is a ``mul`` and an ``add``, and
    vectors written to memory other than the stack are a ``store``. ``width`` is the number of bytes
    of the narrowest register it computes with or stores, 0 if that is a single element.
    ``accumulators`` counts the registers that something is added to, ``vectors`` the instructions
    on vector registers, ``spills`` those that write to the stack.
    """

    address: int
    counts: Counter[str]
    width: int
    accumulators: int
    vectors: int
    spills: int


class Kind(NamedTuple):
    """Loops that do the same work: ``needs`` different ones must be on the fast path.

    ``which`` gives what tells them apart, or None for a loop of another kind.
    """

    name: str
    needs: int
    which: Callable[[Loop], Hashable]


class Verdict(NamedTuple):
    """One row of the table; ``fault`` is a sentence, or None."""

    build: str
    loop: str
    vectors: list[int]
    spills: int
    fault: str | None


def parse(listing: str) -> list[Instruction]:
    """Return the instructions of ``objdump -d --no-show-raw-insn``."""
    matches = (INSTRUCTION.match(line) for line in listing.splitlines())
    return [Instruction(int(m[1], 16), m[2], m[3].strip()) for m in matches if m]


def innermost_loops(listing: str) -> Iterator[Loop]:
    """Yield the loops without a jump or a call inside, from their first instruction to the jump."""
    instructions = parse(listing)
    place = {instruction.address: i for i, instruction in enumerate(instructions)}
    last = -1
    rbp_is_frame = False
    for i, (_, name, operands) in enumerate(instructions):
        if re.search(r"%[re]bp$", operands) and name not in ("push", "pop", "cmp", "test"):
            rbp_is_frame = operands == "%rsp,%rbp"
        if JUMP_OR_CALL.fullmatch(name):
            direct = re.fullmatch(r"[0-9a-f]+", operands)
            start = place.get(int(operands, 16), i) if direct else i
            if last < start < i:
                yield examine(instructions[start:i], rbp_is_frame)
            last = i


def examine(body: list[Instruction], rbp_is_frame: bool) -> Loop:
    """Count what a loop does; ``rbp_is_frame`` says whether %rbp points at the stack there."""
    stack = r"\(%r[sb]p" if rbp_is_frame else r"\(%rsp"
    counts: Counter[str] = Counter()
    accumulators = set()
    widths = []
    vectors = spills = 0
    for _, name, operands in body:
        registers = re.findall("%([xyz])mm", operands)
        if not registers:
            continue
        vectors += 1
        width = max(BYTES[register] for register in registers)
        if floating := FLOATING.fullmatch(name):
            operations = MEANINGS.get(floating[1], (floating[1],))
            counts.update(operations)
            if "add" in operations:
                accumulators.add(operands.split(",")[-1])
            widths.append(width if floating[2] == "p" else 0)
        elif SHIFT.fullmatch(name) or BITWISE.fullmatch(name):
            counts["shift" if SHIFT.fullmatch(name) else "bitwise"] += 1
            widths.append(width)
        if BROADCAST.fullmatch(f"{name} {operands}"):
            counts["broadcast"] += 1
        elif CONVERSION.fullmatch(name):
            counts["convert"] += 1
        elif re.search(r"\)(\{%k\d\})?$", operands):
            if re.search(stack, operands):
                spills += 1
            else:
                counts["store"] += 1
                widths.append(width if WHOLE_STORE.fullmatch(name) else 0)
    width = min(widths, default=0)
    return Loop(body[0].address, counts, width, len(accumulators), vectors, spills)


def tile_of(loop: Loop) -> tuple[int, int] | None:
    """Return the rows and vectors of the tile that a loop is of, or None.

    An element of A is sent to a whole vector for each row and multiplied by each vector of B, and
    nothing is stored. Unrolled or not, each row and vector has a register that it is added to;
    if they are spilled, the elements sent tell the rows.
    """
    c = loop.counts
    sent, products = c["broadcast"], c["mul"]
    others = c["store"] or c["sub"] or c["div"] or c["compare"]
    if others or not sent or products != c["add"] or products % sent:
        return None
    vectors = products // sent
    return (sent if loop.spills else loop.accumulators // vectors), vectors


def elementwise(condition: Callable[[Counter[str]], object]) -> Callable[[Loop], Hashable]:
    """Return what tells loops apart that store vectors: each is another one."""
    return lambda loop: loop.address if loop.counts["store"] and condition(loop.counts) else None


def reducing(condition: Callable[[Counter[str]], object]) -> Callable[[Loop], Hashable]:
    """Return what tells loops apart that store nothing."""
    return lambda loop: None if loop.counts["store"] or not condition(loop.counts) else loop.address


def arithmetic(counts: Counter[str]) -> int:
    """Return how often a loop calculates."""
    return sum(counts[name] for name in ("add", "sub", "mul", "div", "sqrt"))


def looks_at_bits(counts: Counter[str]) -> bool:
    """Whether a loop looks at bits and calculates nothing."""
    others = ("compare", "convert", "shift", "broadcast")
    return counts["bitwise"] > 0 and not (arithmetic(counts) or any(counts[o] for o in others))


def is_momentum(counts: Counter[str]) -> bool:
    """Whether a loop may update a velocity and a parameter with it: two vectors stored for each."""
    both = counts["store"] % 2 == 0 and counts["mul"] >= counts["store"]
    return both and counts["add"] > 0 and counts["sub"] > 0 and counts["div"] == 0


# In the order of the table; a name says which functions' loops are of this kind. f' is the loop of
# an activation's derivative. Functions are inlined, so there may be more loops than are needed, and
# one copy of several may fall off unseen where the others have not.
KINDS = (
    Kind("sigmoid, tanh", 2, elementwise(lambda c: c["div"] and c["mul"] >= 5 and not c["sqrt"])),
    Kind("exp, softmax's", 2, elementwise(lambda c: c["shift"] and c["mul"] >= 5 and not c["div"])),
    Kind("softmax's quotient", 1, elementwise(lambda c: c["div"] == arithmetic(c) == c["store"])),
    Kind("relu, relu'", 2, elementwise(lambda c: c["compare"] and not arithmetic(c))),
    Kind(
        "sigmoid', tanh'",
        2,
        elementwise(lambda c: (c["mul"], c["sub"], c["add"]) == (2 * c["store"], c["store"], 0)),
    ),
    Kind(
        "sgd, softmax'",
        2,
        elementwise(lambda c: c["mul"] == c["sub"] == c["store"] == arithmetic(c) / 2),
    ),
    Kind("momentum, Nesterov", 4, elementwise(is_momentum)),
    Kind("adam", 1, elementwise(lambda c: c["sqrt"] and c["div"])),
    Kind("rows copied, checked", 1, elementwise(looks_at_bits)),
    Kind("rows checked", 1, reducing(looks_at_bits)),
    Kind("rows converted", 1, elementwise(lambda c: c["convert"] and not arithmetic(c))),
)


def kinds_of(variant: Variant) -> list[Kind]:
    """Return what a build must have: a tile for each number of rows and vectors, and ``KINDS``."""
    vectors = variant.tile_vectors

    def of_height(rows: int) -> Callable[[Loop], Hashable]:
        shapes = [(rows, width) for width in range(1, vectors + 1)]
        return lambda loop: tile if (tile := tile_of(loop)) in shapes else None

    def side_by_side(loop: Loop) -> Hashable:
        tile = tile_of(loop)
        return tile if tile and tile[0] == 1 and tile[1] > vectors else None

    widths = ", ".join(map(str, range(1, vectors + 1)))
    heights = range(variant.tile_rows, 0, -1)
    tiles = [Kind(f"tile {m} x {widths}", vectors, of_height(m)) for m in heights]
    return [*tiles, Kind("one row, panels side by side", 1, side_by_side), *KINDS]


def judge(build: str, variant: Variant, loops: list[Loop]) -> list[Verdict]:
    """Return a verdict for each kind of loop that a build must have."""
    register = REGISTERS[variant.vector_bytes]
    verdicts = []
    for name, needs, which in kinds_of(variant):
        alike = [loop for loop in loops if which(loop) is not None]
        full = [loop for loop in alike if loop.width == variant.vector_bytes]
        spilled = [loop for loop in full if loop.spills]
        found = len({which(loop) for loop in full})
        fault = None
        if found < needs:
            narrower = [loop.width for loop in alike if loop.width != variant.vector_bytes]
            others = Counter(REGISTERS[width] for width in narrower)
            instead = ", ".join(f"{n} {width}" for width, n in others.items()) or "not recognised"
            fault = (
                f"{build}: {name}: {found} of {needs} inner loops are on {register} registers; "
                f"the others: {instead}."
            )
        elif spilled:
            places = ", ".join(f"{loop.address:#x}" for loop in spilled)
            fault = f"{build}: {name}: vectors are spilled to the stack in the loop at {places}."
        vectors = sorted({loop.vectors for loop in full})
        verdicts.append(Verdict(build, name, vectors, sum(loop.spills for loop in full), fault))
    return verdicts


def compiler_takes(flags: list[str]) -> bool:
    """Whether the compiler knows these flags: setup.py leaves a build out where it does not."""
    command = [os.environ.get("CC", "cc"), *flags, "-Werror", "-fsyntax-only", "-x", "c", "-"]
    return subprocess.run(command, input="", text=True, capture_output=True).returncode == 0


def check(variant: Variant, dtype: str) -> list[Verdict]:
    """Return the verdicts on one installed build; a single one where it is absent."""
    build = f"{variant.name} {DTYPES[dtype]}"
    spec = importlib.util.find_spec(f"fastmlp.kernels.{module_name(variant.name, dtype)}")
    if spec is None or spec.origin is None:
        if not compiler_takes(variant.flags):
            return [Verdict(build, "left out by the compiler", [], 0, None)]
        return [Verdict(build, "absent", [], 0, f"{build}: this build is not installed.")]
    command = ["objdump", "-d", "--no-show-raw-insn", spec.origin]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return judge(build, variant, list(innermost_loops(listing)))


def table(verdicts: list[Verdict]) -> str:
    """Return the verdicts as aligned columns."""
    rows = [["build", "loop", "vector instructions", "spills", "verdict"]]
    for build, loop, vectors, spills, fault in verdicts:
        numbers = ", ".join(map(str, vectors))
        rows.append([build, loop, numbers, str(spills), "falls off" if fault else "ok"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def main() -> int:
    """Print the table of all builds, then a sentence for each fault; 1 if there is one."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        sys.exit(f"bench.check reads the instructions of x86-64, not of {platform.machine()}.")
    if shutil.which("objdump") is None:
        sys.exit("bench.check needs objdump, which comes with the C compiler (binutils).")
    verdicts = [v for variant in VARIANTS for dtype in DTYPES for v in check(variant, dtype)]
    print(f"{Path(kernels.__file__).parent}\n")
    faults = [verdict.fault for verdict in verdicts if verdict.fault]
    print(table(verdicts))
    print("\n".join(["", *faults]) if faults else "\nEvery inner loop is on the fast path.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
