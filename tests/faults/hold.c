/* Loaded into the program: the thread of the name in TIDECAST_HELD_THREAD stops the process at its birth, so that a
 * tracer can take hold of it before it has made a single call. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int pthread_setname_np(pthread_t thread, const char *name)
{
    static int held_once;
    int (*real)(pthread_t, const char *) =
        (int (*)(pthread_t, const char *))dlsym(RTLD_NEXT, "pthread_setname_np");
    int result = real(thread, name);
    const char *held = getenv("TIDECAST_HELD_THREAD");
    if (held != NULL && strcmp(name, held) == 0 && !__sync_lock_test_and_set(&held_once, 1)) {
        struct timespec moment = {0, 5 * 1000 * 1000};
        raise(SIGSTOP);
        /* The tracer's interrupt arrives here, outside of every call that is counted. */
        nanosleep(&moment, NULL);
    }
    return result;
}
