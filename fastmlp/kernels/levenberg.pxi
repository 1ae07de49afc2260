# Levenberg-Marquardt: Levenberg (1944), Marquardt (1963); the damping after Nielsen (1999), as Madsen,
# Nielsen and Tingleff, "Methods for non-linear least squares problems" (2004), algorithm 3.16.
#
# The objective is E = sum of r**2 over all rows and outputs, each residual r = s (a - t) with
# s**2 its share of the objective, and l2 / 2 sum of w**2. A step d solves
#
#     (JT J + l2 / 2 + damping) d = -(JT r + l2 / 2 w)        J = dr / dparams
#
# It is taken if E falls, and the damping then falls as well as E did what the quadratic model said;
# otherwise the damping rises until a step helps. JT J is summed over chunks of rows, so J as a whole
# never exists.

cdef enum:
    FACTORED_ROWS = 64       # that the others are updated by at once


cdef struct Levenberg:
    char* memory
    Py_ssize_t n, ld         # parameters, and elements between rows of the matrices
    real* normal             # (n, ld): JT J
    real* factor             # (n, ld): its upper Cholesky factor, damped
    real* panel              # (FACTORED_ROWS, ld), for the factorization
    real* jacobian           # (rows of a chunk, ld): of one output
    real* residual           # (rows of a chunk,)
    real* gradient           # (n,): JT r
    real* step               # (n,)
    real* before             # (n,): params
    real* scratch            # for the products: scratch_size elements for each thread
    Py_ssize_t scratch_size


cdef int make_levenberg(Levenberg* self, Py_ssize_t n, Py_ssize_t rows,
                        int n_threads) except -1:
    """Room for ``n`` parameters and chunks of ``rows`` rows."""
    cdef Py_ssize_t ld = row_stride(n)
    cdef real* at
    PyMem_RawFree(self.memory)
    self.memory = NULL
    self.scratch_size = GROUP_PANELS * NR * max(rows, <Py_ssize_t> FACTORED_ROWS)
    self.memory = <char*> allocate((2 * n * ld + (FACTORED_ROWS + rows) * ld + rows + 3 * ld
                                    + n_threads * self.scratch_size + 16) * sizeof(real))
    at = <real*> ((<Py_ssize_t> self.memory + 63) // 64 * 64)
    self.n, self.ld = n, ld
    self.normal, at = at, at + n * ld
    self.factor, at = at, at + n * ld
    self.panel, at = at, at + FACTORED_ROWS * ld
    self.jacobian, at = at, at + rows * ld
    self.gradient, at = at, at + ld
    self.step, at = at, at + ld
    self.before, at = at, at + ld
    self.scratch, at = at, at + n_threads * self.scratch_size
    self.residual = at
    return 0


cdef void add_normal(Levenberg* self, Py_ssize_t rows, bint first, int n_threads) noexcept nogil:
    """JT J and JT r of some rows, added to (or, the first, instead of) what is there."""
    cdef Product p
    cdef Py_ssize_t i, j
    cdef const real* row = self.jacobian
    memset(&p, 0, sizeof(Product))
    p.m, p.n, p.k = self.n, self.n, rows
    p.a, p.a_row, p.a_step = self.jacobian, 1, self.ld
    p.b, p.ld_b, p.b_is_padded = self.jacobian, self.ld, True
    p.in_place = self.n <= WIDEST_IN_PLACE
    p.c, p.ld_c, p.c_is_padded = self.normal, self.ld, True
    p.over_rows, p.add = True, not first
    p.scratch, p.scratch_size = self.scratch, self.scratch_size
    multiply(&p, n_threads)
    if first:
        memset(self.gradient, 0, self.n * sizeof(real))
    for i in range(rows):
        for j in range(self.n):
            self.gradient[j] += self.residual[i] * row[j]
        row += self.ld


cdef bint factorize(Levenberg* self, int n_threads) noexcept nogil:
    """``factor`` becomes U with UT U = itself, block by block; False if it is not positive."""
    cdef Py_ssize_t n = self.n, ld = self.ld
    cdef Py_ssize_t first, end, i, j, row
    cdef real* u = self.factor
    cdef real pivot, part, one = 1.0
    cdef Product p
    first = 0
    while first < n:
        end = min(first + FACTORED_ROWS, n)
        for i in range(first, end):
            pivot = u[i * ld + i]
            if not (pivot > 0 and is_finite(pivot)):
                return False
            pivot = one / square_root(pivot)
            for j in range(i, n):
                u[i * ld + j] *= pivot
            for row in range(i + 1, end):
                part = u[i * ld + row]
                for j in range(row, n):
                    u[row * ld + j] -= part * u[i * ld + j]
        if end < n:
            # The rest loses the product of these rows with themselves.
            for i in range(first, end):
                for j in range(end, n):
                    self.panel[(i - first) * ld + j - end] = -u[i * ld + j]
                for j in range(n, end + whole_vectors(n - end)):
                    self.panel[(i - first) * ld + j - end] = 0
            memset(&p, 0, sizeof(Product))
            p.m, p.n, p.k = n - end, n - end, end - first
            p.a, p.a_row, p.a_step = u + first * ld + end, 1, ld
            p.b, p.ld_b, p.b_is_padded = self.panel, ld, True
            p.in_place = n - end <= WIDEST_IN_PLACE
            p.c, p.ld_c = u + end * ld + end, ld
            p.over_rows, p.add = True, True
            p.scratch, p.scratch_size = self.scratch, self.scratch_size
            multiply(&p, n_threads)
        first = end
    return True


cdef void solve(Levenberg* self) noexcept nogil:
    """``step`` = -(UT U)**-1 gradient."""
    cdef Py_ssize_t n = self.n, ld = self.ld, i, j
    cdef const real* u = self.factor
    cdef real* step = self.step
    for j in range(n):
        step[j] = -self.gradient[j]
    for i in range(n):
        step[i] /= u[i * ld + i]
        for j in range(i + 1, n):
            step[j] -= u[i * ld + j] * step[i]
    for i in range(n - 1, -1, -1):
        step[i] = <real> ((step[i] - sum_of_products(u + i * ld + i + 1, step + i + 1, n - i - 1))
                          / u[i * ld + i])


cdef Status squares(Plan plan, Py_ssize_t rows, bint with_normal, double* objective) noexcept nogil:
    """The objective of all rows as a sum of squares and, if wanted, JT J and JT r."""
    cdef Lane* lane = &plan.lanes[0]
    cdef Layer* last = &plan.layers[plan.n_layers - 1]
    cdef Py_ssize_t first = 0, n, i, output
    cdef double total = 0, weight, scale
    cdef bint bad_target
    cdef real share, residual
    cdef const real* a
    plan.weight_sum = sum_of_weights(plan.y, plan.row_weights, NULL, 0, rows, False, NULL)
    scale = plan.scale_of(plan.weight_sum)
    scale *= 1.0 / last.n_out if loss_table[plan.loss.loss].mean_over_outputs else 0.5
    plan.pack_forward(rows, plan.n_threads)
    if with_normal:
        plan.pack_backward(plan.n_threads)
    while first < rows:
        n = min(plan.chunk_rows, rows - first)
        if plan.rows_held != n:
            if not plan.load_rows(lane, first, n, &plan.bad_row, &bad_target):
                return BAD_TARGET_ROW if bad_target else BAD_INPUT_ROW
            if n == plan.x.n_rows:
                plan.rows_held = n
        plan.forward_rows(lane, 0, n, last.activation.reads_z, plan.n_threads)
        for output in range(last.n_out):
            for i in range(n):
                weight = lane.weights[i] if plan.row_weights is not None else 1
                share = <real> libm_sqrt(weight * scale)
                a = lane.a[plan.n_layers] + i * last.ld_out
                residual = share * (a[output] - lane.targets[i * plan.loss.target_cols + output])
                total += <double> residual * residual
                if with_normal:
                    memset(lane.dz[plan.n_layers - 1] + i * last.ld_out, 0,
                           last.n_out * sizeof(real))
                    lane.dz[plan.n_layers - 1][i * last.ld_out + output] = share
                    plan.levenberg.residual[i] = residual
            if with_normal:
                last.activation.backward(
                    lane.z[plan.n_layers - 1] if last.activation.reads_z
                    else lane.a[plan.n_layers], lane.dz[plan.n_layers - 1], n, last.n_out,
                    last.ld_out, last.constant)
                plan.backward_rows(lane, 0, n, NULL, False, plan.n_threads, NULL)
                plan.spread_gradients(lane, n, plan.levenberg.jacobian, plan.levenberg.ld)
                add_normal(&plan.levenberg, n, first == 0 and output == 0, plan.n_threads)
        first += n
    objective[0] = plan.objective(total, 1)
    return EPOCH_ENDED


cdef Status levenberg_step(Plan plan, Py_ssize_t rows, double deadline,
                           double* objective) noexcept nogil:
    """One step of all rows; ``objective`` is that before it.

    SLICE_ENDED where time ran out after a trial that did not help: nothing is changed then but the
    damping, with which the next call goes on.
    """
    cdef Levenberg* lm = &plan.levenberg
    cdef double* damping = &plan.optimizer_memory[0]
    cdef double* growth = &plan.optimizer_memory[1]
    cdef double after = 0, promised, gain, highest = 0
    cdef real half_l2 = <real> (0.5 * plan.penalties[L2])
    cdef Py_ssize_t i, n = plan.n_params
    cdef int l
    cdef Status status = squares(plan, rows, True, objective)
    if status != EPOCH_ENDED:
        return status
    if not is_finite(objective[0]):
        return DIVERGED
    for l in range(plan.n_layers if half_l2 > 0 else 0):
        for i in range(plan.layers[l].w, plan.layers[l].b):
            lm.normal[i * lm.ld + i] += half_l2
            lm.gradient[i] += half_l2 * plan.params[i]
    if growth[0] == 0:
        for i in range(n):
            highest = max(highest, <double> lm.normal[i * lm.ld + i])
        damping[0], growth[0] = plan.settings[0] * max(highest, 1e-300), 2
    memcpy(lm.before, plan.params, n * sizeof(real))
    # The damping doubles its growth: after some forty trials it is no number any more.
    while True:
        memcpy(lm.factor, lm.normal, n * lm.ld * sizeof(real))
        for i in range(n):
            lm.factor[i * lm.ld + i] += <real> damping[0]
        if factorize(lm, plan.n_threads):
            solve(lm)
            promised = 0
            for i in range(n):
                plan.params[i] = lm.before[i] + lm.step[i]
                promised += lm.step[i] * (damping[0] * lm.step[i] - lm.gradient[i])
            status = squares(plan, rows, False, &after)
            if status != EPOCH_ENDED:
                memcpy(plan.params, lm.before, n * sizeof(real))
                return status
            if after < objective[0]:
                gain = 2 * (objective[0] - after) / promised - 1
                damping[0] *= max(1.0 / 3.0, 1 - gain * gain * gain)
                growth[0] = 2
                break
            memcpy(plan.params, lm.before, n * sizeof(real))
        if not is_finite(damping[0] * growth[0]):
            break
        damping[0] *= growth[0]
        growth[0] *= 2
        if now() > deadline:
            return SLICE_ENDED
    plan.position[STEP] += 1
    return EPOCH_ENDED
