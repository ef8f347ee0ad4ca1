// SPDX-License-Identifier: Apache-2.0

import BlockScaleCommands
import RealModule
import Testing

@Suite struct LossPlotTests {
  static func curve(_ name: String, _ count: Int, shift: Double = 0) -> LossCurve {
    LossCurve(
      name: name,
      losses: (0..<count).map { 2 + 3 * Double.exp(-Double($0) / 30) + shift * Double($0 % 3) })
  }

  @Test func meansOfCurves() {
    let curve = LossCurve(name: "a", losses: [4, 2, 6, 0, 8])
    #expect(curve.finalLoss(over: 2) == 4)
    #expect(curve.finalLoss(over: 50) == 4)
    #expect(LossCurve(name: "", losses: []).finalLoss(over: 5).isNaN)
    #expect(curve.smoothed(over: 2) == [4, 3, 4, 3, 4])
    #expect(curve.smoothed(over: 1) == curve.losses)
    #expect(LossCurve.window([]) == 1)
    #expect(LossCurve.window([Self.curve("a", 39), Self.curve("b", 400)]) == 10)
  }

  @Test func drawsCurvesAndDifferences() throws {
    let curves = [Self.curve("bf16", 200), Self.curve("f<p>8&", 150, shift: 0.01)]
    let svg = LossPlot.svg(curves, title: "<script>alert(1)</script> & more")
    let elements = try XMLCheck(svg).elements
    #expect(svg == LossPlot.svg(curves, title: "<script>alert(1)</script> & more"))
    #expect(!svg.contains("<script") && !svg.contains("nan") && !svg.contains("inf"))
    #expect(svg.contains(">f&lt;p&gt;8&amp;</text>") && svg.contains(">against bf16</text>"))
    // Two of single steps, two of means, one difference, and two in the legend.
    let lines = elements.filter { $0.name == "polyline" }
    #expect(lines.count == 7)
    #expect(lines.count { $0.attributes["class"]?.hasSuffix("raw") == true } == 2)
    let frames = elements.filter { $0.attributes["class"] == "frame" }
    #expect(frames.count == 2)
    // Every point lies in one of the frames, or in the legend on their right.
    for line in lines {
      let points = line.attributes["points"]?.split { $0 == " " || $0 == "," }.compactMap {
        Double($0)
      }
      let numbers = try #require(points)
      #expect(numbers.count >= 4 && numbers.count % 2 == 0)
      for index in stride(from: 0, to: numbers.count, by: 2) {
        let (x, y) = (numbers[index], numbers[index + 1])
        let isInside =
          x > 870
          || frames.contains { frame in
            let (left, top) = (frame["x"], frame["y"])
            return x >= left - 0.1 && x <= left + frame["width"] + 0.1 && y >= top - 0.1
              && y <= top + frame["height"] + 0.1
          }
        #expect(isInside, "(\(x), \(y))")
      }
    }
    #expect(svg.contains("prefers-color-scheme: dark"))
  }

  @Test(arguments: [
    [LossCurve(name: "a", losses: [])], [LossCurve(name: "a", losses: [3])],
    [LossCurve(name: "a", losses: [.nan, .infinity]), LossCurve(name: "b", losses: [1, .nan])],
    [LossCurve(name: "a", losses: [0, 0, 0]), LossCurve(name: "b", losses: [0, 0, 0])], [],
  ])
  func drawsWhatIsHardlyThere(_ curves: [LossCurve]) throws {
    let svg = LossPlot.svg(curves, title: "")
    #expect(try XMLCheck(svg).elements.first?.name == "svg")
    #expect(!svg.contains("nan") && !svg.contains("inf"))
  }

  @Test func drawsBars() throws {
    let svg = BarPlot.svg(
      [("bf16", 2000, "2000 tokens/s"), ("f<8", 1000, "1000 tokens/s"), ("x", .nan, "")],
      unit: "tokens & seconds", title: "Speed")
    let elements = try XMLCheck(svg).elements
    let bars = elements.filter {
      $0.name == "rect" && $0.attributes["class"]?.hasPrefix("k") == true
    }
    #expect(bars.count == 2)
    #expect(bars[0]["x"] == bars[1]["x"])
    #expect(abs(bars[0]["width"] - 2 * bars[1]["width"]) < 0.11)
    #expect(svg.contains(">1000 tokens/s</text>") && svg.contains("f&lt;8"))
    #expect(!svg.contains("<script") && !svg.contains("nan"))
    #expect(try XMLCheck(BarPlot.svg([], unit: "", title: "")).elements.isEmpty == false)
  }

  @Test func chartsInCharacters() {
    let curves = [Self.curve("bf16", 100), Self.curve("fp8", 100, shift: 0.5)]
    let text = TerminalChart.text(curves, width: 60, height: 10, color: false)
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    // The frame, its lower edge, the steps, the legend, and what follows the last line's end.
    #expect(lines.count == 14 && lines.last == "")
    #expect(lines.allSatisfy { $0.count <= 60 && !$0.hasSuffix(" ") })
    #expect(lines[11].hasSuffix("step 100"))
    #expect(lines[12].hasSuffix("o bf16   x fp8   * both"))
    let marks = lines[..<10].flatMap { $0.drop { $0 != "│" } }
    #expect(marks.contains("o") && marks.contains("x"))
    // One mark a column at least, and no more than one a curve.
    #expect((50...100).contains(marks.count { "ox*".contains($0) }))
    #expect(!text.contains("\u{1B}"))
    let colored = TerminalChart.text(curves, width: 60, height: 10, color: true)
    #expect(colored.contains("\u{1B}[36mo\u{1B}[0m"))
    // Equal curves show as one.
    let same = TerminalChart.text(
      [curves[0], LossCurve(name: "c", losses: curves[0].losses)], width: 60, color: false)
    #expect(same.split(separator: "\n").dropLast().allSatisfy { !$0.contains("o") })
    #expect(
      TerminalChart.text([LossCurve(name: "a", losses: [.nan])], width: 60, color: false) == "")
    #expect(
      TerminalChart.text([LossCurve(name: "a", losses: [3])], width: 1, color: false)
        .contains("step 1\n"))
  }
}
