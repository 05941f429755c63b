/* The system's clock, CLOCK_AHEAD seconds ahead, for a program that has this loaded before its libraries (LD_PRELOAD). */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    int rv = (int)syscall(SYS_clock_gettime, id, now);
    const char *ahead = getenv("CLOCK_AHEAD");
    if (!rv && id == CLOCK_REALTIME && ahead) now->tv_sec += atol(ahead);
    return rv;
}
