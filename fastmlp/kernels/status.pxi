# Where training stands, why it came back, and the clock.

from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef enum:
    # Where training stands, as Trainer keeps it: indices into `position` and `running`.
    EPOCH, ROW, STEP, STALE, POSITIONS
    LOSS_SUM = 0
    BEST_LOSS = 1
    RUNNINGS = 2

cdef enum Status:
    # Why `run` came back.
    SLICE_ENDED, RATES_USED, EPOCH_ENDED, EPOCHS_DONE, TARGET_REACHED, CONVERGED, DIVERGED
    BAD_INPUT_ROW, BAD_TARGET_ROW

STATUS = {"slice": SLICE_ENDED, "rates": RATES_USED, "epoch": EPOCH_ENDED, "epochs": EPOCHS_DONE,
          "target_loss": TARGET_REACHED, "converged": CONVERGED, "diverged": DIVERGED,
          "bad_input": BAD_INPUT_ROW, "bad_target": BAD_TARGET_ROW}


cdef inline double now() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <double> time.tv_sec + 1e-9 * <double> time.tv_nsec
