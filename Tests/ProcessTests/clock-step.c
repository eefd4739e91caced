// Preloaded into a process, moves its CLOCK_REALTIME and its CLOCK_BOOTTIME by the two numbers of seconds that the file
// $CLOCK_STEP_FILE holds, while it runs; CLOCK_MONOTONIC stays. What the kernel does when the clock is set, or when the
// machine wakes, it does too: armed CLOCK_REALTIME timers are measured anew, and one with TFD_TIMER_CANCEL_ON_SET answers
// ECANCELED once, to the read or to the timerfd_settime that comes first: timerfd_create(2). With $CLOCK_STEP_AT_SETTIME
// the clock is set in the very moment before a timer is, so that no read can tell.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { DESCRIPTORS = 1024, POLL_MICROSECONDS = 20000 };

struct timer { int is_realtime, is_armed, flags, is_canceled; struct itimerspec setting; };

static struct timer timers[DESCRIPTORS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile long offset, asleep;

static void read_offsets(long *wanted_offset, long *wanted_asleep) {
    const char *path = getenv("CLOCK_STEP_FILE");
    FILE *file = path ? fopen(path, "re") : NULL;
    long values[2];
    *wanted_offset = offset;
    *wanted_asleep = asleep;
    if (!file) return;
    if (fscanf(file, "%ld %ld", &values[0], &values[1]) == 2) {
        *wanted_offset = values[0];
        *wanted_asleep = values[1];
    }
    fclose(file);
}

static int kernel_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old) {
    return syscall(SYS_timerfd_settime, fd, flags, new, old);
}

static int arm(int fd) {
    struct itimerspec setting = timers[fd].setting;
    setting.it_value.tv_sec -= offset;
    if (timers[fd].is_canceled || setting.it_value.tv_sec < 1) setting.it_value = (struct timespec){0, 1};
    return kernel_settime(fd, TFD_TIMER_ABSTIME, &setting, NULL);
}

// Under the lock.
static void step(void) {
    long wanted_offset, wanted_asleep;
    read_offsets(&wanted_offset, &wanted_asleep);
    if (wanted_offset == offset && wanted_asleep == asleep) return;
    asleep = wanted_asleep;
    offset = wanted_offset;
    for (int fd = 0; fd < DESCRIPTORS; fd++) {
        if (!timers[fd].is_armed) continue;
        timers[fd].is_canceled = (timers[fd].flags & TFD_TIMER_CANCEL_ON_SET) != 0;
        arm(fd);
    }
}

static void *watch(void *unused) {
    for (;; usleep(POLL_MICROSECONDS)) {
        pthread_mutex_lock(&lock);
        step();
        pthread_mutex_unlock(&lock);
    }
    return unused;
}

__attribute__((constructor)) static void begin(void) {
    pthread_t thread;
    long wanted_offset, wanted_asleep;
    read_offsets(&wanted_offset, &wanted_asleep);
    offset = wanted_offset;
    asleep = wanted_asleep;
    if (!getenv("CLOCK_STEP_FILE") || getenv("CLOCK_STEP_AT_SETTIME")) return;
    if (pthread_create(&thread, NULL, watch, NULL) == 0) pthread_detach(thread);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int status = syscall(SYS_clock_gettime, clock, time);
    if (status == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += offset;
    if (status == 0 && clock == CLOCK_BOOTTIME) time->tv_sec += asleep;
    return status;
}

int gettimeofday(struct timeval *time, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}

int timerfd_create(clockid_t clock, int flags) {
    int fd = syscall(SYS_timerfd_create, clock, flags);
    if (fd >= 0 && fd < DESCRIPTORS) timers[fd] = (struct timer){.is_realtime = clock == CLOCK_REALTIME};
    return fd;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old) {
    if (fd < 0 || fd >= DESCRIPTORS || !timers[fd].is_realtime || !(flags & TFD_TIMER_ABSTIME))
        return kernel_settime(fd, flags, new, old);
    pthread_mutex_lock(&lock);
    if (getenv("CLOCK_STEP_AT_SETTIME")) step();
    // As in the kernel: a cancelation that was not read is told here, and the timer is armed all the same.
    int was_canceled = timers[fd].is_canceled;
    timers[fd] = (struct timer){.is_realtime = 1, .is_armed = 1, .flags = flags, .setting = *new};
    int status = arm(fd);
    pthread_mutex_unlock(&lock);
    if (status != 0 || !was_canceled || !(flags & TFD_TIMER_CANCEL_ON_SET)) return status;
    errno = ECANCELED;
    return -1;
}

ssize_t read(int fd, void *buffer, size_t size) {
    int is_canceled = 0;
    if (fd >= 0 && fd < DESCRIPTORS && timers[fd].is_realtime) {
        pthread_mutex_lock(&lock);
        is_canceled = timers[fd].is_canceled;
        timers[fd].is_canceled = 0;
        pthread_mutex_unlock(&lock);
    }
    ssize_t count = syscall(SYS_read, fd, buffer, size);
    if (is_canceled) {
        errno = ECANCELED;
        return -1;
    }
    return count;
}
