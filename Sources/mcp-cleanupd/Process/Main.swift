import ArgumentParser
import CMalloc
import Glibc
import SessionCleanup

@main
enum Main {
    static func main() {
        // A heap for each thread would take a third more memory; no two threads allocate much at once.
        mallopt(M_ARENA_MAX, 1)
        StandardStream.reserveDescriptors()
        // A reader that goes away is an error to report, not a reason to die in the middle of a run.
        signal(SIGPIPE, SIG_IGN)
        Signals.hold()
        // `main` is not `async`, which would make the main thread an executor that is never used.
        Task(executorPreference: TaskQueue.shared) {
            let code = await status()
            // `_exit`, not `exit`: nothing is left to clean up, and libraries' exit handlers only take time.
            fflush(nil as UnsafeMutablePointer<FILE>?)
            _exit(code)
        }
        // Not `dispatchMain()`, which ends the main thread and loads a library for that.
        Signals.take()
    }

    private static func status() async -> Int32 {
        let arguments = Array(CommandLine.arguments.dropFirst())
        var words: CommandWords?
        do {
            // The command that platforms' crons call, every few minutes: there is nothing to parse, and the parser
            // would take a tenth of the time of such a run.
            if arguments == ["--once"] {
                try await OnceCommand().run()
                return Sysexit.success.rawValue
            }
            words = try CommandWords(arguments)
            var command = try RootCommand.parseAsRoot(arguments)
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
            return Sysexit.success.rawValue
        } catch let code as ExitCode {
            return code.rawValue
        } catch {
            return CommandFailure(expected: error)?.report() ?? end(with: error, words)
        }
    }

    /// Prints help, the version or a usage error, and returns the exit code that goes with it.
    private static func end(with error: any Error, _ words: CommandWords?) -> Int32 {
        let message = RootCommand.message(for: error)
        switch RootCommand.exitCode(for: error) {
        case .success:
            do {
                try StandardStream.output.list(RootCommand.shortHelpFirst(message) + "\n", steers: true)
            } catch {
                return error.report()
            }
            return Sysexit.success.rawValue
        case .failure:
            return CommandFailure(.software, "\(error)", hint: "This is a bug in mcp-cleanupd; please report it.")
                .report()
        default: return (words?.usageFailure(message) ?? CommandFailure(.usage, message)).report()
        }
    }
}
