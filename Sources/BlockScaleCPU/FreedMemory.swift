// SPDX-License-Identifier: Apache-2.0

import _BlockScaleShims

/// Lets the process keep the memory that it frees, for the next arrays of their size.
///
/// Training frees and takes arrays of many megabytes in every step. glibc gives each of them back to the
/// kernel, which clears its pages anew: a tenth of the time of a step and more. Afterwards the process keeps
/// what it needed most at one time.
///
/// This changes settings of `malloc` for the whole process, so it is for programs to call, at their start,
/// and no library calls it. It holds for what the process's first thread takes; arrays of many megabytes that
/// others take still come from the kernel. Without glibc nothing changes.
///
/// - Returns: Whether freed memory is kept.
@discardableResult
public func keepFreedMemory() -> Bool {
  bs_keep_freed_memory()
}
