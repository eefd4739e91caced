/// The server's text of an array of rows, `{"(1,\"a b\")","(2,c)"}`, taken apart. NULL reads as an empty text.
enum RowText {
    static func rows(_ text: String) -> [[String]] { elements(Array(text.utf8)).map { elements(Array($0.utf8)) } }

    /// Returns the elements of an array or the fields of a row, without the characters around all of them.
    private static func elements(_ bytes: [UInt8]) -> [String] {
        guard bytes.count > 2 else { return [] }
        var elements: [String] = []
        var element: [UInt8] = []
        var isQuoted = false
        var index = 1
        while index < bytes.count - 1 {
            let byte = bytes[index]
            switch byte {
            // An array has a backslash before a quotation mark, a row has two of them.
            case UInt8(ascii: "\\"),
                UInt8(ascii: "\"") where isQuoted && bytes[index + 1] == UInt8(ascii: "\""):
                index += 1
                element.append(bytes[index])
            case UInt8(ascii: "\""): isQuoted.toggle()
            case UInt8(ascii: ",") where !isQuoted:
                elements.append(String(decoding: element, as: UTF8.self))
                element = []
            default: element.append(byte)
            }
            index += 1
        }
        elements.append(String(decoding: element, as: UTF8.self))
        return elements
    }
}
