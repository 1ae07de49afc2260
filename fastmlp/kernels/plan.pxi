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

cdef enum:
    # Rows of a chunk. Enough that a share of the gradient is worth adding; where rows are narrow,
    # more, so that a chunk is worth a thread's while.
    CHUNK_OF_WIDE = 128
    CHUNK_OF_NARROW = 256
    NARROW_BYTES = 1024              # of one row through all layers
    # Networks up to this many parameters share out chunks over threads, a slot for each chunk.
    LARGEST_IN_SLOTS = 65536
    CHUNKS_PER_THREAD = 4            # in flight at a time
    WORK_BETWEEN_CLOCKS = 2000000    # multiplications between two looks at the clock


cdef struct WaveJob:
    # A wave of chunks of one minibatch, each for whichever thread is free.
    void* plan
    Py_ssize_t start                 # of the minibatch, in the order of rows
    Py_ssize_t first, rows           # of the wave, in the minibatch
    double scale


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
    cdef Py_ssize_t readable         # elements from params on
    cdef readonly Py_ssize_t chunk_rows
    cdef Py_ssize_t work_per_row     # multiplications
    cdef readonly bint trains
    cdef bint predicts               # forward is what `predict` does: no dropout, running means
    cdef bint frozen                 # only predicts, from panels of its own
    cdef real[::1] params_view
    cdef real* params
    cdef double[::1] buffers_view
    cdef double* buffers
    cdef real* norm_params           # of a frozen plan: gamma and beta of its layers, one after another
    cdef real* folded_memory
    cdef const double[:, ::1] output_view
    cdef const double* output_shift  # (n_out,) each, or NULL: outputs become shift + scale * output
    cdef const double* output_scale
    cdef Dropout input_dropout
    cdef bint drops                  # any dropout at all
    # What is trained with.
    cdef real[::1] grads_view
    cdef real* grads
    cdef real[:, ::1] state_view
    cdef real* state                 # (n_vectors, n_params)
    cdef LossJob loss
    cdef const real[::1] loss_constants
    cdef const double[::1] loss_shares
    cdef double penalties[PENALTIES]
    cdef double penalty_share        # of l1 and l2 in the minibatch's objective
    cdef bint surrounds_step         # with decay or clipping
    cdef bint fuses                  # large layers are updated block by block
    cdef int optimizer
    cdef double settings[MAX_SETTINGS]
    cdef double[::1] memory_view
    cdef double* optimizer_memory    # (2,): what the optimizer keeps beside its vectors
    # Of an optimizer that makes its steps from all rows, else NULL: called by its address, so that
    # the compiler leaves it out of `minibatch`.
    cdef Status (*whole_step)(Plan, Py_ssize_t, double, double*) noexcept nogil
    cdef Levenberg levenberg
    cdef double* block_squares
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
    cdef double[::1] buffers_snapshot_view
    cdef const double[::1] rates_view
    cdef const double* rates         # of the updates from first_step on, or NULL: `lr` for all
    cdef int64_t first_step
    cdef uint64_t seed
    cdef bint shuffle
    cdef Py_ssize_t batch_size
    cdef double lr, target_loss, tol
    cdef int64_t patience
    cdef int n_threads
    # The minibatch under way.
    cdef readonly Py_ssize_t rows_done
    cdef Py_ssize_t rows_held        # a full batch that lies in the first lane since `run` began
    cdef double value, weight_sum
    cdef real* slots
    cdef double* slot_values
    cdef Py_ssize_t* slot_bad
    cdef bint* slot_bad_target
    cdef Py_ssize_t n_slots
    cdef readonly Py_ssize_t bad_row

    def __cinit__(self, const int64_t[:, ::1] layers, const double[:, ::1] constants,
                  real[::1] params, *, double[::1] buffers=None, double input_dropout=0.0,
                  const double[:, ::1] output_scaling=None, real[::1] grads=None, int loss=0,
                  const real[::1] loss_constants=None, const double[::1] loss_shares=None,
                  bint missing=False, bint mean=True, const double[::1] penalties=None,
                  int optimizer=0, const double[::1] settings=None, real[:, ::1] state=None,
                  double[::1] memory=None, bint predicts=False, bint frozen=False,
                  Py_ssize_t readable=0):
        cdef int l
        cdef Py_ssize_t bytes_per_row = 0
        cdef Layer* layer
        cdef bint of_batch = False, large
        self.n_layers = <int> layers.shape[0]
        self.layers = <Layer*> allocate(self.n_layers * sizeof(Layer))
        self.params_view = params
        self.n_params = params.shape[0]
        self.readable = max(readable, self.n_params)
        self.params = &params[0]
        self.buffers_view = buffers
        self.buffers = &buffers[0] if buffers is not None and buffers.shape[0] else NULL
        self.trains = grads is not None
        self.predicts = predicts or not self.trains
        if not self.predicts and input_dropout > 0:
            self.input_dropout = dropout_of(input_dropout)
            self.drops = True
        if output_scaling is not None:
            self.output_view = output_scaling
            self.output_shift, self.output_scale = &output_scaling[0, 0], &output_scaling[1, 0]
        for l in range(self.n_layers):
            layer = &self.layers[l]
            layer.n_in, layer.n_out = layers[l, N_IN], layers[l, N_OUT]
            layer.w, layer.b = layers[l, W_OFFSET], layers[l, B_OFFSET]
            layer.activation = activation_table[layers[l, ACTIVATION]]
            layer.constant = <real> constants[l, CONSTANT]
            layer.normalization = <Normalization> layers[l, NORMALIZATION]
            layer.norm, layer.buffer = layers[l, NORM_OFFSET], layers[l, BUFFER_OFFSET]
            layer.norm_eps, layer.norm_momentum = constants[l, NORM_EPS], constants[l, NORM_MOMENTUM]
            of_batch = of_batch or layer.normalization == BATCH_NORMALIZATION
            if not self.predicts and constants[l, DROPOUT] > 0:
                layer.dropout = dropout_of(constants[l, DROPOUT])
                self.drops = True
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
        if of_batch and not self.predicts:
            # The minibatch's rows meet in every layer: it is one chunk.
            self.chunk_rows = <Py_ssize_t> 1 << 40
        if of_batch and self.predicts:
            self.make_folded()
        if frozen:
            self.freeze()
        if self.trains:
            self.grads_view = grads
            self.grads = &grads[0]
            self.loss_constants = loss_constants
            self.loss_shares = loss_shares
            self.loss = self.loss_job(loss, loss_constants, loss_shares, missing, mean)
            for l in range(PENALTIES):
                self.penalties[l] = penalties[l] if penalties is not None else 0
            self.penalty_share = 1
            self.surrounds_step = self.penalties[WEIGHT_DECAY] > 0 \
                or self.penalties[CLIP_VALUE] > 0 or self.penalties[CLIP_NORM] > 0
            self.fuses = self.penalties[CLIP_VALUE] == 0 and self.penalties[CLIP_NORM] == 0 \
                and optimizer != LEVENBERG_MARQUARDT
            large = False
            for l in range(self.n_layers):
                self.fuses = self.fuses and not self.layers[l].normalization
                large = large or is_fused(&self.layers[l])
            self.fuses = self.fuses and large
            self.block_squares = <double*> allocate(shares(self.n_params, UPDATE_BLOCK)
                                                    * sizeof(double))
            self.optimizer = optimizer
            if optimizer == LEVENBERG_MARQUARDT:
                self.whole_step = levenberg_step
            self.state_view = state
            self.state = &state[0, 0] if state.shape[0] else NULL
            self.memory_view = memory
            self.optimizer_memory = &memory[0] if memory is not None else NULL
            for l in range(<int> settings.shape[0]):
                self.settings[l] = settings[l]

    def set_loss(self, int loss):
        """Train with another form of the loss: of class numbers, or of probabilities."""
        self.loss = self.loss_job(loss, self.loss_constants, self.loss_shares, self.loss.missing,
                                  self.loss.mean)

    cdef LossJob loss_job(self, int loss, const real[::1] constants, const double[::1] shares,
                          bint missing, bint mean):
        cdef LossJob job
        cdef Py_ssize_t n_out = self.layers[self.n_layers - 1].n_out
        job.loss, job.missing, job.mean = loss, missing, mean
        job.mean_over_outputs = shares is None and loss_table[loss].mean_over_outputs
        job.value_share = job.derivative_share = 1.0 / n_out if job.mean_over_outputs else 1.0
        if shares is not None:
            job.value_share, job.derivative_share = shares[0], shares[1]
        job.constants = &constants[0] if constants is not None else NULL
        job.target_cols = 1 if loss_table[loss].of_labels else n_out
        return job

    def __dealloc__(self):
        cdef int i
        for i in range(self.n_lanes):
            free_lane(&self.lanes[i])
        PyMem_RawFree(self.lanes)
        free_lane(&self.whole)
        PyMem_RawFree(self.layers)
        PyMem_RawFree(self.norm_params)
        PyMem_RawFree(self.folded_memory)
        PyMem_RawFree(self.block_squares)
        PyMem_RawFree(self.levenberg.memory)
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
        cdef Py_ssize_t dz_copied = 0, turned
        cdef Py_ssize_t size = rows * self.layers[0].ld_in
        cdef Py_ssize_t n_out = self.layers[n - 1].ld_out
        cdef Layer* layer
        cdef Products* products
        cdef real* memory
        free_lane(lane)
        for l in range(n):
            layer = &self.layers[l]
            size += rows * layer.ld_out * (3 if self.trains else 2)
            if layer.dropout.threshold:
                size += rows * layer.ld_out
            if self.trains and layer.normalization:
                size += rows * layer.ld_out + max(rows, layer.ld_out)
            widest = max(widest, max(layer.n_in, layer.n_out))
            deepest = max(deepest, max(layer.n_in + 1, layer.n_out))
            if self.trains and layer.n_out >= NARROWEST_TO_PACK:
                copied = max(copied, chunk * whole_tiles(layer.n_in + 1))
            turned = min(chunk, min(layer.n_in, layer.n_out) // 2)
            if self.trains and l > 0 and is_turned(turned, layer.n_in, layer.n_out):
                lane.block_size = max(lane.block_size, ROW_BLOCK * row_stride(turned))
                dz_copied = max(dz_copied, layer.n_out * whole_vectors(turned))
            if self.fuses and is_fused(layer):
                lane.block_size = max(lane.block_size, fused_rows(layer.n_out) * layer.n_out)
                if not layer.products.gradient.in_place:
                    dz_copied = max(dz_copied, chunk * whole_vectors(layer.n_out))
        lane.scratch_size = min((widest + NR - 1) // NR, <Py_ssize_t> GROUP_PANELS) * NR \
            * min(deepest, max(<Py_ssize_t> K_BLOCK, chunk))
        size += copied + dz_copied + n_threads * (lane.scratch_size + lane.block_size)
        size += rows * ((self.layers[n - 1].n_out if self.trains else 0) + 1) + 7 * n_out
        lane.a = <real**> allocate((7 * n + 2) * sizeof(void*))
        lane.x = lane.a + n + 1
        lane.z = lane.x + n + 1
        lane.dz = lane.z + n
        lane.normalized = lane.dz + n
        lane.inverse = lane.normalized + n
        lane.keys = <uint64_t**> (lane.inverse + n)
        lane.products = <Products*> allocate(n * sizeof(Products))
        lane.memory = <char*> allocate((size + 16) * sizeof(real))
        if is_listed(self.layers[0].n_in, self.layers[0].n_out) and chunk >= MR:
            lane.lists = <int32_t*> allocate(list_size(chunk, self.layers[0].n_in)
                                             * sizeof(int32_t))
        if self.drops:
            lane.key_memory = <uint64_t*> allocate(n * rows * sizeof(uint64_t))
            for l in range(n):
                lane.keys[l] = lane.key_memory + l * rows
        memory = <real*> ((<Py_ssize_t> lane.memory + 63) // 64 * 64)
        lane.scratch = memory
        memory += n_threads * lane.scratch_size
        lane.a[0] = memory
        lane.x[0] = memory
        memory += rows * self.layers[0].ld_in
        for l in range(n):
            layer = &self.layers[l]
            lane.a[l + 1] = memory
            lane.x[l + 1] = memory
            memory += rows * layer.ld_out
            if layer.dropout.threshold:
                lane.x[l + 1] = memory
                memory += rows * layer.ld_out
            if keep_z or layer.activation.reads_z or l == n - 1:
                lane.z[l] = memory
                memory += rows * layer.ld_out
            if self.trains:
                lane.dz[l] = memory
                memory += rows * layer.ld_out
            if self.trains and layer.normalization:
                lane.normalized[l] = memory
                memory += rows * layer.ld_out
                lane.inverse[l] = memory
                memory += max(rows, layer.ld_out)
        for l in range(n):
            layer = &self.layers[l]
            put_ones(lane.a[l] + layer.n_in, rows, layer.ld_in)
            put_ones(lane.x[l] + layer.n_in, rows, layer.ld_in)
        lane.panels = memory
        memory += copied
        lane.dz_panels = memory
        memory += dz_copied
        lane.blocks = memory
        memory += n_threads * lane.block_size
        lane.targets = memory
        lane.weights = memory + rows * (self.layers[n - 1].n_out if self.trains else 0)
        lane.target = lane.weights + rows
        lane.derivative = lane.target + n_out
        lane.known = lane.derivative + n_out
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

    cdef int make_folded(self) except -1:
        """Room for what batch normalisation is in prediction."""
        cdef int l
        cdef Py_ssize_t size = 0
        for l in range(self.n_layers):
            if self.layers[l].normalization == BATCH_NORMALIZATION:
                size += 2 * self.layers[l].n_out
        self.folded_memory = <real*> allocate(size * sizeof(real))
        size = 0
        for l in range(self.n_layers):
            if self.layers[l].normalization == BATCH_NORMALIZATION:
                self.layers[l].folded = self.folded_memory + size
                size += 2 * self.layers[l].n_out
        return 0

    cdef void fold(self) noexcept nogil:
        """Work out, for this call, what batch normalisation is in prediction."""
        cdef int l
        cdef NormJob job
        for l in range(self.n_layers):
            if self.layers[l].folded != NULL:
                self.describe_norm(l, &job)
                batch_constants(&job, self.layers[l].folded,
                                self.layers[l].folded + self.layers[l].n_out)

    cdef int freeze(self) except -1:
        """Copy the weights into panels for good, and let go of ``params``."""
        cdef int l
        cdef Layer* layer
        cdef Py_ssize_t size = 0
        self.make_panels(self.chunk_rows + 1)
        for l in range(self.n_layers):
            size += 2 * self.layers[l].n_out
        self.norm_params = <real*> allocate(size * sizeof(real))
        with nogil:
            self.pack_forward(self.chunk_rows + 1, 1)
        size = 0
        for l in range(self.n_layers):
            layer = &self.layers[l]
            layer.products.forward.b = NULL
            if layer.normalization:
                memcpy(self.norm_params + size, self.params + layer.norm,
                       2 * layer.n_out * sizeof(real))
                layer.norm = size
                size += 2 * layer.n_out
        self.frozen = True
        self.params_view = None
        self.params = NULL
        return 0

    # ---- the steps, on rows at … at+rows-1 of a lane

    cdef void pack_forward(self, Py_ssize_t rows, int n_threads) noexcept nogil:
        """Copy what the forward products of ``rows`` rows will read again for every chunk."""
        cdef int l
        cdef Layer* layer
        cdef bint again = rows > self.chunk_rows
        if self.frozen:
            return
        if self.folded_memory != NULL:
            self.fold()
        if rows == self.described_rows and not again:
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
        p.b_end = self.params + self.readable
        p.ld_c = layer.ld_out
        p.c_is_padded = True
        p.one_behind = l < self.n_layers - 1
        if not layer.activation.whole_row and not layer.normalization:
            p.forward = layer.activation.forward
        p.constant = layer.constant
        p = &layer.products.gradient
        p.b_is_padded = True
        p.over_rows = True
        if layer.n_out == 1:
            # As a row, dzT [x, 1]: vectors lie along the inputs.
            p.m, p.n = 1, layer.n_in + 1
            p.a_step = layer.ld_out
            p.ld_b = layer.ld_in
            p.in_place = True
            p.ld_c = p.n
        else:
            p.m, p.n = layer.n_in + 1, layer.n_out
            p.a_in_panels = layer.n_out >= NARROWEST_TO_PACK
            p.a_row, p.a_step = 1, layer.ld_in
            p.ld_b = layer.ld_out
            p.in_place = layer.n_out <= WIDEST_IN_PLACE
            p.ld_c = layer.n_out
        if l > 0:
            p = &layer.products.backward
            self.describe_backward(l, p)
            p.constant = self.layers[l - 1].constant
            # With dropout between the two, the activation's derivative waits for it.
            if not self.layers[l - 1].dropout.threshold:
                p.backward = self.layers[l - 1].activation.backward

    cdef void describe_backward(self, int l, Product* p) noexcept nogil:
        """A layer's dx = dz wT, without what the layer below does to it."""
        cdef Layer* layer = &self.layers[l]
        memset(p, 0, sizeof(Product))
        p.n, p.k = layer.n_in, layer.n_out
        p.a_row, p.a_step = layer.ld_out, 1
        p.b = self.params + layer.w
        p.ld_b = layer.n_out
        p.b_transposed = True
        p.b_end = self.params + self.readable
        p.ld_c = layer.ld_in
        p.c_is_padded = True

    cdef void describe_norm(self, int l, NormJob* job) noexcept nogil:
        """What of a layer's normalisation does not depend on the rows."""
        cdef Layer* layer = &self.layers[l]
        memset(job, 0, sizeof(NormJob))
        job.n, job.ld = layer.n_out, layer.ld_out
        job.gamma = (self.norm_params if self.frozen else self.params) + layer.norm
        job.beta = job.gamma + layer.n_out
        job.eps, job.momentum = layer.norm_eps, layer.norm_momentum
        if layer.normalization == BATCH_NORMALIZATION:
            job.running_mean = self.buffers + layer.buffer
            job.running_variance = job.running_mean + layer.n_out

    cdef inline void place(self, Lane* lane, Py_ssize_t at, Py_ssize_t rows) noexcept nogil:
        """Let the lane's products work on its rows at … at+rows-1."""
        if lane.first != at or lane.rows != rows:
            self.place_anew(lane, at, rows)

    cdef void place_anew(self, Lane* lane, Py_ssize_t at, Py_ssize_t rows) noexcept nogil:
        cdef int l
        cdef Layer* layer
        cdef Products* p
        cdef const real* x
        cdef const real* dz
        lane.first, lane.rows = at, rows
        for l in range(self.n_layers):
            layer = &self.layers[l]
            p = &lane.products[l]
            p.forward.m = rows
            p.forward.a = lane.x[l] + at * layer.ld_in
            p.forward.c = lane.a[l + 1] + at * layer.ld_out
            p.forward.z = lane.z[l] + at * layer.ld_out \
                if lane.z[l] != NULL and not layer.normalization else NULL
            if not self.trains:
                continue
            x, dz = p.forward.a, lane.dz[l] + at * layer.ld_out
            p.gradient.k = rows
            p.gradient.a, p.gradient.b = x, dz
            if layer.n_out == 1:
                p.gradient.a, p.gradient.b = dz, x
            elif p.gradient.a_in_panels:
                p.gradient.a = lane.panels
            if l == 0:
                continue
            p.backward.m = rows
            p.backward.a = dz
            p.backward.c = lane.dz[l - 1] + at * layer.ld_in
            p.backward.reads = lane.a[l] + at * layer.ld_in
            if self.layers[l - 1].activation.reads_z:
                p.backward.reads = lane.z[l - 1] + at * layer.ld_in

    cdef void draw_keys(self, Lane* lane, Py_ssize_t at, Py_ssize_t rows, uint64_t seed,
                        uint64_t step) noexcept nogil:
        """For the dropout of a lane's rows in one update."""
        cdef int l
        for l in range(self.n_layers):
            if (self.layers[l - 1].dropout if l > 0 else self.input_dropout).threshold:
                draw_row_keys(seed, step, l, lane.place + at, rows, lane.keys[l] + at)

    cdef void forward_rows(self, Lane* lane, Py_ssize_t at, Py_ssize_t rows, bint keep_scores,
                           int n_threads) noexcept nogil:
        """① a[0] → a[L], and z where the lane has room for it; z[L] only if it is asked for."""
        cdef int l, last = self.n_layers - 1
        cdef Layer* layer
        cdef Product* p
        self.place(lane, at, rows)
        if self.input_dropout.threshold:
            drop_rows(&self.input_dropout, lane.keys[0] + at, lane.products[0].forward.a,
                      lane.x[0] + at * self.layers[0].ld_in, rows, self.layers[0].n_in,
                      self.layers[0].ld_in, n_threads)
        for l in range(self.n_layers):
            layer = &self.layers[l]
            p = &lane.products[l].forward
            p.in_place, p.panels = layer.products.forward.in_place, layer.products.forward.panels
            if l == last:
                p.z = lane.z[l] + at * layer.ld_out if keep_scores else NULL
            if l == 0 and lane.lists != NULL:
                list_steps(p, p.a, p.a_row, lane.lists, n_threads)
            multiply(p, n_threads)
            if layer.normalization:
                self.normalize_rows(lane, l, at, rows, n_threads)
            elif layer.activation.whole_row:
                layer.activation.forward(p.c, rows, layer.n_out, layer.ld_out, layer.constant)
            if layer.dropout.threshold:
                # Its column of ones stands there already.
                drop_rows(&layer.dropout, lane.keys[l + 1] + at, p.c,
                          lane.x[l + 1] + at * layer.ld_out, rows, layer.n_out, layer.ld_out,
                          n_threads)

    cdef void normalize_rows(self, Lane* lane, int l, Py_ssize_t at, Py_ssize_t rows,
                             int n_threads) noexcept nogil:
        """What follows the product in a layer that normalises: y, then its activation.

        z is then what the activation is given: y.
        """
        cdef Layer* layer = &self.layers[l]
        cdef Product* p = &lane.products[l].forward
        cdef real* y = p.c
        cdef NormJob job
        cdef Py_ssize_t i
        if layer.folded != NULL:
            scale_and_shift(y, rows, layer.n_out, layer.ld_out, layer.folded,
                            layer.folded + layer.n_out)
        else:
            self.describe_norm(l, &job)
            job.rows, job.z = rows, y
            if self.trains:
                job.normalized = lane.normalized[l] + at * layer.ld_out
                job.inverse = lane.inverse[l]
                if layer.normalization == LAYER_NORMALIZATION:
                    job.inverse += at
            normalize(layer.normalization, &job, n_threads)
        if lane.z[l] != NULL:
            for i in range(rows):
                memcpy(lane.z[l] + (at + i) * layer.ld_out, y + i * layer.ld_out,
                       layer.n_out * sizeof(real))
        layer.activation.forward(y, rows, layer.n_out, layer.ld_out, layer.constant)
        put_ones(y + layer.n_out, rows, layer.ld_out)

    cdef inline bint keeps_scores(self) noexcept nogil:
        """Whether training reads z[L]: the loss does, or the derivative of the last activation."""
        return loss_table[self.loss.loss].from_scores \
            or self.layers[self.n_layers - 1].activation.reads_z

    cdef double loss_rows(self, Lane* lane, Py_ssize_t at, Py_ssize_t rows,
                          double scale) noexcept nogil:
        """② z[L], targets → dz[L] times ``scale``; returns the weighted sum of the losses."""
        cdef int l = self.n_layers - 1
        cdef Layer* layer = &self.layers[l]
        cdef Py_ssize_t offset = at * layer.ld_out
        cdef LossRows r
        cdef double total
        r.z, r.a, r.dz = lane.z[l] + offset, lane.a[l + 1] + offset, lane.dz[l] + offset
        r.t, r.ld_t = lane.targets + at * self.loss.target_cols, self.loss.target_cols
        r.weights = lane.weights + at if self.row_weights is not None else NULL
        r.constants, r.known = self.loss.constants, lane.known if self.loss.missing else NULL
        r.ld, r.rows, r.n_out, r.scale = layer.ld_out, rows, layer.n_out, scale
        total = losses_of_rows(&self.loss, &r)
        if not loss_table[self.loss.loss].from_scores:
            layer.activation.backward(
                r.z if layer.activation.reads_z else r.a, r.dz, rows, layer.n_out, layer.ld_out,
                layer.constant)
        return total

    cdef void backward_rows(self, Lane* lane, Py_ssize_t at, Py_ssize_t rows, real* grads,
                            bint add, int n_threads, const UpdateJob* update) noexcept nogil:
        """③ dz[L] → the gradient of every layer, written to ``grads`` or added to it.

        Without ``grads`` only dz of every layer. With ``update`` also ④: a layer's parameters have
        been used for the last time when its gradient is made, and ``grads`` need not be whole.
        """
        cdef int l
        cdef Layer* layer
        cdef Layer* below
        cdef Product* p
        self.place(lane, at, rows)
        for l in range(self.n_layers - 1, -1, -1):
            layer = &self.layers[l]
            # dx needs the weights from before the update. Without one dw comes first: the x it has
            # read is what dx's derivative reads again.
            if grads != NULL and update == NULL:
                self.gradient_rows(lane, l, rows, grads, add, n_threads, NULL)
            if l > 0:
                p = &lane.products[l].backward
                p.panels = layer.products.backward.panels
                if p.panels == NULL and is_turned(rows, layer.n_in, layer.n_out):
                    multiply_turned(p, lane.dz_panels, lane.blocks, lane.block_size, n_threads)
                else:
                    multiply(p, n_threads)
                below = &self.layers[l - 1]
                if below.dropout.threshold:
                    drop_rows(&below.dropout, lane.keys[l] + at, p.c, p.c, rows, below.n_out,
                              below.ld_out, n_threads)
                    below.activation.backward(p.reads, p.c, rows, below.n_out, below.ld_out,
                                              below.constant)
                if below.normalization:
                    self.normalize_rows_backward(lane, l - 1, at, rows, grads, add, n_threads)
            if update != NULL:
                self.gradient_rows(lane, l, rows, grads, add, n_threads, update)

    cdef void gradient_rows(self, Lane* lane, int l, Py_ssize_t rows, real* grads, bint add,
                            int n_threads, const UpdateJob* update) noexcept nogil:
        """A layer's [dw; db] and, with ``update``, the update of its parameters."""
        cdef Layer* layer = &self.layers[l]
        cdef Product* p = &lane.products[l].gradient
        cdef FusedJob job
        if p.a_in_panels:
            pack_rows(lane.products[l].forward.a, rows, layer.n_in + 1, layer.ld_in, lane.panels,
                      n_threads)
        if l == 0 and lane.lists != NULL:
            list_steps(p, lane.products[0].forward.a, layer.ld_in, lane.lists, n_threads)
        p.c = grads + layer.w
        p.add = add
        p.panels = NULL
        if update == NULL or not is_fused(layer):
            multiply(p, n_threads)
            if update != NULL:
                use_gradient(update, layer, 0, layer.n_in + 1, p.c)
            return
        if not p.in_place:
            p.panels = lane.dz_panels
        job.gradient, job.update, job.layer = p, update, layer
        job.blocks, job.block_size = lane.blocks, lane.block_size
        multiply_and_update(&job, n_threads)

    cdef void normalize_rows_backward(self, Lane* lane, int l, Py_ssize_t at, Py_ssize_t rows,
                                      real* grads, bint add, int n_threads) noexcept nogil:
        """dz of a layer that normalises, from the derivative by what its activation was given."""
        cdef Layer* layer = &self.layers[l]
        cdef NormJob job
        if layer.folded != NULL:
            scale_columns(lane.dz[l] + at * layer.ld_out, rows, layer.n_out, layer.ld_out,
                          layer.folded)
            return
        self.describe_norm(l, &job)
        job.rows, job.z = rows, lane.dz[l] + at * layer.ld_out
        job.normalized = lane.normalized[l] + at * layer.ld_out
        job.inverse = lane.inverse[l]
        if layer.normalization == LAYER_NORMALIZATION:
            job.inverse += at
        job.dgamma, job.add = grads + layer.norm, add
        job.dbeta = job.dgamma + layer.n_out
        normalize_backward(layer.normalization, &job, n_threads)

    cdef inline bint penalises(self) noexcept nogil:
        """Whether the objective has more than the losses."""
        return self.penalties[L1] > 0 or self.penalties[L2] > 0

    cdef double objective(self, double total, double scale) noexcept nogil:
        """The minibatch's objective from the sum of its losses: mean or sum, and the penalties.

        They are l2 / 2 times the sum of w**2, and l1 times the sum of |w|, times their share.
        """
        cdef int l
        cdef double squares = 0, magnitudes = 0
        cdef rounded value = total * scale
        cdef rounded penalty
        if not self.penalises():
            return value
        for l in range(self.n_layers):
            if self.penalties[L2] > 0:
                squares += sum_of_squares(self.params + self.layers[l].w,
                                          self.layers[l].n_in * self.layers[l].n_out)
            if self.penalties[L1] > 0:
                magnitudes += sum_of_magnitudes(self.params + self.layers[l].w,
                                                self.layers[l].n_in * self.layers[l].n_out)
        penalty = 0.5 * self.penalties[L2] * squares + self.penalties[L1] * magnitudes
        penalty *= self.penalty_share
        return value + penalty

    cdef void add_penalty(self) noexcept nogil:
        """Add the penalties' gradient to ``grads``."""
        cdef int l
        cdef Layer* layer
        for l in range(self.n_layers):
            layer = &self.layers[l]
            penalise(self.grads + layer.w, self.params + layer.w, layer.n_in * layer.n_out,
                     <real> (self.penalties[L1] * self.penalty_share),
                     <real> (self.penalties[L2] * self.penalty_share))

    cdef void update(self, double lr, int64_t step, int n_threads) noexcept nogil:
        """④ clip ``grads``, params ← params - …, shorten; ``step`` counts from 1."""
        cdef UpdateJob job
        cdef Py_ssize_t blocks = shares(self.n_params, UPDATE_BLOCK)
        self.prepare_update(&job, lr, step, n_threads)
        if blocks == 1:
            update_block(&job, 0)
        else:
            parallel_for(n_threads, blocks, update_task, &job)
        if self.penalties[MAX_NORM] > 0:
            self.shorten(&job, n_threads)

    cdef void prepare_update(self, UpdateJob* job, double lr, int64_t step,
                             int n_threads) noexcept nogil:
        """What the update of every parameter has in common."""
        cdef int i
        cdef Optimizer* optimizer = &optimizer_table[self.optimizer]
        optimizer.prepare(self.settings, lr, step, self.optimizer_memory, job.scalars)
        job.update = optimizer.update
        job.params = self.params
        job.grads = self.grads
        job.n = self.n_params
        job.before = NULL
        for i in range(MAX_VECTORS):
            job.vectors[i] = self.state + i * self.n_params if i < optimizer.n_vectors else NULL
        if self.surrounds_step:
            self.prepare_step(job, lr, n_threads)

    cdef void prepare_step(self, UpdateJob* job, double lr, int n_threads) noexcept nogil:
        """Clip ``grads`` by value, and see what comes before the update of each block."""
        cdef double squares = 0, norm
        cdef Py_ssize_t block, blocks = shares(self.n_params, UPDATE_BLOCK)
        job.layers, job.n_layers = self.layers, self.n_layers
        job.kept = <real> (1 - lr * self.penalties[WEIGHT_DECAY])
        job.factor = 1
        if self.penalties[CLIP_VALUE] > 0 or self.penalties[CLIP_NORM] > 0:
            job.cut, job.squares = <real> self.penalties[CLIP_VALUE], self.block_squares
            parallel_for(n_threads, blocks, clip_task, job)
            for block in range(blocks):
                squares += self.block_squares[block]
            norm = libm_sqrt(squares)
            if self.penalties[CLIP_NORM] > 0 and norm > self.penalties[CLIP_NORM]:
                job.factor = <real> (self.penalties[CLIP_NORM] / norm)
        if job.kept != 1 or job.factor != 1:
            job.before = before_update

    cdef void shorten(self, UpdateJob* job, int n_threads) noexcept nogil:
        """Bring every unit's incoming weights to ``max_norm``, where they are longer."""
        cdef Py_ssize_t columns = 0
        cdef int l
        job.layers, job.max_norm = self.layers, self.penalties[MAX_NORM]
        for l in range(self.n_layers):
            columns += shares(self.layers[l].n_out, SHORTENED_COLUMNS)
        parallel_for(n_threads, columns, max_norm_task, job)

    # ---- prediction

    def predict(self, Source x not None, real[:, ::1] out, int n_threads=1):
        """Write the network's output for every row of ``x`` to ``out``; the bad row, or -1."""
        cdef ScoreJob job
        memset(&job, 0, sizeof(ScoreJob))
        job.x = <void*> x
        job.out = &out[0, 0]
        return self.score(&job, x.n_rows, n_threads)[1]

    def evaluate(self, Source x not None, Source y not None, Source weights, real[:, ::1] out,
                 int loss, const real[::1] loss_constants, const double[::1] loss_shares,
                 bint missing, bint mean, int n_threads=1):
        """Outputs as `predict`, and the loss of all rows without penalties: (value, bad row)."""
        cdef ScoreJob job
        cdef double weight_sum
        memset(&job, 0, sizeof(ScoreJob))
        job.x, job.y = <void*> x, <void*> y
        job.loss = self.loss_job(loss, loss_constants, loss_shares, missing, mean)
        job.out = &out[0, 0]
        if weights is not None:
            job.weights = <void*> weights
        total, bad = self.score(&job, x.n_rows, n_threads)
        weight_sum = sum_of_weights(y, weights, NULL, 0, x.n_rows, missing, self.lanes[0].target)
        return (total / weight_sum if mean and weight_sum > 0 else total), bad

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

    def forward(self, Source x not None, real[:, ::1] out, uint64_t seed=0, int64_t step=0,
                int n_threads=1):
        """⓪ and ① for the rows of ``x`` as one minibatch, in training mode; the bad row, or -1."""
        cdef Py_ssize_t n = x.n_rows, at, rows, bad = -1
        self.whole_rows = 0
        self.make_whole(n, n_threads)
        with nogil:
            if x.gather(NULL, 0, n, self.whole.a[0], self.layers[0].ld_in, &bad):
                self.pack_forward(n, n_threads)
                if self.drops:
                    self.draw_keys(&self.whole, 0, n, seed, step)
                at = 0
                while at < n:
                    rows = min(self.chunk_rows, n - at)
                    self.forward_rows(&self.whole, at, rows, True, n_threads)
                    at += rows
                self.outputs(&self.whole, n, &out[0, 0])
        if bad < 0:
            self.whole_rows = n
        return bad

    cdef void outputs(self, Lane* lane, Py_ssize_t rows, real* out) noexcept nogil:
        """The last layer's outputs of a lane's first rows, as the user knows them."""
        cdef Layer* last = &self.layers[self.n_layers - 1]
        copy_out(lane.a[self.n_layers], last.ld_out, rows, last.n_out, out)
        if self.output_shift != NULL:
            unscale(out, rows, last.n_out, self.output_shift, self.output_scale)

    def compute_loss(self, Source y not None, Source weights):
        """② for the minibatch ``forward`` was called with: the objective, or the bad row.

        Returns ``(value, -1)`` or ``(nan, row)``. Penalties are included.
        """
        cdef Py_ssize_t n = self.whole_rows, at, rows, bad = -1
        cdef double total = 0, scale = 1, weight_sum
        self.row_weights = weights
        with nogil:
            if not self.load_targets(y, NULL, 0, n, self.whole.targets, &bad):
                with gil:
                    return float("nan"), bad
            if weights is not None:
                weights.gather(NULL, 0, n, self.whole.weights, 1, &bad)
            weight_sum = sum_of_weights(y, weights, NULL, 0, n, self.loss.missing,
                                        self.whole.target)
            scale = self.scale_of(weight_sum)
            self.share_penalties(weight_sum)
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
                self.backward_rows(&self.whole, at, rows, self.grads, at > 0, n_threads, NULL)
                at += rows
            if self.penalises():
                self.add_penalty()

    def pull_back(self, const real[:, ::1] seeds not None, real[:, ::1] out, int n_threads=1):
        """Derivatives of the outputs by the inputs: ``out`` (n, n_in) = seeds (n, n_out) times them.

        For the minibatch ``forward`` was called with, in the units that inputs and outputs have
        inside the network.
        """
        cdef int l
        cdef Layer* layer
        cdef Layer* last = &self.layers[self.n_layers - 1]
        cdef Product first
        cdef Py_ssize_t n = self.whole_rows, at = 0, rows, i
        cdef real* dz = self.whole.dz[self.n_layers - 1]
        start_workers(n_threads)
        n_threads = min(n_threads, self.whole.n_threads)
        with nogil:
            for i in range(n):
                memcpy(dz + i * last.ld_out, &seeds[i, 0], last.n_out * sizeof(real))
            last.activation.backward(
                self.whole.z[self.n_layers - 1] if last.activation.reads_z
                else self.whole.a[self.n_layers], dz, n, last.n_out, last.ld_out, last.constant)
            self.pack_backward(n_threads)
            while at < n:
                rows = min(self.chunk_rows, n - at)
                self.backward_rows(&self.whole, at, rows, self.grads, at > 0, n_threads, NULL)
                at += rows
            layer = &self.layers[0]
            self.describe_backward(0, &first)
            first.scratch, first.scratch_size = self.whole.scratch, self.whole.scratch_size
            first.m, first.a = n, self.whole.dz[0]
            # x is not needed any more, and its rows are as long as they must be.
            first.c = self.whole.a[0]
            multiply(&first, n_threads)
            copy_out(first.c, layer.ld_in, n, layer.n_in, &out[0, 0])
            put_ones(first.c + layer.n_in, n, layer.ld_in)

    def row_gradients(self, real[:, ::1] out):
        """Each row's own share of the gradient, (n, n_params), after ``backward``."""
        with nogil:
            self.spread_gradients(&self.whole, self.whole_rows, &out[0, 0], out.shape[1])

    def step(self, double lr, int64_t[::1] position not None, double[::1] running not None,
             double objective=0, Py_ssize_t rows=0, int n_threads=1):
        """④: update ``params`` by ``grads``, and count: the update, its rows, and their loss.

        Where training stands changes with the parameters, so that no signal comes between the two.
        """
        cdef rounded share = objective * rows
        start_workers(n_threads)
        with nogil:
            self.update(lr, position[STEP] + 1, n_threads)
            position[STEP] += 1
            position[ROW] += rows
            running[LOSS_SUM] += share

    def read(self, str what, int layer, real[:, ::1] out):
        """Copy ``"x"``, ``"z"``, ``"a"`` or ``"dz"`` of a layer in the last minibatch to ``out``."""
        cdef Py_ssize_t ld = self.layers[layer].ld_in if what == "x" else self.layers[layer].ld_out
        cdef real* source
        cdef Py_ssize_t i, j
        if what == "x":
            source = self.whole.x[layer]
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

    def begin(self, Source x, Source y, Source weights, *, int64_t[::1] order,
              int64_t[::1] position not None, double[::1] running not None,
              real[::1] snapshot not None, double[::1] buffers_snapshot, uint64_t seed,
              bint shuffle, Py_ssize_t batch_size, double lr, double target_loss, double tol,
              int64_t patience, int n_threads):
        """Bind what ``run`` trains on. Nothing is computed yet."""
        cdef Py_ssize_t n = x.n_rows if x is not None else 1
        self.x, self.y, self.row_weights = x, y, weights
        self.order_view = order
        self.order = &order[0] if order is not None else NULL
        self.position_view, self.position = position, &position[0]
        self.running_view, self.running = running, &running[0]
        self.snapshot_view, self.buffers_snapshot_view = snapshot, buffers_snapshot
        self.rates_view, self.rates = None, NULL
        self.seed, self.shuffle = seed, shuffle
        self.batch_size = min(batch_size, n)
        self.lr, self.target_loss, self.tol, self.patience = lr, target_loss, tol, patience
        self.n_threads = n_threads
        self.rows_done = 0
        self.bad_row = -1
        self.make_lanes(n_threads, self.batch_size)
        if self.optimizer == LEVENBERG_MARQUARDT:
            make_levenberg(&self.levenberg, self.n_params, min(self.chunk_rows, self.batch_size),
                           n_threads)
        if self.shares_chunks() and self.n_slots < CHUNKS_PER_THREAD * n_threads:
            self.make_slots(CHUNKS_PER_THREAD * n_threads)
        if self.position[ROW] == 0:
            self.take_snapshot()
        if self.shuffle and self.position[ROW] > 0:
            shuffled_order(self.order, n, seed, <uint64_t> self.position[EPOCH])

    def set_rates(self, const double[::1] rates not None, int64_t first_step):
        """Learning rates of the updates from ``first_step`` on, instead of one for all."""
        self.rates_view, self.rates, self.first_step = rates, &rates[0], first_step

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

    def close_epoch(self, double[::1] losses not None, int64_t first_epoch, Py_ssize_t n_rows):
        """End an epoch of ``n_rows`` rows that was trained step by step; one of ``STATUS``."""
        self.losses_view = losses
        self.first_epoch = first_epoch
        return <int> self.end_epoch(self.running[LOSS_SUM] / n_rows)

    def restore_snapshot(self):
        """Go back to the parameters after the last epoch that was finite."""
        self.restore()

    def abandon(self):
        """Forget the minibatch under way: the parameters are those of the last whole one.

        The arrays that ``begin`` was given are let go of.
        """
        self.rows_done = 0
        self.x = self.y = self.row_weights = None

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

    cdef inline bint shares_chunks(self) noexcept nogil:
        """Whether threads take chunks of the minibatch rather than tiles within a chunk."""
        return (self.n_threads > 1 and self.batch_size > self.chunk_rows
                and self.n_params <= LARGEST_IN_SLOTS)

    cdef inline double scale_of(self, double weight_sum) noexcept nogil:
        """What each row's weight is multiplied by in the objective."""
        if not self.loss.mean:
            return 1
        return 1 / weight_sum if weight_sum > 0 else 0

    cdef inline void share_penalties(self, double weight_sum) noexcept nogil:
        """What of the penalties counts in a minibatch of rows with these weights."""
        self.penalty_share = 1
        if self.penalties[OVER_ROWS] > 0:
            self.penalty_share = 1 / weight_sum if weight_sum > 0 else 0

    cdef bint load_targets(self, Source y, const int64_t* order, Py_ssize_t start, Py_ssize_t rows,
                           real* targets, Py_ssize_t* bad) noexcept nogil:
        """Gather targets; False names a row that is not finite, or no class number.

        The array is the user's, who may have written to it since it was judged: a class number
        outside the outputs must not be used as an index.
        """
        cdef Py_ssize_t i
        cdef Py_ssize_t n_out = self.layers[self.n_layers - 1].n_out
        if not y.gather(order, start, rows, targets, self.loss.target_cols, bad):
            return False
        repeat_targets(targets, rows, y.n_cols, self.loss.target_cols)
        if loss_table[self.loss.loss].of_labels:
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

    cdef void enter(self, Lane* lane, Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
        """A lane's rows are those from ``first`` on of the minibatch under way."""
        if self.drops:
            lane.place = first
            self.draw_keys(lane, 0, rows, self.seed, <uint64_t> self.position[STEP])

    cdef Status chunk(self, Py_ssize_t start, Py_ssize_t first, Py_ssize_t rows, double scale,
                      double* objective) noexcept nogil:
        """⓪–③ for one chunk of the minibatch, straight into ``grads``.

        With ``objective`` it is the last one, and ④ comes with ③.
        """
        cdef Lane* lane = &self.lanes[0]
        cdef bint bad_target
        cdef UpdateJob job
        if self.rows_held != rows:
            if not self.load_rows(lane, start + first, rows, &self.bad_row, &bad_target):
                return BAD_TARGET_ROW if bad_target else BAD_INPUT_ROW
            if self.order == NULL and rows == self.x.n_rows and not self.input_dropout.threshold:
                self.rows_held = rows
        self.enter(lane, first, rows)
        self.forward_rows(lane, 0, rows, self.keeps_scores(), self.n_threads)
        self.value += self.loss_rows(lane, 0, rows, scale)
        if objective == NULL:
            self.backward_rows(lane, 0, rows, self.grads, first > 0, self.n_threads, NULL)
            return SLICE_ENDED
        objective[0] = self.objective(self.value, scale)
        if not is_finite(objective[0]):
            return DIVERGED
        self.prepare_update(&job, self.next_rate(), self.position[STEP] + 1, self.n_threads)
        job.l1 = <real> (self.penalties[L1] * self.penalty_share)
        job.l2 = <real> (self.penalties[L2] * self.penalty_share)
        self.backward_rows(lane, 0, rows, self.grads, first > 0, self.n_threads, &job)
        if self.penalties[MAX_NORM] > 0:
            self.shorten(&job, self.n_threads)
        self.position[STEP] += 1
        return EPOCH_ENDED

    cdef inline double next_rate(self) noexcept nogil:
        """The learning rate of the update to come."""
        if self.rates != NULL:
            self.lr = self.rates[self.position[STEP] - self.first_step]
        return self.lr

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

    cdef void spread_gradients(self, Lane* lane, Py_ssize_t rows, real* out,
                               Py_ssize_t ld) noexcept nogil:
        """Each row's own share of the gradient, from what ``backward_rows`` left in the lane."""
        cdef int l
        cdef Layer* layer
        cdef Py_ssize_t row, i, j
        cdef const real* x
        cdef const real* dz
        cdef real* w
        for row in range(rows):
            for l in range(self.n_layers):
                layer = &self.layers[l]
                x = lane.x[l] + row * layer.ld_in
                dz = lane.dz[l] + row * layer.ld_out
                w = out + row * ld + layer.w
                for i in range(layer.n_in + 1):
                    for j in range(layer.n_out):
                        w[i * layer.n_out + j] = x[i] * dz[j]

    cdef Status minibatch(self, Py_ssize_t start, Py_ssize_t rows, double deadline,
                          double* objective) noexcept nogil:
        """⓪–④ for one minibatch; EPOCH_ENDED when it is whole, SLICE_ENDED when time ran out.

        A minibatch of many chunks may be left between two of them and gone on with later.
        """
        cdef Status status
        cdef bint sharing = self.shares_chunks(), is_last
        cdef Py_ssize_t n, at_once = self.chunk_rows
        cdef double scale
        if self.whole_step != NULL:
            return self.whole_step(self, rows, deadline, objective)
        if sharing:
            at_once *= CHUNKS_PER_THREAD * self.n_threads
        if self.rows_done == 0:
            self.value = 0
            self.weight_sum = rows
            if self.row_weights is not None or self.loss.missing:
                self.weight_sum = sum_of_weights(self.y, self.row_weights, self.order, start, rows,
                                                 self.loss.missing, self.lanes[0].target)
            self.share_penalties(self.weight_sum)
            self.pack_forward(rows, self.n_threads)
            if rows > self.chunk_rows:
                self.pack_backward(self.n_threads)
        scale = self.scale_of(self.weight_sum)
        while self.rows_done < rows:
            n = min(at_once, rows - self.rows_done)
            if sharing:
                status = self.wave(start, self.rows_done, n, scale)
            else:
                is_last = self.rows_done + n == rows
                status = self.chunk(start, self.rows_done, n, scale,
                                    objective if is_last and self.fuses else NULL)
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
        if self.penalises():
            self.add_penalty()
        self.update(self.next_rate(), self.position[STEP] + 1, self.n_threads)
        self.position[STEP] += 1
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
                if self.rates != NULL and \
                        self.position[STEP] - self.first_step >= self.rates_view.shape[0]:
                    return RATES_USED
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
                if self.optimizer == LEVENBERG_MARQUARDT:
                    work += self.n_params * self.n_params * (self.n_params // 3 + rows)
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
        if self.buffers != NULL:
            memcpy(&self.buffers_snapshot_view[0], self.buffers,
                   self.buffers_view.shape[0] * sizeof(double))
        return True

    cdef void restore(self) noexcept nogil:
        """Back to the parameters after the last epoch that was finite."""
        memcpy(self.params, &self.snapshot_view[0], self.n_params * sizeof(real))
        if self.buffers != NULL:
            memcpy(self.buffers, &self.buffers_snapshot_view[0],
                   self.buffers_view.shape[0] * sizeof(double))
        self.position[ROW] = 0
        self.running[LOSS_SUM] = 0


cdef double sum_of_weights(Source y, Source weights, const int64_t* order, Py_ssize_t start,
                           Py_ssize_t n, bint missing, real* row) noexcept nogil:
    """Of rows start … start+n-1 of the order; ``row`` has room for a row's targets.

    ``weights`` may be None for ones. With ``missing``, a row without a known target counts nothing.
    """
    cdef Py_ssize_t i, bad
    cdef real weight = 1
    cdef double total = 0
    if weights is None and not missing:
        return <double> n
    for i in range(start, start + n):
        if missing:
            y.gather(order, i, 1, row, y.n_cols, &bad)
            if not any_known(row, y.n_cols):
                continue
        if weights is not None:
            weights.gather(order, i, 1, &weight, 1, &bad)
        total += weight
    return total


cdef void repeat_targets(real* targets, Py_ssize_t rows, Py_ssize_t given,
                         Py_ssize_t wanted) noexcept nogil:
    """Rows of ``given`` targets, ``wanted`` elements apart: each stands for several outputs."""
    cdef Py_ssize_t i, j, times = wanted // given
    if times == 1:
        return
    for i in range(rows):
        for j in range(wanted - 1, -1, -1):
            targets[j] = targets[j // times]
        targets += wanted


cdef void unscale(real* out, Py_ssize_t rows, Py_ssize_t n_out, const double* shift,
                  const double* scale) noexcept nogil:
    """Outputs for standardised targets become outputs for the targets themselves."""
    cdef Py_ssize_t i, j
    for i in range(rows):
        for j in range(n_out):
            out[j] = <real> (shift[j] + scale[j] * out[j])
        out += n_out


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
    plan.enter(lane, first, rows)
    plan.forward_rows(lane, 0, rows, plan.keeps_scores(), 1)
    plan.slot_values[task] = plan.loss_rows(lane, 0, rows, job.scale)
    plan.backward_rows(lane, 0, rows, plan.slots + task * plan.n_params, False, 1, NULL)
