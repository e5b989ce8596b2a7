// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "bench",
    platforms: [.macOS(.v13)],
    dependencies: [.package(name: "Leasehold", path: "..")],
    targets: [.executableTarget(name: "bench", dependencies: ["Leasehold"])],
    swiftLanguageModes: [.v6]
)
