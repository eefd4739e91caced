import Dispatch
import Glibc
import Synchronization
import Systemd
import TestServers
import Testing
import Time

@Suite struct NotificationTests {
    @Test func saysWhatTheManualHas() {
        let ready = Notification.ready.merged(with: .status("all\nis well"))
        #expect(ready.message == "READY=1\nSTATUS=all is well")
        #expect(Notification.status("a\u{1B}\u{9B}\u{202E}b\r\nc\u{2028}d").message == "STATUS=a���b c d")
        #expect(
            Notification.stopping(within: .milliseconds(21_500)).message == "STOPPING=1\nEXTEND_TIMEOUT_USEC=21500000")
        #expect(
            Notification.alive.merged(with: .status("gone", failure: 22)).message == "STATUS=gone\nWATCHDOG=1\nERRNO=22"
        )
        #expect(Notification.status(String(repeating: "x", count: 5000)).message.count == 1007)
    }

    @Test func aMergedMessageHasTheLastStateOnly() {
        let reloaded = Notification.reloading.merged(with: .status("new")).merged(with: .ready)
        #expect(reloaded.message == "READY=1\nSTATUS=new")
        #expect(Notification.ready.merged(with: .stopping(within: .zero)).message.hasPrefix("STOPPING=1\n"))
    }

    @Test func tellsWhenReloadingBeganByTheManagersClock() throws {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        let before = time.tv_sec * 1_000_000
        let message = Notification.reloading.message
        #expect(message.hasPrefix("RELOADING=1\nMONOTONIC_USEC="))
        let since = try #require(Int(message.split(separator: "=").last ?? ""))
        #expect(since >= before && since < before + 60_000_000)
    }

    /// Receives what a notifier sends, and answers as a test says.
    private final class Manager: Sendable {
        let messages = Mutex<[String]>([])
        let confirmations = Atomic(0)
        let failure = Mutex<SystemdError?>(nil)
        /// With `blocksFirst`, the first message waits for this, as for a manager that does not read.
        let isReading = DispatchSemaphore(value: 0)

        func notifier(
            blocksFirst: Bool = false, onFailure: @escaping @Sendable (SystemdError) -> Void = { _ in }
        ) -> ServiceNotifier {
            let hasBlocked = Atomic(!blocksFirst)
            return ServiceNotifier(
                deliver: { [self] message throws(SystemdError) in
                    if !hasBlocked.exchange(true, ordering: .relaxed) { isReading.wait() }
                    if let failure = failure.withLock(\.self) { throw failure }
                    messages.withLock { $0.append(message) }
                },
                confirm: { [self] _ throws(SystemdError) in confirmations.add(1, ordering: .relaxed) },
                onFailure: onFailure)
        }
    }

    @Test func sendsInOrderAndWaitsForTheManagerAfterReady() {
        let manager = Manager()
        let notifier = manager.notifier()
        notifier.send(.alive)
        notifier.flush(limit: .seconds(5))
        #expect(manager.confirmations.load(ordering: .relaxed) == 1, "one for the flush")
        notifier.send(.ready)
        notifier.flush(limit: .seconds(5))
        #expect(manager.confirmations.load(ordering: .relaxed) == 3)
        #expect(manager.messages.withLock(\.self) == ["WATCHDOG=1", "READY=1"])
    }

    @Test func reportsOnceThatSendingFailsAndGoesOnSending() {
        let manager = Manager()
        let complaints = Mutex<[SystemdError]>([])
        let notifier = manager.notifier { error in complaints.withLock { $0.append(error) } }
        manager.failure.withLock { $0 = .failed(ENOENT) }
        for _ in 0..<3 {
            notifier.send(.alive)
            notifier.flush(limit: .seconds(5))
        }
        #expect(complaints.withLock(\.self) == [.failed(ENOENT)])
        manager.failure.withLock { $0 = nil }
        notifier.send(.status("back"))
        notifier.flush(limit: .seconds(5))
        #expect(manager.messages.withLock(\.self) == ["STATUS=back"])
    }

    @Test func blocksNoCallerAndMergesWhileTheManagerDoesNotRead() {
        let manager = Manager()
        let notifier = manager.notifier(blocksFirst: true)
        let began = ContinuousClock.now
        notifier.send(.ready)
        for number in 1...10_000 { notifier.send(.alive.merged(with: .status("\(number)"))) }
        notifier.flush(limit: .milliseconds(50))
        #expect(began.duration(to: .now) < .seconds(3))
        manager.isReading.signal()
        notifier.flush(limit: .seconds(10))
        let messages = manager.messages.withLock(\.self)
        #expect(messages.count <= 2, "at most the one under way and one with the rest: \(messages.count)")
        #expect(messages.contains { $0.contains("READY=1") })
        #expect(messages.last?.contains("STATUS=10000\nWATCHDOG=1") ?? false)
    }
}

@Suite struct JournalStreamTests {
    @Test func knowsItsOwnStreamFromAnother() throws {
        var status = stat()
        #expect(fstat(STDERR_FILENO, &status) == 0)
        let stream = "\(status.st_dev):\(status.st_ino)"
        #expect(Journal.isConnected(to: STDERR_FILENO, environment: ["JOURNAL_STREAM": stream]))
        for other in ["", "nonsense", "1:1", "\(status.st_dev):\(status.st_ino + 1)"] {
            #expect(!Journal.isConnected(to: STDERR_FILENO, environment: ["JOURNAL_STREAM": other]))
        }
        #expect(!Journal.isConnected(to: STDERR_FILENO, environment: [:]))
    }
}
