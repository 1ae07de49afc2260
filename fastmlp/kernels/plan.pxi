# Plan: one network with every scratch buffer it needs, its steps, and `run`.
#
# A minibatch is cut into chunks of rows. Each chunk goes forward and back through all layers in a
# lane (one set of activations) before the next one enters it; a chunk's share of the gradient is
# summed apart and the shares are added in the order of the chunks. So the bits depend on the chunk
# size, which the network alone decides, and on nothing else:
#
#     small networks   threads take chunks, each its own lane and a slot for the share
#     large networks   threads take tiles of the products within a chunk
#     step by step     the same chunks in one lane that holds the whole minibatch

from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef enum:
    # Columns of the table of layers.
    N_IN, N_OUT, W_OFFSET, B_OFFSET, ACTIVATION, LAYER_FIELDS

cdef enum:
    # Rows of a chunk. Enough that a share of the gradient is worth adding; where rows are narrow,
    # more, so that a chunk is worth a thread's while.
    CHUNK_OF_WIDE = 128
    CHUNK_OF_NARROW = 256
    NARROW_BYTES = 1024              # of one row through all layers
    # Networks up to this many parameters share out chunks over threads, a slot for each chunk.
    LARGEST_IN_SLOTS = 65536
    CHUNKS_PER_THREAD = 4            # in flight at a time
    UPDATE_BLOCK = 16384             # parameters one task of a step takes
    WORK_BETWEEN_CLOCKS = 2000000    # multiplications between two looks at the clock

cdef enum:
    # Where training stands, as Trainer keeps it: indices into `position` and `running`.
    EPOCH, ROW, STEP, STALE, POSITIONS
    LOSS_SUM = 0
    BEST_LOSS = 1
    RUNNINGS = 2

cdef enum Status:
    # Why `run` came back.
    SLICE_ENDED, EPOCH_ENDED, EPOCHS_DONE, TARGET_REACHED, CONVERGED, DIVERGED, BAD_INPUT_ROW
    BAD_TARGET_ROW

STATUS = {"slice": SLICE_ENDED, "epoch": EPOCH_ENDED, "epochs": EPOCHS_DONE,
          "target_loss": TARGET_REACHED, "converged": CONVERGED, "diverged": DIVERGED,
          "bad_input": BAD_INPUT_ROW, "bad_target": BAD_TARGET_ROW}


cdef inline double now() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <double> time.tv_sec + 1e-9 * <double> time.tv_nsec


cdef inline bint is_finite(double x) noexcept nogil:
    return x - x == 0


cdef struct Products:
    Product forward                  # z = [x, 1] [w; b]
    Product backward                 # dx = dz wT
    Product gradient                 # [dw; db] = [x, 1]T dz

cdef struct Layer:
    Py_ssize_t n_in, n_out
    Py_ssize_t w, b                  # where they start in params
    Activation activation
    Py_ssize_t ld_in, ld_out         # from one row to the next of the layer's input and output
    real* panels                     # room for w and wT in panels, for all chunks of a minibatch
    real* transposed
    Products products                # what of them does not depend on the rows

cdef struct Lane:
    # Rows of a minibatch on their way: row i of layer l's output is a[l + 1] + i * ld_out.
    Py_ssize_t capacity
    char* memory
    real** a                         # a[0] is the input
    real** z                         # NULL where not kept
    real** dz
    Products* products               # of each layer, on the rows of the last `place`
    Py_ssize_t first, rows
    real* targets
    real* weights
    real* panels                     # of one chunk's x, for a wide dw
    real* scratch                    # for the products: scratch_size elements for each thread
    Py_ssize_t scratch_size
    int n_threads
    real* target                     # of one row, and a derivative that nobody reads: evaluation
    real* derivative


cdef struct UpdateJob:
    update_function update
    real* params
    const real* grads
    real* vectors[MAX_VECTORS]
    real scalars[MAX_SETTINGS]
    Py_ssize_t n


cdef void update_task(void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const UpdateJob* job = <const UpdateJob*> context
    cdef Py_ssize_t first = task * UPDATE_BLOCK
    cdef real* vectors[MAX_VECTORS]
    cdef int i
    for i in range(MAX_VECTORS):
        vectors[i] = job.vectors[i] + first if job.vectors[i] != NULL else NULL
    job.update(job.params + first, job.grads + first, vectors, job.scalars,
               min(<Py_ssize_t> UPDATE_BLOCK, job.n - first))


cdef struct WaveJob:
    # A wave of chunks of one minibatch, each for whichever thread is free.
    void* plan
    Py_ssize_t start                 # of the minibatch, in the order of rows
    Py_ssize_t first, rows           # of the wave, in the minibatch
    double scale


cdef struct ScoreJob:
    # All rows of an array, in chunks, for prediction and for evaluation.
    void* plan
    void* x
    void* y                          # NULL: outputs only
    void* weights                    # or NULL
    int loss
    Py_ssize_t n
    real* out                        # (n, n_out)
    Py_ssize_t* bad                  # one per chunk: a row that is not finite, or -1
    double* values                   # one per chunk: the sum of the losses


cdef inline Py_ssize_t row_stride(Py_ssize_t n) noexcept nogil:
    """Elements between rows of a matrix of ours: whole vectors, and never a multiple of 1 KB.

    Rows a power of two apart would share a few cache sets.
    """
    cdef Py_ssize_t ld = whole_vectors(n)
    if ld * sizeof(real) % 1024 == 0:
        ld += 64 // sizeof(real)
    return ld


cdef void* allocate(Py_ssize_t size) except NULL:
    cdef void* memory = PyMem_RawCalloc(max(size, 1), 1)
    if memory == NULL:
        raise MemoryError(f"cannot allocate {size} bytes of scratch memory")
    return memory


cdef class Plan:
    """One network, its scratch buffers, and the steps of learning. See ``__init__.pyi``."""

    cdef int n_layers
    cdef Layer* layers
    cdef char* panel_memory
    cdef Lane* lanes                 # one per thread, a chunk of rows each
    cdef int n_lanes
    cdef Lane whole                  # a whole minibatch, for the steps called one by one
    cdef Py_ssize_t whole_rows       # rows in it
    cdef Py_ssize_t described_rows   # for which `pack_forward` was last called
    cdef readonly Py_ssize_t n_params
    cdef readonly Py_ssize_t chunk_rows
    cdef Py_ssize_t work_per_row     # multiplications
    cdef readonly bint trains
    cdef bint frozen                 # only predicts, from panels of its own
    cdef real[::1] params_view
    cdef real* params
    # What is trained with.
    cdef real[::1] grads_view
    cdef real* grads
    cdef real[:, ::1] state_view
    cdef int loss
    cdef bint mean                   # the objective is a mean over rows, not a sum
    cdef double l2
    cdef int optimizer
    cdef double settings[MAX_SETTINGS]
    cdef Py_ssize_t target_cols
    # What `begin` was given.
    cdef Source x, y, row_weights
    cdef int64_t[::1] order_view
    cdef int64_t* order
    cdef int64_t[::1] position_view
    cdef int64_t* position
    cdef double[::1] running_view
    cdef double* running
    cdef double[::1] losses_view
    cdef Py_ssize_t first_epoch
    cdef real[::1] snapshot_view
    cdef uint64_t seed
    cdef bint shuffle
    cdef Py_ssize_t batch_size
    cdef double lr, target_loss, tol
    cdef int64_t patience
    cdef int n_threads
    # The minibatch under way.
    cdef Py_ssize_t rows_done
    cdef Py_ssize_t rows_held        # a full batch that lies in the first lane since `run` began
    cdef double value, weight_sum
    cdef real* slots
    cdef double* slot_values
    cdef Py_ssize_t* slot_bad
    cdef bint* slot_bad_target
    cdef Py_ssize_t n_slots
    cdef readonly Py_ssize_t bad_row

    def __cinit__(self, const int64_t[:, ::1] layers, real[::1] params, *, real[::1] grads=None,
                  int loss=0, bint mean=True, double l2=0.0, int optimizer=0,
                  const double[::1] settings=None, real[:, ::1] state=None, bint frozen=False):
        cdef int l
        cdef Py_ssize_t bytes_per_row = 0
        cdef Layer* layer
        self.n_layers = <int> layers.shape[0]
        self.layers = <Layer*> allocate(self.n_layers * sizeof(Layer))
        self.params_view = params
        self.n_params = params.shape[0]
        self.params = &params[0]
        self.trains = grads is not None
        for l in range(self.n_layers):
            layer = &self.layers[l]
            layer.n_in, layer.n_out = layers[l, N_IN], layers[l, N_OUT]
            layer.w, layer.b = layers[l, W_OFFSET], layers[l, B_OFFSET]
            layer.activation = activation_table[layers[l, ACTIVATION]]
            if layer.b != layer.w + layer.n_in * layer.n_out:
                raise ValueError(f"layers: b of layer {l} does not follow w in params")
            # An input has a column of ones behind its last, for the bias.
            layer.ld_in = row_stride(layer.n_in + 1)
            layer.ld_out = row_stride(layer.n_out + (l < self.n_layers - 1))
            self.work_per_row += layer.n_in * layer.n_out
            bytes_per_row += 2 * (layer.n_in + layer.n_out) * sizeof(real)
        for l in range(self.n_layers):
            self.describe_products(l)
        self.chunk_rows = CHUNK_OF_NARROW if bytes_per_row <= NARROW_BYTES else CHUNK_OF_WIDE
        if frozen:
            self.freeze()
        if self.trains:
            self.grads_view = grads
            self.grads = &grads[0]
            self.loss = loss
            self.mean = mean
            self.l2 = l2
            self.optimizer = optimizer
            self.state_view = state
            for l in range(<int> settings.shape[0]):
                self.settings[l] = settings[l]
            self.target_cols = 1 if loss_table[loss].of_labels else layers[self.n_layers - 1, N_OUT]

    def __dealloc__(self):
        cdef int i
        for i in range(self.n_lanes):
            free_lane(&self.lanes[i])
        PyMem_RawFree(self.lanes)
        free_lane(&self.whole)
        PyMem_RawFree(self.layers)
        PyMem_RawFree(self.panel_memory)
        PyMem_RawFree(self.slots)
        PyMem_RawFree(self.slot_values)
        PyMem_RawFree(self.slot_bad)
        PyMem_RawFree(self.slot_bad_target)

    # ---- memory

    cdef int make_lane(self, Lane* lane, Py_ssize_t rows, bint keep_z, int n_threads) except -1:
        """Room for ``rows`` rows on their way through all layers, worked on by ``n_threads``."""
        cdef int l, n = self.n_layers
        cdef Py_ssize_t chunk = min(rows, self.chunk_rows)
        cdef Py_ssize_t widest = 0, deepest = chunk, copied = 0, i
        cdef Py_ssize_t size = rows * self.layers[0].ld_in
        cdef Layer* layer
        cdef Products* products
        cdef real* memory
        free_lane(lane)
        for l in range(n):
            layer = &self.layers[l]
            size += rows * layer.ld_out * (3 if self.trains else 2)
            widest = max(widest, max(layer.n_in, layer.n_out))
            deepest = max(deepest, max(layer.n_in + 1, layer.n_out))
            if self.trains and layer.n_out >= NARROWEST_TO_PACK:
                copied = max(copied, chunk * whole_tiles(layer.n_in + 1))
        lane.scratch_size = min((widest + NR - 1) // NR, <Py_ssize_t> GROUP_PANELS) * NR \
            * min(deepest, max(<Py_ssize_t> K_BLOCK, self.chunk_rows))
        size += copied + n_threads * lane.scratch_size
        size += rows * (self.target_cols + 1) + 2 * self.layers[n - 1].ld_out
        lane.a = <real**> allocate((3 * n + 1) * sizeof(void*))
        lane.z = lane.a + n + 1
        lane.dz = lane.z + n
        lane.products = <Products*> allocate(n * sizeof(Products))
        lane.memory = <char*> allocate((size + 16) * sizeof(real))
        memory = <real*> ((<Py_ssize_t> lane.memory + 63) // 64 * 64)
        lane.scratch = memory
        memory += n_threads * lane.scratch_size
        lane.a[0] = memory
        memory += rows * self.layers[0].ld_in
        for l in range(n):
            layer = &self.layers[l]
            lane.a[l + 1] = memory
            memory += rows * layer.ld_out
            if keep_z or layer.activation.reads_z or l == n - 1:
                lane.z[l] = memory
                memory += rows * layer.ld_out
            if self.trains:
                lane.dz[l] = memory
                memory += rows * layer.ld_out
        for l in range(n):
            layer = &self.layers[l]
            for i in range(rows):
                lane.a[l][i * layer.ld_in + layer.n_in] = 1
        lane.panels = memory
        memory += copied
        lane.targets = memory
        lane.weights = memory + rows * self.target_cols
        lane.target = lane.weights + rows
        lane.derivative = lane.target + self.layers[n - 1].ld_out
        for l in range(n):
            products = &lane.products[l]
            products[0] = self.layers[l].products
            products.forward.scratch = lane.scratch
            products.forward.scratch_size = lane.scratch_size
            products.backward.scratch = lane.scratch
            products.backward.scratch_size = lane.scratch_size
            products.gradient.scratch = lane.scratch
            products.gradient.scratch_size = lane.scratch_size
        lane.capacity = rows
        lane.n_threads = n_threads
        return 0

    cdef int make_lanes(self, int n_threads, Py_ssize_t rows) except -1:
        """A lane for each thread that can have a chunk of ``rows`` rows to itself."""
        cdef Lane* lanes
        cdef Py_ssize_t chunks = (rows + self.chunk_rows - 1) // self.chunk_rows
        cdef int wanted = <int> max(1, min(min(n_threads, MAX_THREADS), chunks))
        cdef int i, sharing
        start_workers(n_threads)
        self.make_panels(rows)
        if wanted > self.n_lanes:
            lanes = <Lane*> allocate(wanted * sizeof(Lane))
            if self.n_lanes:
                memcpy(lanes, self.lanes, self.n_lanes * sizeof(Lane))
            PyMem_RawFree(self.lanes)
            self.lanes = lanes
            self.n_lanes = wanted
        rows = min(rows, self.chunk_rows)
        for i in range(wanted):
            # All threads may meet in the first one; the others are one thread's each.
            sharing = n_threads if i == 0 else 1
            if self.lanes[i].capacity < rows or self.lanes[i].n_threads < sharing:
                self.make_lane(&self.lanes[i], rows, False, sharing)
        return 0

    cdef int make_whole(self, Py_ssize_t rows, int n_threads) except -1:
        """The lane of the steps called one by one."""
        start_workers(n_threads)
        self.make_panels(rows)
        if self.whole.capacity < rows or self.whole.n_threads < n_threads:
            self.make_lane(&self.whole, rows, True, n_threads)
        return 0

    cdef int make_panels(self, Py_ssize_t rows) except -1:
        """Room for all weights in panels, if a minibatch of ``rows`` rows reads them repeatedly."""
        cdef int l
        cdef Layer* layer
        cdef Py_ssize_t size = 0
        cdef real* memory
        if rows <= self.chunk_rows or self.panel_memory != NULL:
            return 0
        for l in range(self.n_layers):
            layer = &self.layers[l]
            size += (layer.n_in + 1) * whole_vectors(layer.n_out)
            if self.trains and l > 0:
                size += layer.n_out * whole_vectors(layer.n_in)
        self.panel_memory = <char*> allocate((size + 16) * sizeof(real))
        memory = <real*> ((<Py_ssize_t> self.panel_memory + 63) // 64 * 64)
        for l in range(self.n_layers):
            layer = &self.layers[l]
            layer.panels = memory
            memory += (layer.n_in + 1) * whole_vectors(layer.n_out)
            if self.trains and l > 0:
                layer.transposed = memory
                memory += layer.n_out * whole_vectors(layer.n_in)
        return 0

    cdef int freeze(self) except -1:
        """Copy the weights into panels for good, and let go of ``params``."""
        cdef int l
        self.make_panels(self.chunk_rows + 1)
        with nogil:
            self.pack_forward(self.chunk_rows + 1, 1)
        self.frozen = True
        self.params_view = None
        self.params = NULL
        for l in range(self.n_layers):
            self.layers[l].products.forward.b = NULL
        return 0

    # ---- the steps, on rows at … at+rows-1 of a lane

    cdef void pack_forward(self, Py_ssize_t rows, int n_threads) noexcept nogil:
        """Copy what the forward products of ``rows`` rows will read again for every chunk."""
        cdef int l
        cdef Layer* layer
        cdef bint again = rows > self.chunk_rows
        if self.frozen or rows == self.described_rows and not again:
            return
        self.described_rows = rows
        for l in range(self.n_layers):
            layer = &self.layers[l]
            layer.products.forward.in_place = \
                layer.n_out <= WIDEST_IN_PLACE or rows < FEWEST_ROWS_TO_PACK
            layer.products.forward.panels = layer.panels if again else NULL
            layer.products.backward.panels = layer.transposed if again else NULL
            if again:
                pack_all(&layer.products.forward, n_threads)

    cdef void pack_backward(self, int n_threads) noexcept nogil:
        """The same for the backward products of the rows ``pack_forward`` was called for."""
        cdef int l
        for l in range(1, self.n_layers):
            if self.layers[l].products.backward.panels != NULL:
                pack_all(&self.layers[l].products.backward, n_threads)

    cdef void describe_products(self, int l) noexcept nogil:
        """What of a layer's three products does not depend on the rows."""
        cdef Layer* layer = &self.layers[l]
        cdef Product* p = &layer.products.forward
        p.n, p.k = layer.n_out, layer.n_in + 1
        p.a_row, p.a_step = layer.ld_in, 1
        p.b = self.params + layer.w
        p.ld_b = layer.n_out
        p.b_is_padded = layer.n_out % VW == 0
        p.b_end = self.params + self.n_params
        p.ld_c = layer.ld_out
        p.c_is_padded = True
        p.one_behind = l < self.n_layers - 1
        if not layer.activation.whole_row:
            p.forward = layer.activation.forward
        p = &layer.products.gradient
        p.m, p.n = layer.n_in + 1, layer.n_out
        p.a_in_panels = layer.n_out >= NARROWEST_TO_PACK
        p.a_row, p.a_step = 1, layer.ld_in
        p.ld_b = layer.ld_out
        p.b_is_padded = True
        p.in_place = layer.n_out <= WIDEST_IN_PLACE
        p.ld_c = layer.n_out
        p.over_rows = True
        if l > 0:
            p = &layer.products.backward
            p.n, p.k = layer.n_in, layer.n_out
            p.a_row, p.a_step = layer.ld_out, 1
            p.b = self.params + layer.w
            p.ld_b = layer.n_out
            p.b_transposed = True
            p.b_end = self.params + self.n_params
            p.ld_c = layer.ld_in
            p.c_is_padded = True
            p.backward = self.layers[l - 1].activation.backward

    cdef void place(self, Lane* lane, Py_ssize_t at, Py_ssize_t rows) noexcept nogil:
        """Let the lane's products work on its rows at … at+rows-1."""
        cdef int l
        cdef Layer* layer
        cdef Products* p
        if lane.first == at and lane.rows == rows:
            return
        lane.first, lane.rows = at, rows
        for l in range(self.n_layers):
            layer = &self.layers[l]
            p = &lane.products[l]
            p.forward.m = rows
            p.forward.a = lane.a[l] + at * layer.ld_in
            p.forward.c = lane.a[l + 1] + at * layer.ld_out
            p.forward.z = lane.z[l] + at * layer.ld_out if lane.z[l] != NULL else NULL
            if not self.trains:
                continue
            p.gradient.k = rows
            p.gradient.a = p.forward.a
            if p.gradient.a_in_panels:
                p.gradient.a = lane.panels
            p.gradient.b = lane.dz[l] + at * layer.ld_out
            if l == 0:
                continue
            p.backward.m = rows
            p.backward.a = p.gradient.b
            p.backward.c = lane.dz[l - 1] + at * layer.ld_in
            p.backward.reads = lane.a[l] + at * layer.ld_in
            if self.layers[l - 1].activation.reads_z:
                p.backward.reads = lane.z[l - 1] + at * layer.ld_in

    cdef void forward_rows(self, Lane* lane, Py_ssize_t at, Py_ssize_t rows, bint keep_scores,
                           int n_threads) noexcept nogil:
        """① a[0] → a[L], and z where the lane has room for it; z[L] only if it is asked for."""
        cdef int l, last = self.n_layers - 1
        cdef Layer* layer
        cdef Product* p
        self.place(lane, at, rows)
        for l in range(self.n_layers):
            layer = &self.layers[l]
            p = &lane.products[l].forward
            p.in_place, p.panels = layer.products.forward.in_place, layer.products.forward.panels
            if l == last:
                p.z = lane.z[l] + at * layer.ld_out if keep_scores else NULL
            multiply(p, n_threads)
            if layer.activation.whole_row:
                layer.activation.forward(p.c, rows, layer.n_out, layer.ld_out)

    cdef bint keeps_scores(self) noexcept nogil:
        """Whether training reads z[L]: the loss does, or the derivative of the last activation."""
        return loss_table[self.loss].from_scores \
            or self.layers[self.n_layers - 1].activation.reads_z

    cdef double loss_rows(self, Lane* lane, Py_ssize_t at, Py_ssize_t rows,
                          double scale) noexcept nogil:
        """② z[L], targets → dz[L] times ``scale``; returns the weighted sum of the losses."""
        cdef int l = self.n_layers - 1
        cdef Layer* layer = &self.layers[l]
        cdef Py_ssize_t offset = at * layer.ld_out
        cdef double total = losses_of_rows(
            self.loss, lane.z[l] + offset, lane.a[l + 1] + offset,
            lane.targets + at * self.target_cols, self.target_cols,
            lane.weights + at if self.row_weights is not None else NULL, scale,
            lane.dz[l] + offset, rows, layer.n_out, layer.ld_out)
        if not loss_table[self.loss].from_scores:
            layer.activation.backward(
                (lane.z[l] if layer.activation.reads_z else lane.a[l + 1]) + offset,
                lane.dz[l] + offset, rows, layer.n_out, layer.ld_out)
        return total

    cdef void backward_rows(self, Lane* lane, Py_ssize_t at, Py_ssize_t rows, real* grads,
                            bint add, int n_threads) noexcept nogil:
        """③ dz[L] → dw, db of every layer, written to ``grads`` or added to it."""
        cdef int l
        cdef Layer* layer
        cdef Product* p
        self.place(lane, at, rows)
        for l in range(self.n_layers - 1, -1, -1):
            layer = &self.layers[l]
            p = &lane.products[l].gradient
            if p.a_in_panels:
                pack_rows(lane.products[l].forward.a, rows, layer.n_in + 1, layer.ld_in,
                          lane.panels, n_threads)
            p.c = grads + layer.w
            p.add = add
            multiply(p, n_threads)
            if l > 0:
                p = &lane.products[l].backward
                p.panels = layer.products.backward.panels
                multiply(p, n_threads)

    cdef double objective(self, double total, double scale) noexcept nogil:
        """The minibatch's objective from the sum of its losses: mean or sum, and l2 / 2 · ‖W‖²."""
        cdef int l
        cdef double squares = 0
        cdef rounded value = total * scale
        cdef rounded penalty
        if self.l2 == 0:
            return value
        for l in range(self.n_layers):
            squares += sum_of_squares(self.params + self.layers[l].w,
                                      self.layers[l].n_in * self.layers[l].n_out)
        penalty = 0.5 * self.l2 * squares
        return value + penalty

    cdef void add_penalty(self) noexcept nogil:
        """Add the penalty's gradient to ``grads``."""
        cdef int l
        cdef Py_ssize_t i
        cdef real* w
        cdef real* g
        cdef real factor = <real> self.l2
        if self.l2 == 0:
            return
        for l in range(self.n_layers):
            w = self.params + self.layers[l].w
            g = self.grads + self.layers[l].w
            for i in range(self.layers[l].n_in * self.layers[l].n_out):
                g[i] += factor * w[i]

    cdef void update(self, double lr, int64_t step, int n_threads) noexcept nogil:
        """④ params ← params - …; ``step`` counts from 1."""
        cdef UpdateJob job
        cdef int i
        cdef Optimizer* optimizer = &optimizer_table[self.optimizer]
        optimizer.prepare(self.settings, lr, step, job.scalars)
        job.update = optimizer.update
        job.params = self.params
        job.grads = self.grads
        job.n = self.n_params
        for i in range(MAX_VECTORS):
            job.vectors[i] = &self.state_view[i, 0] if i < optimizer.n_vectors else NULL
        parallel_for(n_threads, (self.n_params + UPDATE_BLOCK - 1) // UPDATE_BLOCK, update_task,
                     &job)

    # ---- prediction

    def predict(self, Source x not None, real[:, ::1] out, int n_threads=1):
        """Write the network's output for every row of ``x`` to ``out``; the bad row, or -1."""
        cdef ScoreJob job
        memset(&job, 0, sizeof(ScoreJob))
        job.x = <void*> x
        job.out = &out[0, 0]
        return self.score(&job, x.n_rows, n_threads)[1]

    def evaluate(self, Source x not None, Source y not None, Source weights, real[:, ::1] out,
                 int loss, bint mean, int n_threads=1):
        """Outputs as `predict`, and the loss of all rows without penalties: (value, bad row)."""
        cdef ScoreJob job
        cdef double weight_sum
        memset(&job, 0, sizeof(ScoreJob))
        job.x, job.y, job.loss = <void*> x, <void*> y, loss
        job.out = &out[0, 0]
        weight_sum = x.n_rows
        if weights is not None:
            job.weights = <void*> weights
            weight_sum = sum_of_weights(weights, NULL, 0, x.n_rows)
        total, bad = self.score(&job, x.n_rows, n_threads)
        return (total / weight_sum if mean else total), bad

    cdef tuple score(self, ScoreJob* job, Py_ssize_t n, int n_threads):
        """Forward all rows; the sum of their losses where targets are given, and the bad row."""
        cdef Py_ssize_t chunks = (n + self.chunk_rows - 1) // self.chunk_rows
        cdef Py_ssize_t i, bad = -1
        cdef double total = 0
        self.make_lanes(n_threads, n)
        job.plan, job.n = <void*> self, n
        if chunks == 1:
            job.bad, job.values = &bad, &total
            with nogil:
                self.pack_forward(n, n_threads)
                score_rows(job, 0, &self.lanes[0], n_threads)
            return total, bad
        job.bad = <Py_ssize_t*> allocate(chunks * (sizeof(Py_ssize_t) + sizeof(double)))
        job.values = <double*> (job.bad + chunks)
        with nogil:
            self.pack_forward(n, n_threads)
            parallel_for(n_threads, chunks, score_task, job)
            for i in range(chunks):
                if bad < 0:
                    bad = job.bad[i]
                total += job.values[i]
        PyMem_RawFree(job.bad)
        return total, bad

    # ---- the steps, called one by one

    def forward(self, Source x not None, real[:, ::1] out, int n_threads=1):
        """⓪ and ① for the rows of ``x`` as one minibatch; the bad row, or -1."""
        cdef Py_ssize_t n = x.n_rows, at, rows, bad = -1
        self.whole_rows = 0
        self.make_whole(n, n_threads)
        with nogil:
            if x.gather(NULL, 0, n, self.whole.a[0], self.layers[0].ld_in, &bad):
                self.pack_forward(n, n_threads)
                at = 0
                while at < n:
                    rows = min(self.chunk_rows, n - at)
                    self.forward_rows(&self.whole, at, rows, True, n_threads)
                    at += rows
                copy_out(self.whole.a[self.n_layers], self.layers[self.n_layers - 1].ld_out, n,
                         self.layers[self.n_layers - 1].n_out, &out[0, 0])
        if bad < 0:
            self.whole_rows = n
        return bad

    def compute_loss(self, Source y not None, Source weights):
        """② for the minibatch ``forward`` was called with: the objective, or the bad row.

        Returns ``(value, -1)`` or ``(nan, row)``. Penalties are included.
        """
        cdef Py_ssize_t n = self.whole_rows, at, rows, bad = -1
        cdef double total = 0, scale = 1, weight_sum = n
        self.row_weights = weights
        with nogil:
            if not self.load_targets(y, NULL, 0, n, self.whole.targets, &bad):
                with gil:
                    return float("nan"), bad
            if weights is not None:
                weights.gather(NULL, 0, n, self.whole.weights, 1, &bad)
                weight_sum = sum_of_weights(weights, NULL, 0, n)
            scale = self.scale_of(weight_sum)
            at = 0
            while at < n:
                rows = min(self.chunk_rows, n - at)
                total += self.loss_rows(&self.whole, at, rows, scale)
                at += rows
            total = self.objective(total, scale)
        return total, -1

    def backward(self, int n_threads=1):
        """③: overwrite ``grads`` with the gradient of the objective ``compute_loss`` returned."""
        cdef Py_ssize_t n = self.whole_rows, at = 0, rows
        start_workers(n_threads)
        n_threads = min(n_threads, self.whole.n_threads)
        with nogil:
            self.pack_backward(n_threads)
            while at < n:
                rows = min(self.chunk_rows, n - at)
                self.backward_rows(&self.whole, at, rows, self.grads, at > 0, n_threads)
                at += rows
            self.add_penalty()

    def step(self, double lr, int64_t step, int n_threads=1):
        """④: update ``params`` by ``grads``; ``step`` counts the updates from 1."""
        start_workers(n_threads)
        with nogil:
            self.update(lr, step, n_threads)

    def read(self, str what, int layer, real[:, ::1] out):
        """Copy ``"x"``, ``"z"``, ``"a"`` or ``"dz"`` of a layer in the last minibatch to ``out``."""
        cdef Py_ssize_t ld = self.layers[layer].ld_in if what == "x" else self.layers[layer].ld_out
        cdef real* source
        cdef Py_ssize_t i, j
        if what == "x":
            source = self.whole.a[layer]
        elif what == "a":
            source = self.whole.a[layer + 1]
        elif what == "z":
            source = self.whole.z[layer]
        else:
            source = self.whole.dz[layer]
        for i in range(self.whole_rows):
            for j in range(out.shape[1]):
                out[i, j] = source[i * ld + j]

    # ---- whole trainings

    def begin(self, Source x not None, Source y not None, Source weights, *,
              int64_t[::1] order, int64_t[::1] position not None, double[::1] running not None,
              real[::1] snapshot not None, uint64_t seed, bint shuffle, Py_ssize_t batch_size,
              double lr, double target_loss, double tol, int64_t patience, int n_threads):
        """Bind what ``run`` trains on. Nothing is computed yet."""
        cdef Py_ssize_t n = x.n_rows
        self.x, self.y, self.row_weights = x, y, weights
        self.order_view = order
        self.order = &order[0] if order is not None else NULL
        self.position_view, self.position = position, &position[0]
        self.running_view, self.running = running, &running[0]
        self.snapshot_view = snapshot
        self.seed, self.shuffle = seed, shuffle
        self.batch_size = min(batch_size, n)
        self.lr, self.target_loss, self.tol, self.patience = lr, target_loss, tol, patience
        self.n_threads = n_threads
        self.rows_done = 0
        self.bad_row = -1
        self.make_lanes(n_threads, self.batch_size)
        if self.shares_chunks() and self.n_slots < CHUNKS_PER_THREAD * n_threads:
            self.make_slots(CHUNKS_PER_THREAD * n_threads)
        memcpy(&self.snapshot_view[0], self.params, self.n_params * sizeof(real))
        if self.shuffle and self.position[ROW] > 0:
            shuffled_order(self.order, n, seed, <uint64_t> self.position[EPOCH])

    def run(self, double[::1] losses not None, int64_t first_epoch, int64_t until_epoch,
            bint listen, double seconds):
        """Train until epoch ``until_epoch`` begins, ``seconds`` have passed, or a reason to stop.

        Epoch ``e``'s loss goes to ``losses[e - first_epoch]``. With ``listen`` it comes back after
        each epoch. Returns one of ``STATUS``.
        """
        cdef Status status
        self.losses_view = losses
        self.first_epoch = first_epoch
        self.rows_held = 0
        until_epoch = min(until_epoch, first_epoch + losses.shape[0])
        with nogil:
            status = self.train(until_epoch, listen, now() + seconds)
        return <int> status

    def close_epoch(self, double[::1] losses not None, int64_t first_epoch):
        """End an epoch whose minibatches were trained step by step; one of ``STATUS``."""
        self.losses_view = losses
        self.first_epoch = first_epoch
        return <int> self.end_epoch(self.running[LOSS_SUM] / self.x.n_rows)

    def restore_snapshot(self):
        """Go back to the parameters after the last epoch that was finite."""
        self.restore()

    def abandon(self):
        """Forget the minibatch under way: the parameters are those of the last whole one."""
        self.rows_done = 0

    cdef int make_slots(self, Py_ssize_t n) except -1:
        PyMem_RawFree(self.slots)
        PyMem_RawFree(self.slot_values)
        PyMem_RawFree(self.slot_bad)
        PyMem_RawFree(self.slot_bad_target)
        self.slots = NULL
        self.slot_values = NULL
        self.slot_bad = NULL
        self.slot_bad_target = NULL
        self.n_slots = 0
        self.slots = <real*> allocate(n * self.n_params * sizeof(real))
        self.slot_values = <double*> allocate(n * sizeof(double))
        self.slot_bad = <Py_ssize_t*> allocate(n * sizeof(Py_ssize_t))
        self.slot_bad_target = <bint*> allocate(n * sizeof(bint))
        self.n_slots = n
        return 0

    cdef bint shares_chunks(self) noexcept nogil:
        """Whether threads take chunks of the minibatch rather than tiles within a chunk."""
        return (self.n_threads > 1 and self.batch_size > self.chunk_rows
                and self.n_params <= LARGEST_IN_SLOTS)

    cdef inline double scale_of(self, double weight_sum) noexcept nogil:
        """What each row's weight is multiplied by in the objective."""
        if not self.mean:
            return 1
        return 1 / weight_sum if weight_sum > 0 else 0

    cdef bint load_targets(self, Source y, const int64_t* order, Py_ssize_t start, Py_ssize_t rows,
                           real* targets, Py_ssize_t* bad) noexcept nogil:
        """Gather targets; False names a row that is not finite, or no class number.

        The array is the user's, who may have written to it since it was judged: a class number
        outside the outputs must not be used as an index.
        """
        cdef Py_ssize_t i
        cdef Py_ssize_t n_out = self.layers[self.n_layers - 1].n_out
        if not y.gather(order, start, rows, targets, self.target_cols, bad):
            return False
        if loss_table[self.loss].of_labels:
            for i in range(rows):
                if not (targets[i] >= 0 and targets[i] < n_out):
                    bad[0] = start + i if order == NULL else order[start + i]
                    return False
        return True

    cdef bint load_rows(self, Lane* lane, Py_ssize_t start, Py_ssize_t rows, Py_ssize_t* bad,
                        bint* bad_target) noexcept nogil:
        """⓪ rows start … of the epoch's order into a lane; False names a row that is not finite."""
        bad[0] = -1
        bad_target[0] = False
        if not self.x.gather(self.order, start, rows, lane.a[0], self.layers[0].ld_in, bad):
            return False
        if not self.load_targets(self.y, self.order, start, rows, lane.targets, bad):
            bad_target[0] = True
            return False
        if self.row_weights is not None:
            self.row_weights.gather(self.order, start, rows, lane.weights, 1, bad)
        return True

    cdef Status chunk(self, Py_ssize_t start, Py_ssize_t first, Py_ssize_t rows,
                      double scale) noexcept nogil:
        """⓪–③ for one chunk of the minibatch, straight into ``grads``."""
        cdef Lane* lane = &self.lanes[0]
        cdef bint bad_target
        if self.rows_held != rows:
            if not self.load_rows(lane, start + first, rows, &self.bad_row, &bad_target):
                return BAD_TARGET_ROW if bad_target else BAD_INPUT_ROW
            if self.order == NULL and rows == self.x.n_rows:
                self.rows_held = rows
        self.forward_rows(lane, 0, rows, self.keeps_scores(), self.n_threads)
        self.value += self.loss_rows(lane, 0, rows, scale)
        self.backward_rows(lane, 0, rows, self.grads, first > 0, self.n_threads)
        return SLICE_ENDED

    cdef Status wave(self, Py_ssize_t start, Py_ssize_t first, Py_ssize_t rows,
                     double scale) noexcept nogil:
        """⓪–③ for several chunks at once; their shares are added in the order of the chunks."""
        cdef WaveJob job
        cdef Py_ssize_t chunks = (rows + self.chunk_rows - 1) // self.chunk_rows
        cdef Py_ssize_t i, j
        cdef real* share
        job.plan, job.start, job.first, job.rows, job.scale = <void*> self, start, first, rows, scale
        parallel_for(self.n_threads, chunks, wave_task, &job)
        for i in range(chunks):
            if self.slot_bad[i] >= 0:
                self.bad_row = self.slot_bad[i]
                return BAD_TARGET_ROW if self.slot_bad_target[i] else BAD_INPUT_ROW
            self.value += self.slot_values[i]
            share = self.slots + i * self.n_params
            if first == 0 and i == 0:
                memcpy(self.grads, share, self.n_params * sizeof(real))
            else:
                for j in range(self.n_params):
                    self.grads[j] += share[j]
        return SLICE_ENDED

    cdef Status minibatch(self, Py_ssize_t start, Py_ssize_t rows, double deadline,
                          double* objective) noexcept nogil:
        """⓪–④ for one minibatch; EPOCH_ENDED when it is whole, SLICE_ENDED when time ran out.

        A minibatch of many chunks may be left between two of them and gone on with later.
        """
        cdef Status status
        cdef bint sharing = self.shares_chunks()
        cdef Py_ssize_t n, at_once = self.chunk_rows
        cdef double scale
        if sharing:
            at_once *= CHUNKS_PER_THREAD * self.n_threads
        if self.rows_done == 0:
            self.value = 0
            self.weight_sum = rows if self.row_weights is None else \
                sum_of_weights(self.row_weights, self.order, start, rows)
            self.pack_forward(rows, self.n_threads)
            self.pack_backward(self.n_threads)
        scale = self.scale_of(self.weight_sum)
        while self.rows_done < rows:
            n = min(at_once, rows - self.rows_done)
            if sharing:
                status = self.wave(start, self.rows_done, n, scale)
            else:
                status = self.chunk(start, self.rows_done, n, scale)
            if status != SLICE_ENDED:
                self.rows_done = 0
                return status
            self.rows_done += n
            if self.rows_done < rows and now() > deadline:
                return SLICE_ENDED
        self.rows_done = 0
        objective[0] = self.objective(self.value, scale)
        if not is_finite(objective[0]):
            return DIVERGED
        self.add_penalty()
        self.position[STEP] += 1
        self.update(self.lr, self.position[STEP], self.n_threads)
        return EPOCH_ENDED

    cdef Status train(self, int64_t until_epoch, bint listen, double deadline) noexcept nogil:
        cdef Status status
        cdef Py_ssize_t n = self.x.n_rows, rows
        cdef Py_ssize_t work = 0
        cdef double objective = 0
        cdef rounded share
        while self.position[EPOCH] < until_epoch:
            if self.shuffle and self.position[ROW] == 0 and self.rows_done == 0:
                shuffled_order(self.order, n, self.seed, <uint64_t> self.position[EPOCH])
            while self.position[ROW] < n:
                rows = min(self.batch_size, n - self.position[ROW])
                status = self.minibatch(self.position[ROW], rows, deadline, &objective)
                if status == DIVERGED:
                    self.restore()
                if status != EPOCH_ENDED:
                    return status
                share = objective * rows
                self.running[LOSS_SUM] += share
                self.position[ROW] += rows
                # The clock costs as much as a tiny network's minibatch: look when it may be time.
                work += rows * self.work_per_row + 4096
                if work > WORK_BETWEEN_CLOCKS:
                    work = 0
                    if self.position[ROW] < n and now() > deadline:
                        return SLICE_ENDED
            status = self.end_epoch(self.running[LOSS_SUM] / n)
            if status != EPOCH_ENDED or listen:
                return status
            if work == 0 and now() > deadline:
                return SLICE_ENDED
        return EPOCHS_DONE

    cdef Status end_epoch(self, double loss) noexcept nogil:
        """Write the epoch's loss down and see whether it was the last."""
        if not self.take_snapshot():
            self.restore()
            return DIVERGED
        if 0 <= self.position[EPOCH] - self.first_epoch < self.losses_view.shape[0]:
            self.losses_view[self.position[EPOCH] - self.first_epoch] = loss
        self.position[EPOCH] += 1
        self.position[ROW] = 0
        self.running[LOSS_SUM] = 0
        if loss < self.running[BEST_LOSS] - self.tol:
            self.position[STALE] = 0
        else:
            self.position[STALE] += 1
        if loss < self.running[BEST_LOSS]:
            self.running[BEST_LOSS] = loss
        if loss <= self.target_loss:
            return TARGET_REACHED
        if self.patience > 0 and self.position[STALE] >= self.patience:
            return CONVERGED
        return EPOCH_ENDED

    cdef bint take_snapshot(self) noexcept nogil:
        """Copy ``params``; False, and no copy that counts, if one is not finite."""
        if not is_finite_row(self.params, self.n_params):
            return False
        memcpy(&self.snapshot_view[0], self.params, self.n_params * sizeof(real))
        return True

    cdef void restore(self) noexcept nogil:
        """Back to the parameters after the last epoch that was finite."""
        memcpy(self.params, &self.snapshot_view[0], self.n_params * sizeof(real))
        self.position[ROW] = 0
        self.running[LOSS_SUM] = 0


cdef void free_lane(Lane* lane) noexcept:
    PyMem_RawFree(lane.memory)
    PyMem_RawFree(lane.a)
    PyMem_RawFree(lane.products)
    memset(lane, 0, sizeof(Lane))


cdef double sum_of_weights(Source weights, const int64_t* order, Py_ssize_t start,
                           Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i, bad
    cdef real weight
    cdef double total = 0
    for i in range(start, start + n):
        weights.gather(order, i, 1, &weight, 1, &bad)
        total += weight
    return total


# A job carries its plan and its sources as plain pointers: they outlive it, and no thread of the
# pool may touch a reference count. The cast back happens in a call, which borrows.

cdef void wave_task(void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef WaveJob* job = <WaveJob*> context
    wave_chunk(<Plan> job.plan, job, task, thread)


cdef void wave_chunk(Plan plan, WaveJob* job, Py_ssize_t task, int thread) noexcept nogil:
    cdef Lane* lane = &plan.lanes[thread]
    cdef Py_ssize_t first = job.first + task * plan.chunk_rows
    cdef Py_ssize_t rows = min(plan.chunk_rows, job.first + job.rows - first)
    if not plan.load_rows(lane, job.start + first, rows, &plan.slot_bad[task],
                          &plan.slot_bad_target[task]):
        return
    plan.forward_rows(lane, 0, rows, plan.keeps_scores(), 1)
    plan.slot_values[task] = plan.loss_rows(lane, 0, rows, job.scale)
    plan.backward_rows(lane, 0, rows, plan.slots + task * plan.n_params, False, 1)


cdef void score_task(void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef ScoreJob* job = <ScoreJob*> context
    score_rows(job, task, &(<Plan> job.plan).lanes[thread], 1)


cdef void score_rows(ScoreJob* job, Py_ssize_t task, Lane* lane, int n_threads) noexcept nogil:
    """⓪ and ① for one chunk; with targets also the losses, row by row."""
    score_chunk(<Plan> job.plan, <Source> job.x, job, task, lane, n_threads)
    if job.y != NULL and job.bad[task] < 0:
        score_losses(<Plan> job.plan, <Source> job.y, job, task, lane)


cdef void score_chunk(Plan plan, Source x, ScoreJob* job, Py_ssize_t task, Lane* lane,
                      int n_threads) noexcept nogil:
    cdef Layer* last = &plan.layers[plan.n_layers - 1]
    cdef Py_ssize_t first = task * plan.chunk_rows
    cdef Py_ssize_t rows = min(plan.chunk_rows, job.n - first)
    job.bad[task] = -1
    if not x.gather(NULL, first, rows, lane.a[0], plan.layers[0].ld_in, &job.bad[task]):
        return
    plan.forward_rows(lane, 0, rows, job.y != NULL and loss_table[job.loss].from_scores, n_threads)
    copy_out(lane.a[plan.n_layers], last.ld_out, rows, last.n_out, job.out + first * last.n_out)


cdef void score_losses(Plan plan, Source y, ScoreJob* job, Py_ssize_t task,
                       Lane* lane) noexcept nogil:
    """The chunk's losses, a row at a time."""
    cdef Layer* last = &plan.layers[plan.n_layers - 1]
    cdef Py_ssize_t first = task * plan.chunk_rows
    cdef Py_ssize_t rows = min(plan.chunk_rows, job.n - first)
    cdef Py_ssize_t i, bad
    cdef real weight = 1
    for i in range(rows):
        y.gather(NULL, first + i, 1, lane.target, y.n_cols, &bad)
        if job.weights != NULL:
            weight_of(<Source> job.weights, first + i, &weight)
        job.values[task] += losses_of_rows(
            job.loss, lane.z[plan.n_layers - 1] + i * last.ld_out,
            lane.a[plan.n_layers] + i * last.ld_out, lane.target, y.n_cols, &weight, 1,
            lane.derivative, 1, last.n_out, last.ld_out)


cdef void weight_of(Source weights, Py_ssize_t row, real* weight) noexcept nogil:
    cdef Py_ssize_t bad
    weights.gather(NULL, row, 1, weight, 1, &bad)
