// The types of the libsystemd functions that the service calls. The library is loaded at run time (SystemdLibrary) and never
// linked, so this module names no library and has no pkg-config entry, which would link it.
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>

typedef __typeof__(&sd_notify) sd_notify_function;
typedef __typeof__(&sd_notify_barrier) sd_notify_barrier_function;
typedef __typeof__(&sd_watchdog_enabled) sd_watchdog_enabled_function;
typedef __typeof__(&sd_listen_fds_with_names) sd_listen_fds_with_names_function;
typedef __typeof__(&sd_journal_sendv) sd_journal_sendv_function;
