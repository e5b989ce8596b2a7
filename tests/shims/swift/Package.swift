// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "shim",
    platforms: [.macOS(.v13)],
    dependencies: [.package(name: "Leasehold", path: "../../../bindings-swift")],
    targets: [.executableTarget(name: "shim", dependencies: ["Leasehold"])],
    swiftLanguageModes: [.v6]
)
