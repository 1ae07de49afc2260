/* The most multiplications and additions a core can do: chains of a*x + b in registers alone.
 *
 * Every accumulator starts elsewhere, because a compiler folds those that start alike into one and
 * then reports a speed no machine has. Where there is no fused instruction, a multiplication and
 * an addition are done, and both are counted.
 */
typedef REAL vec __attribute__((vector_size(BYTES)));

enum { LANES = BYTES / sizeof(REAL) };

/* Returns the number of operations; `seeds` holds 2 + CHAINS * LANES numbers and takes the sums. */
double peak(long steps, REAL *seeds)
{
    vec acc[CHAINS];
    vec a, b;
    for (int lane = 0; lane < LANES; lane++) {
        a[lane] = seeds[0];
        b[lane] = seeds[1];
    }
    for (int i = 0; i < CHAINS; i++)
        for (int lane = 0; lane < LANES; lane++)
            acc[i][lane] = seeds[2 + i * LANES + lane];
    for (long step = 0; step < steps; step++)
#pragma GCC unroll 32
        for (int i = 0; i < CHAINS; i++)
            acc[i] = acc[i] * a + b;
    for (int i = 0; i < CHAINS; i++)
        for (int lane = 0; lane < LANES; lane++)
            seeds[2 + i * LANES + lane] = acc[i][lane];
    return 2.0 * steps * CHAINS * LANES;
}
