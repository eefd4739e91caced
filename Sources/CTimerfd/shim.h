// timerfd_create(2), which Swift's Glibc module does not export.
#include <sys/timerfd.h>
