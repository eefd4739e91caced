import ArgumentParser
import Glibc
import SessionCleanup

@main
enum Main {
    static func main() {
        // A reader that goes away is an error to report, not a reason to die in the middle of a run.
        signal(SIGPIPE, SIG_IGN)
        Signals.hold()
        // Not `async`, which would make the main thread an executor that is never used.
        Task(executorPreference: TaskQueue.shared) {
            let code = await status()
            // At once: nothing is left to tidy up, and what libraries registered for an orderly exit only takes time.
            fflush(nil as UnsafeMutablePointer<FILE>?)
            _exit(code)
        }
        // Not `dispatchMain()`, which ends the main thread and loads a library for that.
        Signals.take()
    }

    private static func status() async -> Int32 {
        do {
            // What platforms' crons call, every few minutes: there is nothing to parse, and the parser would take a tenth of
            // the time of such a run.
            if CommandLine.arguments.dropFirst() == ["--once"] {
                try await OnceCommand().run()
                return Sysexit.success.rawValue
            }
            var command = try RootCommand.parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
            return Sysexit.success.rawValue
        } catch let failure as CommandFailure {
            report(failure)
            return failure.code.rawValue
        } catch let failure as RunFailure {
            report(CommandFailure(failure))
            return Sysexit(failure.kind).rawValue
        } catch let error as StandardStream.CannotWrite {
            report(CommandFailure(.cannotWrite, "\(error)"))
            return Sysexit.cannotWrite.rawValue
        } catch let ended as EndedBySignal {
            return 128 + ended.signal
        } catch {
            if RootCommand.exitCode(for: error) == .failure {
                report(CommandFailure(.software, "\(error)", hint: "This is a bug in mcp-cleanupd; please report it."))
                return Sysexit.software.rawValue
            }
            // Help, version and usage errors: printed where they belong, with exit code 0 or 64.
            RootCommand.exit(withError: error)
        }
    }

    private static func report(_ failure: CommandFailure) {
        let hint = failure.hint.map { "hint: \($0)\n" } ?? ""
        do {
            try StandardStream.error.write("error: \(failure.message)\n\(hint)")
        } catch {
            // Nobody is left to tell; the exit code says the rest.
        }
    }
}
