import CMalloc

/// Whether an allocation gets pages that were used before, or fresh ones that the kernel has to map at first touch.
///
/// A page fault costs as much as a hundred adds, so that in fresh memory the size of a structure is measured and
/// little else. All is measured warm, as in a process that has been up for a while; adding is measured cold as well.
enum ProcessMemory {
    /// Freed memory stays with the process, and no allocation is mapped on its own.
    static func keepWarm() {
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, .max)
        mallopt(M_TOP_PAD, 64 << 20)
    }

    /// Gives all free pages back to the kernel.
    static func makeCold() { malloc_trim(0) }

    /// Bytes handed out by the allocator, its own headers included.
    static var allocatedBytes: Int {
        let information = mallinfo2()
        return Int(information.uordblks + information.hblkhd)
    }
}
