// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "Benchmarks",
    dependencies: [
        .package(url: "https://github.com/apple/swift-collections", exact: "1.6.0")
    ],
    targets: [
        .systemLibrary(name: "CMalloc"),
        // A link to the folder of the product: another package cannot see its `package` declarations.
        .target(
            name: "TimerWheel",
            dependencies: [.product(name: "BasicContainers", package: "swift-collections")]
        ),
        .executableTarget(
            name: "wheel",
            dependencies: [
                "CMalloc", "TimerWheel", .product(name: "HeapModule", package: "swift-collections"),
            ]
        ),
    ],
    swiftLanguageModes: [.v6]
)
