# Threads, all in this file: a pool of our own.
#
# A job is a function and a number of tasks. Whoever is free takes the next task: the caller too,
# so a job never waits for a worker that the operating system has not woken. Which thread runs a
# task never changes a result, because every task writes a place of its own.
#
#     ticket    threads allowed << 32 | tasks not yet taken     the one word everybody races for
#     done      tasks finished; the job ends when it equals n_tasks
#
# A task is taken by a compare-and-swap of the ticket. A thread that has taken one keeps the job
# alive, so `run`, `context` and `n_tasks` may be read only after that. Workers spin for a moment
# when there is nothing to do, then sleep on a lock of their own until they are woken.
#
# A worker that another process drives from its processor in the middle of a task keeps the caller
# waiting, for milliseconds where the job takes microseconds. After such a wait the caller works
# alone for ten times as long: beside a busy process two threads then take little longer than one.

cdef extern from "pythread.h":
    ctypedef void* PyThread_type_lock
    unsigned long PyThread_start_new_thread(void (*run)(void*) noexcept nogil, void*)
    PyThread_type_lock PyThread_allocate_lock()
    int PyThread_acquire_lock(PyThread_type_lock, int wait) noexcept nogil
    void PyThread_release_lock(PyThread_type_lock) noexcept nogil

cdef extern from *:
    """
    #if defined(__x86_64__) || defined(__i386__)
    #define fastmlp_pause() __builtin_ia32_pause()
    #else
    #define fastmlp_pause() ((void) 0)
    #endif
    #ifdef _WIN32
    #define fastmlp_yield() SwitchToThread()
    #else
    #include <sched.h>
    #define fastmlp_yield() sched_yield()
    #endif
    #define fastmlp_load(p) __atomic_load_n(p, __ATOMIC_SEQ_CST)
    #define fastmlp_store(p, v) __atomic_store_n(p, v, __ATOMIC_SEQ_CST)
    #define fastmlp_add(p, v) __atomic_add_fetch(p, v, __ATOMIC_SEQ_CST)
    #define fastmlp_exchange(p, v) __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
    #define fastmlp_swap_if(p, old, new) \\
        __atomic_compare_exchange_n(p, old, new, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
    """
    void pause "fastmlp_pause"() noexcept nogil
    void yield_cpu "fastmlp_yield"() noexcept nogil
    uint64_t atomic_load "fastmlp_load"(uint64_t*) noexcept nogil
    void atomic_store "fastmlp_store"(uint64_t*, uint64_t) noexcept nogil
    uint64_t atomic_add "fastmlp_add"(uint64_t*, uint64_t) noexcept nogil
    uint64_t atomic_exchange "fastmlp_exchange"(uint64_t*, uint64_t) noexcept nogil
    bint atomic_swap_if "fastmlp_swap_if"(uint64_t*, uint64_t*, uint64_t) noexcept nogil

ctypedef void (*task_function)(void* context, Py_ssize_t task, int thread) noexcept nogil

cdef enum:
    MAX_THREADS = 64
    SPINS_BEFORE_SLEEP = 8000      # a few tens of microseconds: longer than a serial stretch of a step
    SPINS_BEFORE_YIELD = 2000
    MAX_TASKS = 0x7FFFFFFF         # what the ticket can count
    # A wait for the others is too long beyond so many of the caller's own tasks and nanoseconds.
    TASKS_WAITED_FOR = 2
    NANOSECONDS_WAITED = 5000
    TIMES_ALONE = 10

cdef struct Worker:
    PyThread_type_lock alarm       # held while the worker sleeps
    uint64_t asleep
    uint64_t tasks                 # run so far, for the tests that prove that workers ran
    char apart[104]                # to a cache line (and its neighbour) of its own

cdef struct Pool:
    uint64_t ticket
    char apart1[120]
    uint64_t done
    char apart2[120]
    uint64_t busy                  # one job at a time: a second caller works alone
    uint64_t alone_until           # on the clock, in nanoseconds; 0 for not
    int n_workers                  # threads started, the caller not counted
    Py_ssize_t n_tasks
    task_function run
    void* context
    Worker workers[MAX_THREADS]    # [0] is whoever calls

cdef Pool pool
memset(&pool, 0, sizeof(Pool))


cdef inline bint take_task(int thread) noexcept nogil:
    """Run one task of the current job; False where none is left for this thread."""
    cdef uint64_t ticket = atomic_load(&pool.ticket)
    while <uint32_t> ticket != 0 and thread < <int> (ticket >> 32):
        if atomic_swap_if(&pool.ticket, &ticket, ticket - 1):
            pool.run(pool.context, pool.n_tasks - <uint32_t> ticket, thread)
            pool.workers[thread].tasks += 1
            atomic_add(&pool.done, 1)
            return True
    return False


cdef void worker_main(void* argument) noexcept nogil:
    cdef int thread = <int> <Py_ssize_t> argument
    cdef Worker* me = &pool.workers[thread]
    cdef int spins = 0
    while True:
        if take_task(thread):
            spins = 0
            continue
        spins += 1
        if spins < SPINS_BEFORE_SLEEP:
            pause()
            continue
        spins = 0
        atomic_store(&me.asleep, 1)
        # A job published before this line is seen here; one published after it sees us asleep.
        if take_task(thread):
            if atomic_exchange(&me.asleep, 0) == 0:
                PyThread_acquire_lock(me.alarm, 1)    # already woken: take the ring off
            continue
        PyThread_acquire_lock(me.alarm, 1)


cdef void start_workers(int n_threads) noexcept:
    """Start threads until ``n_threads`` can work, the caller among them; needs the GIL."""
    cdef Worker* worker
    while pool.n_workers + 1 < min(n_threads, MAX_THREADS):
        worker = &pool.workers[pool.n_workers + 1]
        worker.asleep = 0
        worker.tasks = 0
        worker.alarm = PyThread_allocate_lock()
        if worker.alarm == NULL:
            return
        PyThread_acquire_lock(worker.alarm, 1)
        if PyThread_start_new_thread(worker_main, <void*> <Py_ssize_t> (pool.n_workers + 1)) \
                == <unsigned long> -1:
            return
        pool.n_workers += 1


cdef inline Py_ssize_t shares(Py_ssize_t n, Py_ssize_t size) noexcept nogil:
    """Tasks of ``size`` that make ``n``."""
    return (n + size - 1) // size


cdef inline uint64_t nanoseconds() noexcept nogil:
    return <uint64_t> (1e9 * now())


cdef inline bint is_alone() noexcept nogil:
    """Whether the caller had to wait too long a moment ago."""
    cdef uint64_t until = atomic_load(&pool.alone_until)
    if until == 0:
        return False
    if nanoseconds() < until:
        return True
    atomic_store(&pool.alone_until, 0)
    return False


cdef void parallel_for(int n_threads, Py_ssize_t n_tasks, task_function run,
                       void* context) noexcept nogil:
    """Run tasks 0 … n_tasks-1, on at most ``n_threads`` threads; return when all are done."""
    cdef Py_ssize_t task
    cdef uint64_t began, own_ended, waited, own_tasks
    cdef int thread, spins = 0
    if n_threads > pool.n_workers + 1:
        n_threads = pool.n_workers + 1
    if n_threads > n_tasks:
        n_threads = <int> n_tasks
    if n_threads <= 1 or n_tasks > <Py_ssize_t> MAX_TASKS or is_alone() \
            or atomic_exchange(&pool.busy, 1):
        for task in range(n_tasks):
            run(context, task, 0)
        return
    began = nanoseconds()
    own_tasks = pool.workers[0].tasks
    pool.run = run
    pool.context = context
    pool.n_tasks = n_tasks
    atomic_store(&pool.done, 0)
    atomic_store(&pool.ticket, (<uint64_t> n_threads << 32) | <uint64_t> n_tasks)
    for thread in range(1, n_threads):
        if atomic_exchange(&pool.workers[thread].asleep, 0):
            PyThread_release_lock(pool.workers[thread].alarm)
    while take_task(0):
        pass
    if atomic_load(&pool.done) != <uint64_t> n_tasks:
        own_ended = nanoseconds()
        while atomic_load(&pool.done) != <uint64_t> n_tasks:
            spins += 1
            if spins < SPINS_BEFORE_YIELD:
                pause()
            else:
                yield_cpu()
        own_tasks = max(pool.workers[0].tasks - own_tasks, <uint64_t> 1)
        waited = nanoseconds() - own_ended
        if waited > NANOSECONDS_WAITED + TASKS_WAITED_FOR * (own_ended - began) // own_tasks:
            atomic_store(&pool.alone_until, own_ended + (1 + TIMES_ALONE) * waited)
    atomic_store(&pool.busy, 0)


def forget_workers():
    """Start anew with no workers: for a forked child, in which the parent's do not exist."""
    memset(&pool, 0, sizeof(Pool))


def tasks_per_thread():
    """How many tasks each thread of the pool has run so far, the calling thread first."""
    return [pool.workers[thread].tasks for thread in range(pool.n_workers + 1)]
