// SPDX-License-Identifier: Apache-2.0

import BlockScaleCommands
import Testing

@Suite struct SQNRPlotTests {
  @Test(arguments: [
    ("model.layers.3.self_attn.q_proj.weight", 3, "q_proj"),
    ("model.layers.3.mlp.experts.17.down_proj.weight", 3, "down_proj"),
    ("model.layers.3.mlp.experts.gate_up_proj", 3, "gate_up_proj"),
    ("transformer_blocks.12.attn.to_out.0.weight", 12, "to_out.0"), ("net.2.weight", 2, "net"),
    ("lm_head.weight", nil, "lm_head"), ("weight", nil, "weight"), ("7", 7, "7"), ("", nil, ""),
    ("a.99999999999999999999.b.weight", nil, "b"), ("a.+1.-2.b", nil, "b"), ("a..b", nil, "b"),
  ])
  func names(_ name: String, _ layer: Int?, _ kind: String) {
    let place = TensorPlace(name)
    #expect(place.layer == layer)
    #expect(place.kind == kind)
  }

  @Test(arguments: [(0.3, 0.5), (1, 1), (1.1, 2), (2.1, 5), (5.1, 10), (0.001, 0.01), (3e5, 5e5)])
  func niceSteps(_ distance: Double, _ expected: Double) {
    #expect(abs(PlotAxis.niceStep(atLeast: distance) / expected - 1) < 1e-12)
  }

  @Test func axes() {
    let decibels = PlotAxis.rounded(17.74...21.2, ends: (400, 100), ticks: 7)
    #expect(
      decibels.ticks.map(decibels.label) == [
        "17.5", "18.0", "18.5", "19.0", "19.5", "20.0", "20.5", "21.0", "21.5",
      ])
    let flat = PlotAxis.rounded(20...20, ends: (400, 100), ticks: 7)
    #expect(flat.place(20) == 250)
    let layers = PlotAxis.integers(0...79, ends: (0, 790), ticks: 16)
    #expect(layers.ticks == Array(stride(from: 0, through: 75, by: 5)))
    #expect(PlotAxis.integers(3...3, ends: (0, 10), ticks: 16).ticks == [3])
  }

  @Test func drawsASmallModel() throws {
    let points: [(name: String, sqnr: Double)] = [
      ("model.embed_tokens.weight", .infinity), ("model.layers.0.self_attn.q_proj.weight", 20.5),
      ("model.layers.0.mlp.<&\"'>\u{1}.weight", 19), ("model.layers.1.self_attn.q_proj.weight", 21),
      ("model.layers.1.mlp.norm.weight", .nan),
    ]
    let svg = SQNRPlot.svg(points: points, title: "A & B")
    let elements = try XMLCheck(svg).elements
    #expect(svg == SQNRPlot.svg(points: points, title: "A & B"))
    #expect(svg.contains(" aria-label=\"A &amp; B\">"))
    #expect(svg.contains(">5 tensors, median 20.50 dB, lowest 19.00 dB in "))
    let escaped = "&lt;&amp;&quot;&apos;&gt;\u{FFFD}"
    #expect(svg.contains("<title>model.layers.0.mlp.\(escaped).weight: 19.00 dB</title>"))
    #expect(svg.contains("<title>model.embed_tokens.weight: exact</title>"))
    #expect(svg.contains(">exact</text>") && svg.contains(">n/a</text>"))
    #expect(!svg.contains("<script") && !svg.contains("nan") && !svg.contains("inf"))
    #expect(elements.count { $0.name == "title" } == points.count)
    for label in ["layer", "other", "SQNR (dB)", "q_proj", "embed_tokens"] {
      #expect(svg.contains(">\(label)</text>"))
    }
  }

  @Test(arguments: [0, 1, 2, 80, 5000])
  func staysWithinThePlot(_ layers: Int) throws {
    var points: [(name: String, sqnr: Double)] = [("lm_head.weight", 3), ("x.weight", -.infinity)]
    for layer in 0..<layers {
      for kind in 0..<14 {
        let name = "model.layers.\(layer).k\(kind).weight"
        points.append((name, Double((layer * 7 + kind * 13) % 97) / 3 - 5))
      }
    }
    let elements = try XMLCheck(SQNRPlot.svg(points: points, title: "t")).elements
    let frame = try #require(elements.first { $0.attributes["class"] == "frame" })
    let (left, top) = (frame["x"], frame["y"])
    let (right, bottom) = (left + frame["width"], top + frame["height"])
    let marks = elements.filter { $0.parents.last?.hasSuffix(" marks") == true }
    let places = marks.compactMap(\.place)
    #expect(places.count == points.count)
    #expect(places.allSatisfy { left <= $0.x && $0.x <= right && top <= $0.y && $0.y <= bottom })
    // Twelve colours at the most, the last one shared.
    #expect(Set(marks.compactMap(\.parents.last)).count == min(layers == 0 ? 2 : 16, 12))
    let ticks = elements.filter { $0.attributes["class"] == "middle" && $0.attributes["x"] != nil }
      .filter { $0["y"] < bottom + 20 }.map { $0["x"] }
    #expect(zip(ticks, ticks.dropFirst()).allSatisfy { $1 - $0 >= 30 })
  }

  @Test func drawsNothing() throws {
    let svg = SQNRPlot.svg(points: [], title: "")
    #expect(try XMLCheck(svg).elements.contains { $0.name == "svg" })
    #expect(svg.contains(">0 tensors</text>"))
    // The widest range of layers that names can spell.
    let wide = SQNRPlot.svg(points: [("a.\(Int.max).b", 1), ("a.0.b", 1)], title: "")
    #expect(try XMLCheck(wide).elements.count { $0.name == "circle" } == 3)
  }
}
