package import SessionCleanup
package import Time

/// What the scheduler is told, and what it answers.
extension Scheduler {
    /// Both clocks, read together. They are never mixed: the wall clock names fire times, the other one measures waits.
    package struct Now: Hashable, Sendable {
        package var wall: UTCInstant
        /// Time since the process began; goes on while the machine sleeps.
        package var elapsed: Duration

        package init(wall: UTCInstant, elapsed: Duration) {
            self.wall = wall
            self.elapsed = elapsed
        }
    }

    /// One attempt at the run for a fire time.
    package struct Attempt: Hashable, Sendable {
        /// As `job(_:)` knows it.
        package let job: Int
        package let scheduledAt: UTCInstant
        package let origin: RunOrigin
        /// Counts from 1.
        package let number: Int
        /// Whether it only looks, after a start, if its fire time was missed meanwhile.
        package var isLookBack = false
    }

    /// What became of an attempt.
    package enum Result: Hashable, Sendable {
        /// The run is at its end.
        case ended
        /// It failed for a cause that does not pass by itself.
        case failed
        /// There was no run here, and there is none to come.
        case skipped
        /// It failed for a cause that may pass.
        case mayRetry
        /// Another process is at a run of the job; it counts as dead after this time.
        case heldElsewhere(lookAgainAfter: Duration)
    }

    package enum Action: Hashable, Sendable {
        /// Open a connection: a fire time is about to come.
        case connect(before: UTCInstant)
        /// Make these attempts, one after the other, over one connection.
        case start([Attempt])
        /// The attempt failed for a cause that may pass; another one follows.
        case announceRetry(Attempt, after: Duration)
        /// No attempt of this run follows.
        case concludeRun(Attempt)
        /// A fire time came while its job was running.
        case countCoalesced(job: Int, UTCInstant)
        /// So many fire times passed while nobody could answer them.
        case countMissed(job: Int, Int)
        /// So many fire times will pass before anything is due.
        case countPassedOver(job: Int, Int, until: UTCInstant)
        /// The wheel turns, and no attempt is under way longer than it may be: the watchdog is to hear of it.
        case pingWatchdog
    }
}
