/* What a core can do at most: arithmetic in registers alone, and memory read or updated in order. */

typedef REAL vec __attribute__((vector_size(BYTES)));
typedef REAL vec_in_memory __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias));

enum { LANES = BYTES / sizeof(REAL) };

/* Chains of a*x + b. Every accumulator starts elsewhere, because a compiler folds those that start
 * alike into one and then reports a speed no machine has. Where there is no fused instruction, a
 * multiplication and an addition are done, and both are counted.
 *
 * Returns the number of operations; `seeds` holds 2 + CHAINS * LANES numbers and takes the sums. */
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

/* Reads n numbers, `times` times over; returns the bytes. The sums go to `out`. */
double read_memory(long n, long times, const REAL *x, REAL *out)
{
    vec acc[4] = {{0}};
    for (long t = 0; t < times; t++)
        for (long j = 0; j + 4 * LANES <= n; j += 4 * LANES)
            for (int i = 0; i < 4; i++)
                acc[i] += *(const vec_in_memory *)(x + j + i * LANES);
    *(vec_in_memory *)out = acc[0] + acc[1] + acc[2] + acc[3];
    return (double)times * (n / (4 * LANES) * (4 * LANES)) * sizeof(REAL);
}

/* p -= rate g for n numbers, `times` times over; returns the bytes read and written. */
double update_memory(long n, long times, REAL rate, REAL *restrict p, const REAL *restrict g)
{
    for (long t = 0; t < times; t++)
        for (long j = 0; j < n; j++)
            p[j] -= rate * g[j];
    return 3.0 * times * n * sizeof(REAL);
}
