import CleanupDaemon
import Glibc
import Synchronization
import Systemd
import TestServers
import Testing
import Time

@Suite struct NotificationTests {
    private func notifier(
        _ address: String, onFailure: @escaping @Sendable (String) -> Void = { _ in }
    ) throws
        -> ServiceNotifier
    {
        try #require(try ServiceNotifier.find(environment: ["NOTIFY_SOCKET": address], onFailure: onFailure))
    }

    @Test func saysWhatTheManualHas() {
        #expect(Notification(state: .ready, status: "all\nis well").message == "READY=1\nSTATUS=all is well")
        #expect(
            Notification(state: .reloading(sinceMonotonicMicroseconds: 17)).message
                == "RELOADING=1\nMONOTONIC_USEC=17")
        #expect(
            Notification(state: .stopping, extendedTimeout: .milliseconds(21_500)).message
                == "STOPPING=1\nEXTEND_TIMEOUT_USEC=21500000")
        #expect(Notification(isAlive: true, failure: 22).message == "WATCHDOG=1\nERRNO=22")
        #expect(Notification(status: String(repeating: "x", count: 5000)).message.count == 1007)
    }

    @Test func tellsWhenReloadingBeganByTheManagersClock() throws {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        let before = UInt64(time.tv_sec) * 1_000_000
        guard case .reloading(let since) = Notification.State.reloading else { throw TestServerError("another state") }
        #expect(since >= before && since < before + 60_000_000)
    }

    @Test func tellsThatItReloadsAndThatItHas() throws {
        let manager = try ManagerSocket()
        let supervision = Supervision(notifier: try notifier(manager.address), shutdownTimeout: .seconds(20))
        let state = ServiceState(jobs: [], version: "1", startedAt: .init(wall: .epoch, elapsed: .zero))
        supervision.record(.reloading, state)
        let reloading = try #require(manager.receive())
        #expect(reloading.wholeMatch(of: /RELOADING=1\nMONOTONIC_USEC=[0-9]+/) != nil)
        supervision.record(.reloadFailed("line 3 is wrong"), state)
        #expect(manager.receive() == "READY=1")
        supervision.record(.reloading, state)
        #expect(manager.receive()?.hasPrefix("RELOADING=1\n") ?? false)
        supervision.record(.reloaded([], waitingForRestart: []), state)
        #expect(manager.receive() == "READY=1")
    }

    @Test(arguments: [nil, "@mcp-cleanupd-test-\(UInt64.random(in: 0...UInt64.max))"])
    func reachesAPathAndAnAbstractName(address: String?) throws {
        let manager = try ManagerSocket(address)
        let notifier = try notifier(manager.address)
        notifier.send(Notification(state: .ready))
        #expect(manager.receive() == "READY=1")
        notifier.send(Notification(isAlive: true))
        #expect(manager.receive() == "WATCHDOG=1")
    }

    @Test(arguments: [[:], ["NOTIFY_SOCKET": ""]])
    func tellsNobodyWhereNobodyAsks(environment: [String: String]) throws {
        #expect(try ServiceNotifier.find(environment: environment) { _ in } == nil)
    }

    @Test(arguments: ["relative/path", "vsock:2:1234", "@", "/" + String(repeating: "x", count: 108)])
    func refusesWhatIsNoAddress(address: String) throws {
        let error = #expect(throws: NotifySocketUnusable.self) {
            try ServiceNotifier.find(environment: ["NOTIFY_SOCKET": address]) { _ in }
        }
        #expect(error?.description.contains(address) ?? false)
    }

    @Test func saysOnceThatNobodyListensAndGoesOnWhenSomebodyDoes() throws {
        let address = try TemporaryDirectory.make() + "/socket"
        let complaints = Mutex<[String]>([])
        let notifier = try notifier(address) { complaint in complaints.withLock { $0.append(complaint) } }
        for _ in 0..<3 {
            notifier.send(Notification(isAlive: true))
            notifier.flush(limit: .seconds(5))
        }
        #expect(complaints.withLock(\.count) == 1)
        #expect(complaints.withLock { $0[0].contains("No such file") })
        let manager = try ManagerSocket(address)
        notifier.send(Notification(status: "back"))
        #expect(manager.receive() == "STATUS=back")
    }

    @Test func blocksNobodyWhileTheManagerDoesNotRead() throws {
        let manager = try ManagerSocket()
        try manager.fill()
        let notifier = try notifier(manager.address)
        let began = ContinuousClock.now
        notifier.send(Notification(state: .ready))
        for number in 1...10_000 { notifier.send(Notification(status: "\(number)", isAlive: true)) }
        #expect(began.duration(to: .now) < .seconds(2))
        notifier.flush(limit: .milliseconds(50))
        #expect(began.duration(to: .now) < .seconds(3))
        // What waited was merged: at most one that was under way, and one with the rest.
        var heard: [String] = []
        while let message = manager.receive(limit: .milliseconds(300)) {
            if message != "FILL=1" { heard.append(message) }
        }
        #expect(heard.count <= 2)
        #expect(heard.contains { $0.contains("READY=1") })
        #expect(heard.last?.contains("STATUS=10000\nWATCHDOG=1") ?? false)
    }
}

@Suite struct WatchdogSettingTests {
    private func interval(_ microseconds: String, pid: String? = nil) throws -> Duration? {
        try WatchdogSetting.interval(
            environment: ["WATCHDOG_USEC": microseconds, "WATCHDOG_PID": pid ?? ""], processID: 42)
    }

    @Test func isWhatTheManagerAsksOfThisProcess() throws {
        #expect(try interval("30000000") == .seconds(30))
        #expect(try interval("30000000", pid: "42") == .seconds(30))
        #expect(try interval("100000") == .milliseconds(100))
    }

    @Test func isNothingWhereNobodyWatchesThisProcess() throws {
        #expect(try interval("") == nil)
        #expect(try interval("30000000", pid: "43") == nil)
        #expect(try WatchdogSetting.interval(environment: [:], processID: 42) == nil)
    }

    @Test(arguments: [
        "0", "1", "99999", "-1", "30s", "nonsense", " 30000000", "18446744073709551615", "18446744073709551616",
        "31536000000001",
    ])
    func refusesTheAbsurd(value: String) {
        let error = #expect(throws: WatchdogRefused.self) { try interval(value) }
        #expect(error?.description.contains("“\(value)”") ?? false)
    }

    @Test(arguments: ["0", "-3", "me"])
    func refusesAProcessThatIsNone(pid: String) {
        #expect(throws: WatchdogRefused.self) { try interval("30000000", pid: pid) }
    }
}

@Suite struct JournalTests {
    @Test func writesEntriesAsTheProtocolHasThem() throws {
        let journald = try ManagerSocket()
        let journal = try Journal(path: journald.address)
        try journal.send([.init("MESSAGE", "all is well"), .init("MCP_CLEANUP_JOB", "j")])
        #expect(journald.receive() == "MESSAGE=all is well\nMCP_CLEANUP_JOB=j\n")
    }

    @Test func letsNoValueForgeAField() throws {
        let journald = try ManagerSocket()
        let journal = try Journal(path: journald.address)
        try journal.send([.init("MESSAGE", "one\nPRIORITY=0")])
        #expect(
            journald.receiveBytes() == Array("MESSAGE\n".utf8) + [14, 0, 0, 0, 0, 0, 0, 0]
                + Array("one\nPRIORITY=0\n".utf8))
    }

    @Test func cutsWhatNoDatagramCouldHold() throws {
        let journald = try ManagerSocket()
        let journal = try Journal(path: journald.address)
        try journal.send((0..<10).map { .init("FIELD_\($0)", String(repeating: "x", count: 1 << 20)) })
        #expect(try #require(journald.receiveBytes()).count < 100_000)
    }

    @Test func saysThatTheJournalIsGone() throws {
        let path = try TemporaryDirectory.make() + "/socket"
        let journal = try Journal(path: path)
        #expect(throws: SystemError(code: ENOENT)) { try journal.send([.init("MESSAGE", "x")]) }
        // A journal that died leaves its socket's file.
        do { _ = try ManagerSocket(path) }
        #expect(throws: SystemError(code: ECONNREFUSED)) { try journal.send([.init("MESSAGE", "x")]) }
        let error = SystemError(code: ENOENT)
        #expect(error.description == "No such file or directory")
    }

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
