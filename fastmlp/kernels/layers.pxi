# A layer as the kernels know it, and a lane: room for some rows on their way through all layers.

cdef enum:
    # Columns of the table of layers; gamma and, behind it, beta start at NORM_OFFSET in params, the
    # running means and, behind them, variances at BUFFER_OFFSET in buffers.
    N_IN, N_OUT, W_OFFSET, B_OFFSET, ACTIVATION, NORMALIZATION, NORM_OFFSET, BUFFER_OFFSET

cdef enum:
    # Columns of the table of the layers' constants.
    CONSTANT, DROPOUT, NORM_EPS, NORM_MOMENTUM

cdef struct Products:
    Product forward                  # z = [x, 1] [w; b]
    Product backward                 # dx = dz wT
    Product gradient                 # [dw; db] = [x, 1]T dz

cdef struct Layer:
    Py_ssize_t n_in, n_out
    Py_ssize_t w, b                  # where they start in params
    Activation activation
    real constant                    # the activation's
    Normalization normalization
    Py_ssize_t norm, buffer          # where gamma and beta, and the running means, start
    double norm_eps, norm_momentum
    real* folded                     # batch, in prediction: scale and shift, (2, n_out)
    Dropout dropout                  # of the output
    Py_ssize_t ld_in, ld_out         # from one row to the next of the layer's input and output
    real* panels                     # room for w and wT in panels, for all chunks of a minibatch
    real* transposed
    Products products                # what of them does not depend on the rows

cdef struct Lane:
    # Rows of a minibatch on their way: row i of layer l's output is a[l + 1] + i * ld_out.
    Py_ssize_t capacity
    char* memory
    uint64_t* key_memory
    real** a                         # a[0] is the input
    real** x                         # the layers' inputs: a, or where there is dropout a with the mask
    real** z                         # NULL where not kept
    real** dz
    real** normalized                # and the inverse roots: of the layers that normalise
    real** inverse
    uint64_t** keys                  # of rows, for the dropout of a[l]
    Py_ssize_t place                 # of its first row in the minibatch
    Products* products               # of each layer, on the rows of the last `place`
    Py_ssize_t first, rows
    real* targets
    real* weights
    real* panels                     # of one chunk's x, for a wide dw
    real* dz_panels                  # and of its dz, where the update follows block by block
    int32_t* lists                   # of the steps that zeros in x leave, or NULL: see zeros.pxi
    real* blocks                     # of gradients: block_size elements for each thread
    Py_ssize_t block_size
    real* scratch                    # for the products: scratch_size elements for each thread
    Py_ssize_t scratch_size
    int n_threads
    real* target                     # of one row, and a derivative that nobody reads: evaluation
    real* derivative
    real* known                      # of one row: see LossRows


cdef void free_lane(Lane* lane) noexcept:
    PyMem_RawFree(lane.memory)
    PyMem_RawFree(lane.key_memory)
    PyMem_RawFree(lane.a)
    PyMem_RawFree(lane.products)
    PyMem_RawFree(lane.lists)
    memset(lane, 0, sizeof(Lane))
