// Preloaded into the program under test: makes one of its calls of libpq fail, or that one and all after it.
//
//   FAIL_CALL     which, counting from 1 those that the mode counts
//   FAIL_MODE     refuse: the call itself fails, as without memory
//                 cut:    the connection breaks just before the call
//                 unheard: a statement is sent, and the connection breaks before its answer; counts what sends
//   FAIL_FOREVER  set: so do all later calls
//   FAIL_ONLY     names of the functions that are meant; all of them if it is not set
//   FAIL_LOG      where the name of each call that failed is written: empty, the program has made fewer calls
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static atomic_int calls;
// libpq calls itself through the same names: only the program's own calls count.
static _Thread_local int depth;

static int is_mode(const char *mode) {
    const char *chosen = getenv("FAIL_MODE");
    return chosen && strcmp(chosen, mode) == 0;
}

static int is_chosen(const char *name) {
    const char *number = getenv("FAIL_CALL");
    const char *names = getenv("FAIL_ONLY");
    if (!number || depth > 0 || (names && !strstr(names, name))) return 0;
    int call = ++calls;
    if (call != atoi(number) && !(getenv("FAIL_FOREVER") && call > atoi(number))) return 0;
    int log = open(getenv("FAIL_LOG"), O_WRONLY | O_APPEND);
    if (log >= 0) {
        if (write(log, name, strlen(name)) < 0 || write(log, "\n", 1) < 0) abort();
        close(log);
    }
    return 1;
}

static void cut(PGconn *connection) {
    if (connection && PQsocket(connection) >= 0) shutdown(PQsocket(connection), SHUT_RDWR);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

// A call that takes the connection.
#define CALL(type, name, failure, sends, parameters, arguments)         \
    type name parameters {                                               \
        if (is_mode("unheard")) {                                        \
            int is_cut = sends && is_chosen(#name);                      \
            depth++;                                                     \
            type result = REAL(name) arguments;                          \
            depth--;                                                     \
            if (is_cut) {                                                \
                PQflush(connection);                                     \
                cut(connection);                                         \
            }                                                            \
            return result;                                               \
        }                                                                \
        if (is_chosen(#name)) {                                          \
            if (!is_mode("cut")) return failure;                         \
            cut(connection);                                             \
        }                                                                \
        depth++;                                                         \
        type result = REAL(name) arguments;                              \
        depth--;                                                         \
        return result;                                                   \
    }

CALL(PostgresPollingStatusType, PQconnectPoll, PGRES_POLLING_FAILED, 0, (PGconn * connection), (connection))
CALL(int, PQsetnonblocking, -1, 0, (PGconn * connection, int mode), (connection, mode))
CALL(int, PQsendQuery, 0, 1, (PGconn * connection, const char *sql), (connection, sql))
CALL(int, PQsendQueryParams, 0, 1,
     (PGconn * connection, const char *sql, int count, const Oid *types, const char *const *values, const int *lengths,
      const int *formats, int format),
     (connection, sql, count, types, values, lengths, formats, format))
CALL(int, PQconsumeInput, 0, 0, (PGconn * connection), (connection))
CALL(PGresult *, PQgetResult, PQmakeEmptyPGresult(connection, PGRES_FATAL_ERROR), 0, (PGconn * connection), (connection))
CALL(PGcancel *, PQgetCancel, NULL, 0, (PGconn * connection), (connection))

int PQflush(PGconn *connection) {
    if (!is_mode("unheard") && is_chosen("PQflush")) {
        if (!is_mode("cut")) return -1;
        cut(connection);
    }
    return REAL(PQflush)(connection);
}

PGconn *PQconnectStartParams(const char *const *keywords, const char *const *values, int expand) {
    if (is_mode("refuse") && is_chosen("PQconnectStartParams")) return NULL;
    depth++;
    PGconn *connection = REAL(PQconnectStartParams)(keywords, values, expand);
    depth--;
    if (is_mode("cut") && is_chosen("PQconnectStartParams")) cut(connection);
    return connection;
}

int PQcancel(PGcancel *cancel, char *message, int size) {
    if (!is_mode("unheard") && is_chosen("PQcancel")) return 0;
    return REAL(PQcancel)(cancel, message, size);
}
