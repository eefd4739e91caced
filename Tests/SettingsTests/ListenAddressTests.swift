import Testing
import Time

@testable import Settings

/// `http.listen`: an address has one text, however it is written.
@Suite struct ListenAddressTests {
    @Test(arguments: [
        ("127.0.0.1:9764", "127.0.0.1:9764", true, false), ("127.1.2.3:80", "127.1.2.3:80", true, false),
        ("0.0.0.0:1", "0.0.0.0:1", false, true), ("192.0.2.1:65535", "192.0.2.1:65535", false, false),
        ("[::1]:9764", "[::1]:9764", true, false), ("[0:0:0:0:0:0:0:1]:9764", "[::1]:9764", true, false),
        ("[0000:0::0001]:9764", "[::1]:9764", true, false), ("[::0.0.0.1]:9764", "[::1]:9764", true, false),
        ("[::]:1", "[::]:1", false, true), ("[0:0::0]:1", "[::]:1", false, true),
        ("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:1", true, false),
        ("[::FFFF:7f00:2]:1", "[::ffff:127.0.0.2]:1", true, false),
        ("[::ffff:0.0.0.0]:1", "[::ffff:0.0.0.0]:1", false, true),
        ("[::ffff:0:0]:1", "[::ffff:0.0.0.0]:1", false, true),
        ("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.1]:1", false, false),
        ("[2001:DB8:0::1]:443", "[2001:db8::1]:443", false, false),
        ("[1::127.0.0.1]:1", "[1::7f00:1]:1", false, false), ("unix:/run/s", "unix:/run/s", false, false),
    ])
    func readsEachAddressAsOneText(text: String, shown: String, isLoopback: Bool, isOnAllAddresses: Bool) throws {
        let address = try #require(ListenAddress(parsing: text))
        #expect("\(address)" == shown)
        #expect(address == ListenAddress(parsing: shown))
        #expect(address.isLoopback == isLoopback && address.isOnAllAddresses == isOnAllAddresses)
    }

    @Test(arguments: [
        "", "9764", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:+1", "127.0.0.1: 1", "127.1:1",
        "0127.0.0.1:1", "localhost:1", "::1:9764", "[::1]", "[127.0.0.1]:1", "[::1%lo]:1", "[::1:1", "unix:",
        "unix:run",
    ])
    func refusesEverythingElse(text: String) {
        #expect(ListenAddress(parsing: text) == nil)
    }
}
