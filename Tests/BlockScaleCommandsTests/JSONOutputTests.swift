// SPDX-License-Identifier: Apache-2.0

import BlockScaleCommands
import Safetensors
import Testing

@Suite struct JSONOutputTests {
  @Test func beginsWithVersionAndCommand() throws {
    let body: JSONValue = ["sqnr": 20.5, "nmse": JSONValue(Double.infinity), "tensors": []]
    let expected = """
      {
        "schemaVersion": 1,
        "command": "verify",
        "sqnr": 20.5,
        "nmse": null,
        "tensors": []
      }
      """
    #expect(JSONOutput.document(command: "verify", body).rendered(.pretty) == expected)
    let pipe = try Pipe()
    try JSONOutput.write(command: "verify", body, to: pipe.terminal(isDevice: false))
    #expect(try pipe.contents() == expected + "\n")
  }

  @Test func refusesOtherBodies() async {
    await #expect(processExitsWith: .failure) { _ = JSONOutput.document(command: "x", [1]) }
    await #expect(processExitsWith: .failure) {
      _ = JSONOutput.document(command: "x", ["command": 1])
    }
  }
}
