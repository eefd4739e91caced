// swift-tools-version: 6.2
import PackageDescription

/// Continuous integration turns every warning into an error; a newer compiler's new warning must not break a user's build.
let strictness: [SwiftSetting] =
    Context.environment["CI"] == nil ? [] : [.treatAllWarnings(as: .error)]

let settings: [SwiftSetting] =
    strictness + [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
    ]

let package = Package(
    name: "mcp-cleanupd",
    products: [.executable(name: "mcp-cleanupd", targets: ["mcp-cleanupd"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.5.0"),
    ],
    targets: [
        .systemLibrary(name: "CLibpq", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .target(name: "CleanupSchedule", swiftSettings: settings),
        .target(name: "Postgres", dependencies: ["CLibpq"], swiftSettings: settings),
        .target(name: "SessionCleanup", dependencies: ["CleanupSchedule", "Postgres"], swiftSettings: settings),
        .target(
            name: "Configuration", dependencies: ["Postgres", "SessionCleanup"],
            swiftSettings: settings),
        .executableTarget(
            name: "mcp-cleanupd",
            dependencies: [
                "CleanupSchedule", "Configuration", "Postgres", "SessionCleanup",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            resources: [.embedInCode("Migrations")],
            swiftSettings: settings),
        .target(
            name: "TestServers",
            dependencies: [
                "Postgres", "SessionCleanup",
                .product(name: "Subprocess", package: "swift-subprocess"),
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            path: "Tests/TestServers", swiftSettings: settings),
        .testTarget(name: "PostgresTests", dependencies: ["Postgres", "TestServers"], swiftSettings: settings),
        .testTarget(
            name: "ConfigurationTests",
            dependencies: ["Configuration", "Postgres", "SessionCleanup", "TestServers"], swiftSettings: settings),
        .testTarget(
            name: "IntegrationTests",
            dependencies: ["mcp-cleanupd", "Postgres", "SessionCleanup", "TestServers"], swiftSettings: settings),
    ],
    swiftLanguageModes: [.v6]
)
