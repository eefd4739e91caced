/// The readings of two clocks, never mixed: the wall clock names fire times, the other one measures waits.
package struct TwoClocks: Hashable, Sendable {
    /// The host's wall clock, which may be set.
    package var wall: UTCInstant
    /// Time since the process began, by a clock that is never set; it counts while the machine sleeps.
    package var elapsed: Duration

    package init(wall: UTCInstant, elapsed: Duration) { (self.wall, self.elapsed) = (wall, elapsed) }
}
