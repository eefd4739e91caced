import Time

/// Recognizes database URLs, and parts of them, in places where none belongs: arguments, names of variables, keys and
/// values of the configuration, parts of another URL. Such a text may hold a password, so nothing prints it.
package enum MisplacedURL {
    /// Stands in messages for a text that must not be repeated.
    package static let replacement = "a text that looks like a URL or a password, and is not repeated here"

    /// True if the text looks like a URL, or holds a user name and a password: `scheme://…`, `user:password@…`,
    /// `password=…`, `postgresql:…`, as it stands or percent-encoded, in capitals too. Errs on the side of caution: a
    /// message loses little without a harmless text.
    package static func isIn(_ text: String) -> Bool {
        let plain = text.lowercased()
        return looksLikeURL(plain, holdsBlanks: true)
            || plain.utf8.contains(UInt8(ascii: "%")) && looksLikeURL(percentDecoded(plain), holdsBlanks: true)
    }

    /// A weaker test for a valid value, such as the condition of a job: in `a::jsonb @> $1` no word has `:` and `@`.
    package static func isInValid(_ value: String) -> Bool { looksLikeURL(value.lowercased(), holdsBlanks: false) }

    /// - Parameter holdsBlanks: true if a password may have blanks in it.
    private static func looksLikeURL(_ text: String, holdsBlanks: Bool) -> Bool {
        let bytes = Array(text.utf8)
        if holds("://", in: bytes) || holds("password=", in: bytes.filter { $0 != UInt8(ascii: " ") }) { return true }
        let start = text.drop { $0.isWhitespace || "\"'“‘<(".contains($0) }
        if start.hasPrefix("postgres:") || start.hasPrefix("postgresql:") { return true }
        let words = holdsBlanks ? [text[...]] : text.split(whereSeparator: \.isWhitespace)
        return words.contains { word in
            guard let colon = word.firstIndex(of: ":"), let at = word.lastIndex(of: "@") else { return false }
            return colon < at
        }
    }

    /// By bytes: no accent behind a part hides it; many times faster than by characters, at each start of the program.
    private static func holds(_ part: String, in text: [UInt8]) -> Bool {
        text.indices.contains { text[$0...].starts(with: part.utf8) }
    }

    /// A text in lower case with each `%xx` replaced by its character, where that is ASCII.
    private static func percentDecoded(_ text: String) -> String {
        text.replacing(/%([0-9a-f]{2})/.matchingSemantics(.unicodeScalar)) { escape in
            UInt8(escape.1, radix: 16).flatMap { $0 < 0x80 ? String(Unicode.Scalar($0)) : nil } ?? String(escape.0)
        }
    }
}

extension String {
    /// A name or a path as it may be shown: visible; an ellipsis if it looks like a URL.
    package var withoutURL: String { MisplacedURL.isIn(self) ? "…" : visible }
}
