/// The kind of a log entry, for the journal's catalog (`systemd/mcp-cleanupd.catalog`) and for filters:
/// `journalctl MESSAGE_ID=…`. A number never changes its meaning.
package enum MessageID: String, CaseIterable, Sendable {
    case runEnded = "bc63ca9be5a34bc8a4c6a2956b04cb40"
    case runFailed = "cbe04452d0a346618ccab7ee0a4e274b"
    case attemptFailed = "406f8820fcd4480bb508370257f1d3ad"
    case failureEnded = "744c21971925404392dfc2da740cebd4"
    case clockWasSet = "06baabc0f2c141509093ffda714d6907"
    case fireTimesMissed = "ddca4ebf36e74639bf9d593d88505ad7"
    case reloaded = "b9877416ba7045bbb60e7fa65a3a4fd0"
    case reloadFailed = "1919b94147614acd943cbc8ed3317cdc"

    /// The key of the entry's metadata that carries the ID.
    package static let metadataKey = "message_id"
}
