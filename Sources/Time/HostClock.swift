import Glibc

extension UTCInstant {
    /// The host's wall clock. Fire times and reports use it; the database's clock decides what is due.
    package static var now: UTCInstant {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return UTCInstant(microsecondsSinceEpoch: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000)
    }
}
