import Foundation
import TestServers
import Testing

extension MachineTests {
    private static let nowhere = "postgresql://nobody@127.0.0.1:1/nothing?sslmode=disable"

    @Test func isInstalledDisabledRestartedByAnUpgradeAndPurgedWithoutATrace() async throws {
        try await putURL(Self.nowhere)
        for unit in ["mcp-cleanupd.service", "mcp-cleanupd.socket", "mcp-cleanupd-once@transient.timer"] {
            #expect(try await machine.run("systemctl is-enabled \(unit)").output == "disabled\n")
        }
        #expect(try await machine.check("stat -c '%a %U' /etc/mcp-cleanupd/database-url") == "600 root")
        try await machine.check("systemctl enable --now --quiet mcp-cleanupd")
        let before = try await machine.property("MainPID")
        try await machine.check("apt-get install -qq -y --reinstall /root/mcp-cleanupd.deb")
        #expect(try await machine.property("ActiveState") == "active")
        #expect(try await machine.property("MainPID") != before)
        #expect(try await machine.check("cat /etc/mcp-cleanupd/database-url").hasPrefix("postgresql:"))
        #expect(try await machine.check("man --where mcp-cleanupd").contains("mcp-cleanupd.1"))
        #expect(try await machine.check("man --where 5 mcp-cleanupd.yaml").contains("mcp-cleanupd.yaml.5"))
        try await machine.check(
            "install -D -m 600 /etc/mcp-cleanupd/database-url /etc/mcp-cleanupd/other/database-url; touch /etc/mcp-cleanupd/other/config.yaml"
        )
        try await machine.check("systemctl enable --now --quiet mcp-cleanupd@other mcp-cleanupd.socket || true")
        try await machine.check(
            "rm -rf /etc/mcp-cleanupd/test-authority.crt; apt-get purge -qq -y mcp-cleanupd")
        #expect(try await machine.property("ActiveState") != "active")
        #expect(try await machine.check("systemctl list-units --all --no-legend 'mcp-cleanupd*'").isEmpty)
        let left = try await machine.check(
            "find / -xdev \\( -path /proc -o -path /sys -o -path /run/systemd -o -path /tmp -o -path /root -o -path /var/cache/man \\) -prune -o -name '*mcp-cleanup*' -print; find /run -name 'mcp-cleanup*' -not -path '/run/systemd/*'"
        )
        #expect(left.isEmpty, "\(left)")
    }

    /// README's section on systemd as it stands but for the database URL, and then root's first commands.
    @Test func theReadmesCommandsWorkAndRootsOwnToo() async throws {
        let database = try await makeDatabase()
        try await makeHistory(in: database)
        try await database.run(Self.due)
        let url = try await machine.check("cat /etc/mcp-cleanupd/database-url; apt-get purge -qq -y mcp-cleanupd >&2")
        let section = try #require(
            Repository.text("README.md").components(separatedBy: "**Under systemd**").last?
                .components(separatedBy: "**In a container**").first)
        let commands = section.split(separator: "\n").filter { $0.hasPrefix("    ") }.joined(separator: "\n")
            .replacing(/'postgresql:[^']*'/, with: "'\(url)'")
        #expect(commands.contains(url) && commands.contains("apt install"), "\(commands)")
        try await machine.check("cp /root/mcp-cleanupd.deb /root/mcp-cleanupd_0_all.deb")
        let authority = "export SSL_CERT_FILE=/etc/mcp-cleanupd/test-authority.crt\n"
        let followed = try await machine.run("\(authority)cd /root && set -e\n\(commands)")
        #expect(followed.status == 0, "\(followed)")
        #expect(try await machine.check("stat -c '%a %U' /etc/mcp-cleanupd/database-url") == "600 root")
        #expect(try await machine.run("systemctl is-enabled mcp-cleanupd").output == "enabled\n")
        try await machine.wait("a removal") { try await database.count() == 0 }
        for command in ["check", "status", "history --limit 100"] {
            let result = try await machine.run("\(authority)mcp-cleanupd \(command)")
            #expect(result.status == 0 && !result.output.isEmpty, "\(command): \(result)")
        }
        #expect(try await machine.check("\(authority)mcp-cleanupd history --limit 100").contains(#/succeeded +20 /#))
        try await machine.check("systemctl disable --now --quiet mcp-cleanupd; rm /root/mcp-cleanupd_0_all.deb")
    }

    @Test func isEnabledAgainAfterRemoveAndInstall() async throws {
        try await putURL(Self.nowhere)
        try await machine.check("systemctl enable --now --quiet mcp-cleanupd")
        try await machine.check("apt-get remove -qq -y mcp-cleanupd")
        #expect(try await machine.run("grep -qsx mcp-cleanupd /proc/[0-9]*/comm").status != 0)
        #expect(try await machine.check("cat /etc/mcp-cleanupd/database-url").hasPrefix("postgresql:"))
        try await machine.check("apt-get install -qq -y /root/mcp-cleanupd.deb")
        #expect(try await machine.run("systemctl is-enabled mcp-cleanupd").output == "enabled\n")
        try await machine.check("systemctl disable --quiet mcp-cleanupd; apt-get remove -qq -y mcp-cleanupd")
        try await machine.check("apt-get install -qq -y /root/mcp-cleanupd.deb")
        #expect(try await machine.run("systemctl is-enabled mcp-cleanupd").output == "disabled\n")
    }

    @Test func leavesServicesAloneWherePolicyForbidsToTouchThem() async throws {
        try await putURL(Self.nowhere)
        try await machine.check("systemctl start mcp-cleanupd")
        let before = try await machine.property("MainPID")
        try await machine.check(
            "printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d")
        let installed = try await machine.run("apt-get install -qq -y --reinstall /root/mcp-cleanupd.deb")
        try await machine.check("rm /usr/sbin/policy-rc.d")
        #expect(installed.status == 0, "\(installed)")
        #expect(try await machine.property("MainPID") == before, "policy-rc.d said no")
    }

    @Test func takesFailedUnitsOffTheListWhenItIsRemoved() async throws {
        try await putURL("")
        #expect(try await machine.run("systemctl start mcp-cleanupd-once@transient.service").status != 0)
        #expect(try await machine.run("systemctl start mcp-cleanupd").status != 0)
        #expect(try await machine.check("systemctl --failed --no-legend").contains("mcp-cleanupd-once@transient"))
        try await machine.check("apt-get remove -qq -y mcp-cleanupd")
        #expect(try await !machine.check("systemctl --failed --no-legend").contains("mcp-cleanupd"))
    }
}
