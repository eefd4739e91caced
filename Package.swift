// swift-tools-version: 6.2
import PackageDescription

/// Continuous integration turns every warning into an error; a newer compiler's new warning must not break a user's build.
let strictness: [SwiftSetting] =
    Context.environment["CI"] == nil ? [] : [.treatAllWarnings(as: .error)]

/// `make sanitize`: our own code only, since the compiler fails on a part of swift-collections with the sanitizer on.
let sanitizer: [String] = Context.environment["THREAD_SANITIZER"] == nil ? [] : ["-sanitize=thread"]
let linking: [LinkerSetting] = sanitizer.isEmpty ? [] : [.unsafeFlags(sanitizer)]

let settings: [SwiftSetting] =
    strictness + (sanitizer.isEmpty ? [] : [.unsafeFlags(sanitizer)]) + [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
    ]

/// For the program itself. What is bound to no actor runs where its caller does, never on Swift's own pool: `TaskQueue`.
let sources: [SwiftSetting] = settings + [.enableUpcomingFeature("NonisolatedNonsendingByDefault")]

let package = Package(
    name: "mcp-cleanupd",
    products: [.executable(name: "mcp-cleanupd", targets: ["mcp-cleanupd"])],
    // Exact, so that two builds of one commit differ at most in what these depend on: `make release` records all versions.
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-collections", exact: "1.6.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", exact: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", exact: "1.0.2"),
        .package(url: "https://github.com/apple/swift-system", exact: "1.8.1"),
    ],
    targets: [
        .systemLibrary(name: "CLibpq", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(name: "CMalloc"),
        .systemLibrary(name: "CTimerfd"),
        // Headers only: loaded at run time, and linked if pkg-config were asked (SystemdLibrary).
        .systemLibrary(name: "CSystemd"),
        .systemLibrary(name: "CYaml", providers: [.apt(["libyaml-dev"])]),
        .target(name: "CleanupSchedule", dependencies: ["Time"], swiftSettings: sources),
        .target(
            name: "TimerWheel",
            dependencies: [.product(name: "BasicContainers", package: "swift-collections")],
            swiftSettings: sources),
        .target(name: "Time", dependencies: ["CTimerfd", "TimerWheel"], swiftSettings: sources),
        .target(name: "Postgres", dependencies: ["CLibpq", "Time"], swiftSettings: sources),
        .target(name: "SessionCleanup", dependencies: ["CleanupSchedule", "Postgres", "Time"], swiftSettings: sources),
        .target(
            name: "Settings",
            dependencies: ["CYaml", "CleanupSchedule", "Heartbeats", "Postgres", "SessionCleanup", "Time"],
            swiftSettings: sources),
        .target(name: "Systemd", dependencies: ["CSystemd", "Time"], swiftSettings: sources),
        .target(
            name: "CleanupDaemon",
            dependencies: [
                "CleanupSchedule", "Postgres", "SessionCleanup", "Time", "TimerWheel",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: sources),
        // The TLS library of libpq, whose headers libpq-dev brings.
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .target(name: "Heartbeats", dependencies: ["COpenSSL", "Time"], swiftSettings: sources),
        .target(
            name: "Monitoring",
            dependencies: [
                "CleanupDaemon", "CleanupSchedule", "Postgres", "SessionCleanup", "Time",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            resources: [.embedInCode("Page/page.css"), .embedInCode("Page/page.js")],
            swiftSettings: sources),
        .executableTarget(
            name: "mcp-cleanupd",
            dependencies: [
                "CMalloc", "CleanupDaemon", "CleanupSchedule", "Heartbeats", "Monitoring", "Postgres", "SessionCleanup",
                "Settings", "Systemd", "Time",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            resources: [.embedInCode("Migrations")],
            swiftSettings: sources, linkerSettings: linking),
        .target(
            name: "TestServers",
            dependencies: [
                "Postgres", "SessionCleanup",
                .product(name: "Subprocess", package: "swift-subprocess"),
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            path: "Tests/TestServers", swiftSettings: settings),
        .target(name: "Pseudorandom", path: "Tests/Pseudorandom", swiftSettings: settings),
        .target(
            name: "SeededRandom", dependencies: ["Pseudorandom"], path: "Tests/SeededRandom", swiftSettings: settings),
        .testTarget(
            name: "ArchitectureTests", dependencies: ["TestServers"], swiftSettings: settings, linkerSettings: linking),
        .target(
            name: "HostileServer", dependencies: ["SeededRandom"], path: "Tests/HostileServer", swiftSettings: settings),
        .executableTarget(
            name: "connection-probe", dependencies: ["HostileServer", "Postgres", "SeededRandom"],
            path: "Tests/ConnectionProbe", swiftSettings: settings, linkerSettings: linking),
        .executableTarget(
            name: "parser-probe",
            dependencies: ["CleanupSchedule", "SeededRandom", "SessionCleanup", "Settings", "Time"],
            path: "Tests/ParserProbe", swiftSettings: settings, linkerSettings: linking),
        .testTarget(
            name: "PostgresTests",
            dependencies: ["connection-probe", "HostileServer", "Postgres", "SeededRandom", "TestServers", "Time"],
            swiftSettings: settings, linkerSettings: linking),
        .testTarget(
            name: "SettingsTests",
            dependencies: [
                "Heartbeats", "Postgres", "SeededRandom", "SessionCleanup", "Settings", "TestServers", "Time",
                "parser-probe",
            ],
            swiftSettings: settings,
            linkerSettings: linking),
        .testTarget(
            name: "TimerWheelTests",
            dependencies: [
                "SeededRandom", "TimerWheel", .product(name: "BasicContainers", package: "swift-collections"),
            ], swiftSettings: settings, linkerSettings: linking),
        .testTarget(
            name: "TimeTests", dependencies: ["Time"], swiftSettings: settings, linkerSettings: linking),
        .testTarget(
            name: "CleanupScheduleTests", dependencies: ["CleanupSchedule", "SeededRandom", "Time"],
            swiftSettings: settings,
            linkerSettings: linking),
        .testTarget(
            name: "CleanupDaemonTests",
            dependencies: [
                "CleanupDaemon", "CleanupSchedule", "Postgres", "Pseudorandom", "SessionCleanup", "Time",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings, linkerSettings: linking),
        .testTarget(
            name: "HeartbeatsTests", dependencies: ["mcp-cleanupd", "Heartbeats", "TestServers"],
            swiftSettings: settings, linkerSettings: linking),
        .testTarget(
            name: "SystemdTests", dependencies: ["CleanupDaemon", "Systemd", "TestServers", "Time", "mcp-cleanupd"],
            exclude: ["debian-machine"], swiftSettings: settings, linkerSettings: linking),
        .testTarget(
            name: "ContainerTests", dependencies: ["TestServers", "mcp-cleanupd"], exclude: ["image", "manifests"],
            swiftSettings: settings, linkerSettings: linking),
        .testTarget(
            name: "MonitoringTests",
            dependencies: [
                "mcp-cleanupd", "CleanupDaemon", "CleanupSchedule", "Monitoring", "Postgres", "SeededRandom",
                "SessionCleanup", "Time", "TestServers",
            ],
            swiftSettings: settings, linkerSettings: linking),
        .testTarget(
            name: "ProcessTests", dependencies: ["mcp-cleanupd", "HostileServer", "TestServers"],
            exclude: ["clock-step.c"],
            swiftSettings: settings, linkerSettings: linking),
        .testTarget(
            name: "SessionCleanupTests",
            dependencies: ["CleanupSchedule", "Postgres", "SeededRandom", "SessionCleanup", "TestServers", "Time"],
            swiftSettings: settings, linkerSettings: linking),
        .testTarget(
            name: "IntegrationTests",
            dependencies: [
                "mcp-cleanupd", "CleanupSchedule", "Postgres", "SeededRandom", "SessionCleanup", "TestServers", "Time",
            ],
            exclude: ["Faults/fail-call.c"], swiftSettings: settings, linkerSettings: linking),
    ],
    swiftLanguageModes: [.v6]
)
