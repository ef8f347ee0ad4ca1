// SPDX-License-Identifier: Apache-2.0

import _BlockScaleShims

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

extension CPUBackend {
  /// The processors that this process may run on: what a container or `taskset` leaves of those of the
  /// machine.
  public static var processorCount: Int {
    let allowed = Int(bs_processor_count())
    return allowed > 0 ? allowed : max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
  }
}
