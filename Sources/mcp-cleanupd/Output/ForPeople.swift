extension String {
    /// With spaces at the end, so that columns line up.
    func padding(to width: Int) -> String {
        self + String(repeating: " ", count: Swift.max(0, width - count))
    }
}
