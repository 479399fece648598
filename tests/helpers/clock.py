"""A wall clock that jumps, for the processes of a test alone.

A library loaded before all others moves what they read as the time of day. The monotonic clock,
file times, and waits that have begun stay as they are; a wait with a time of day as its end, which
the kernel compares with the real one, is moved back.
"""

import mmap
import struct
from pathlib import Path

from helpers.shared_library import compile_library

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static const volatile long *jumped;

__attribute__((constructor)) static void start(void) {
    int file = open(getenv("TEST_CLOCK"), O_RDONLY);
    jumped = mmap(0, sizeof *jumped, PROT_READ, MAP_SHARED, file, 0);
    if (jumped == MAP_FAILED) abort();
}

static int real(clockid_t clock, struct timespec *now) {
    static int (*next)(clockid_t, struct timespec *);
    if (!next) next = dlsym(RTLD_NEXT, "clock_gettime");
    return next(clock, now);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = real(clock, now);
    if (!failed && jumped && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *jumped;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    int failed = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *place) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (place) *place = exact.tv_sec;
    return exact.tv_sec;
}

/* Without a jump, or by the monotonic clock, whose times are small, it is the same. */
static struct timespec moved(const struct timespec *end) {
    struct timespec result = *end;
    if (jumped && end->tv_sec > 1000000000) result.tv_sec -= *jumped;
    return result;
}

int pthread_cond_timedwait(
    pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *end) {
    static int (*next)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!next) next = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    struct timespec at = moved(end);
    return next(condition, mutex, &at);
}

int sem_timedwait(sem_t *semaphore, const struct timespec *end) {
    static int (*next)(sem_t *, const struct timespec *);
    if (!next) next = dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec at = moved(end);
    return next(semaphore, &at);
}
"""


class Clock:
    """A clock, right until it jumps; processes with its `environment` go by it."""

    def __init__(self, folder: Path) -> None:
        file = folder / "jumped"
        file.write_bytes(bytes(8))
        with file.open("r+b") as stream:
            self._jumped = mmap.mmap(stream.fileno(), 8)
        library = compile_library(folder / "clock.so", _SOURCE)
        self.environment = {"LD_PRELOAD": str(library), "TEST_CLOCK": str(file)}

    def set(self, seconds: int) -> None:
        """Let the clock be wrong by so many seconds from now on."""
        self._jumped[:] = struct.pack("q", seconds)
