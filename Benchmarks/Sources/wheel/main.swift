import TimerWheel

// Prints Markdown: nanoseconds and ratios of the timer wheel and its peers, median of five rounds in one process.

ProcessMemory.keepWarm()

var comparisons = [1_000, 100_000, 1_000_000].map { Comparison(count: $0) }
for index in comparisons.indices { comparisons[index].run() }

print(Comparison.timeHeader)
for comparison in comparisons {
    for row in comparison.timeRows() { print(row) }
}
print()
print(Comparison.countHeader)
for comparison in comparisons { print(comparison.countRow()) }
print(
    """

    Nanoseconds a timer (`next`: a call), median of \(Comparison.rounds) rounds, the peers in turns. Deadlines uniform
    in an hour at 1 ms, splitmix64 seed 0x5EED. All queues are new and have room for all timers, in memory that was
    used before except where it says otherwise; all pop in exact order (deadline, then first in). `Heap` cannot remove
    from its middle: cancel marks a timer dead, and the row below shows what discarding the dead costs later. A node of
    the wheel takes 32 bytes; the rest of its bytes are the 704 slots and the allocator's.
    Handles, which the owner keeps, are not counted (8 bytes for all three).

    Where a heap wins: `next`, which it reads off its top (the wheel's costs the same at any number of timers); memory at
    1,000 timers. Least certain are the drains at 1,000,000, where nothing fits the cache, and against an indexed heap those in
    steps of 1 ms, most of which find nothing due: on a busy machine a heap may be ahead. At 1,000 timers such a drain would measure 3,600 empty steps a timer, and is left out.

    Dispatch timers in a row wake Dispatch's thread for every second one or for one in a thousand, from run to run; one that
    is added now and then wakes it every time, which are the rows "Dispatch at rest": there it is the
    caller's time until the timer is handed over. Processor time has both threads.
    """)
print("\nchecksum \(comparisons.reduce(0 as UInt64) { $0 &+ $1.checksum })")
