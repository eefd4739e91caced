import ArgumentParser
import Postgres
import Settings

/// The words of the command line, checked before the parser sees them: it would print a misplaced URL, password
/// included, and suggests no similar command for a misspelled one.
struct CommandWords {
    /// `nil` for the service and for `--once`.
    private let command: (any ParsableCommand.Type)?
    /// Values that are passed on although they look like URLs.
    private let secrets: [String]

    /// Options whose value is the next word, with a description of the value.
    private static let values = [
        "--config": "the path of a configuration file", "--database-url-file": "the path of a file",
        "--job": "the name of a job", "--metrics-textfile": "the path of a file", "--log-level": "a level",
        "--log-format": "a format", "--limit": "a number", "--role": "the name of a role", "--from": "a time",
        "--count": "a number", "--time-zone": "the name of a time zone", user: "a user's ID",
        "--generate-completion-script": "the name of a shell",
    ]

    /// The one option whose value may look like a URL: the application chooses the form of its IDs.
    private static let user = "--user"

    /// - Parameter words: those after the program's name.
    /// - Throws: `CommandFailure` with exit code 64, for a text that looks like a URL or an unknown command.
    init(_ words: [String]) throws(CommandFailure) {
        var first: String?
        var secrets: [String] = []
        // The option whose value the next word is.
        var option: String?
        for word in words {
            let isPair = option == nil && word.hasPrefix("--")
            let pair = isPair ? word.split(separator: "=", maxSplits: 1).map(String.init) : []
            let name = option ?? (pair.count == 2 ? pair[0] : nil)
            let value = pair.count == 2 ? pair[1] : word
            let isKnown = name.map { Self.values[$0] != nil } ?? false
            if Self.isSecret(value) || !isKnown && Self.isSecret(word) {
                guard name == Self.user else { throw Self.refusal(of: name) }
                secrets.append(value)
            }
            if option == nil, !word.hasPrefix("-"), first == nil { first = word }
            option = option == nil && Self.values[word] != nil ? word : nil
        }
        self.secrets = secrets
        let commands = RootCommand.configuration.subcommands
        command = commands.first { $0.configuration.commandName == first }
        // A shell's request for completions begins with three dashes, and contains unfinished words.
        guard let first, command == nil, first != "help", words.first?.hasPrefix("---") != true else { return }
        let names = commands.compactMap { $0.configuration.commandName }
        let hint =
            first.nearest(of: names).map { "Did you mean \($0)?" }
            ?? "The commands are \(names.joined(separator: ", ")); mcp-cleanupd --help explains them."
        throw CommandFailure(.usage, "there is no command \(first.shown)", hint: hint)
    }

    private static func isSecret(_ text: String) -> Bool {
        let isPath = text.hasPrefix("/") || text.hasPrefix("./") || text.hasPrefix("../")
        return MisplacedURL.isIn(text) && !(isPath && !text.contains("://") && !text.contains("="))
    }

    private static func refusal(of option: String?) -> CommandFailure {
        var message = "URLs and passwords do not go on the command line"
        var place = """
            For the database, set NEON_DATABASE_URL, or write the URL to a file and give its path with \
            --database-url-file; root's commands use \(DatabaseURLSource.standardPath)
            """
        if let option, let value = values[option] {
            message = "\(option): expected \(value), and got \(MisplacedURL.replacement)"
            if option == "--database-url-file" {
                place = "Write the URL to a file that only its owner can read, and give the file's path"
            }
        }
        let seen = "Every user of this machine can read the command line: if the URL had a password, change it."
        return CommandFailure(.usage, message, hint: "\(place). \(seen)")
    }

    /// Turns the message of the parser, or of a command's own checks, into one of our errors, whose hint is a
    /// suggestion and the command's own usage.
    func usageFailure(_ message: String) -> CommandFailure {
        var message = message
        for secret in secrets { message = message.replacing(secret, with: "…") }
        // The parser lists several values, each on a line.
        message = message.replacing(":\n  - ", with: " ").replacing("\n  - ", with: ", ")
        let suggestion = message.firstRange(of: ". Did you mean")
        var text = suggestion.map { String(message[..<$0.lowerBound]) } ?? message
        if let first = text.first { text.replaceSubrange(...text.startIndex, with: first.lowercased()) }
        while text.last == "." { text.removeLast() }
        let usage = (command ?? RootCommand.self).configuration.usage ?? ""
        var hints: [String] = []
        if text.hasPrefix("unknown option '"), let option = text.split(separator: "'").dropFirst().first {
            let options = (usage + CommonOptions.usage).split { !($0.isLetter || $0 == "-") }.map(String.init)
            let known = Set(options.filter { $0.hasPrefix("--") }).sorted()
            if let near = String(option).nearest(of: known) { hints.append("Did you mean \(near)?") }
        }
        let name = command?.configuration.commandName.map { $0 + " " } ?? ""
        hints.append("Usage: \(usage); see mcp-cleanupd \(name)--help.")
        return CommandFailure(.usage, text, hint: hints.joined(separator: " "))
    }
}
