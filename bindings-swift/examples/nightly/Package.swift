// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "nightly",
    platforms: [.macOS(.v13)],
    dependencies: [.package(name: "Leasehold", path: "../..")],
    targets: [.executableTarget(name: "nightly", dependencies: ["Leasehold"])],
    swiftLanguageModes: [.v6]
)
