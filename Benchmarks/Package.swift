// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "Benchmarks",
    dependencies: [
        .package(url: "https://github.com/apple/swift-collections", exact: "1.6.0")
    ],
    targets: [
        .systemLibrary(name: "CMalloc"),
        // Links to folders of the product: another package cannot see their `package` declarations.
        .target(
            name: "TimerWheel",
            dependencies: [.product(name: "BasicContainers", package: "swift-collections")]
        ),
        .target(name: "Pseudorandom"),
        .executableTarget(
            name: "wheel",
            dependencies: [
                "CMalloc", "Pseudorandom", "TimerWheel", .product(name: "HeapModule", package: "swift-collections"),
            ]
        ),
    ],
    swiftLanguageModes: [.v6]
)
