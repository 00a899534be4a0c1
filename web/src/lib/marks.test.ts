import { describe, expect, it } from "vitest";
import { oneLine, segments, warnings } from "./marks";

const marks = (s: string) => segments(s).flatMap((x) => (x.mark ? [`${x.mark.kind}:${x.mark.shown}`] : []));

describe("segments", () => {
  it("leaves ordinary statements alone", () => {
    for (const s of ["SELECT 1;\n\tFROM t\r\nWHERE a = 'b'", "select 'Grüße, 日本語, Привет, שלום', 'naïve café' -- ok", "", "a".repeat(10_000), "SELECT *\n\n\nFROM t"]) expect(segments(s).every((x) => !x.mark)).toBe(true);
  });

  it.each([
    ["a\u001b[2Kb", ["control:ESC"]],
    ["a\u0000b", ["control:NUL"]],
    ["a\u0007\u0008b", ["control:BEL", "control:BS"]],
    ["a\u007fb", ["control:DEL"]],
    ["a\u009bb", ["control:U+009B"]],
    ["a\ud800b", ["control:U+D800"]],
    ["-- ok\rDROP TABLE t", ["control:CR"]],
    ["a\u202eb\u202c", ["bidi:RLO", "bidi:PDF"]],
    ["a\u2066b\u2069", ["bidi:LRI", "bidi:PDI"]],
    ["a\u200eb\u200fc\u061c", ["bidi:LRM", "bidi:RLM", "bidi:ALM"]],
    ["us\u200bers", ["invisible:ZWSP"]],
    ["us\u00aders\ufeff", ["invisible:SHY", "invisible:BOM"]],
    ["a\u{e0041}b", ["invisible:U+E0041"]],
    ["a\u00a0b", ["space:NBSP"]],
    ["a\u2028b", ["space:LS"]],
    ["\u3164", ["invisible:HF"]],
  ])("shows %j for what it is", (text, want) => {
    expect(marks(text)).toEqual(want);
  });

  it("finds letters that look like others", () => {
    expect(marks("SELECT * FROM us\u0435rs")).toEqual(["lookalike:us\u0435rs U+0435"]);
    expect(segments("us\u0435rs")[0]?.mark?.title).toContain("“users”");
    expect(marks("FROM \u0441\u043e\u0440")).toHaveLength(1); // nothing but look-alikes
    expect(marks("'Москва'")).toEqual([]); // a word of its own script
    expect(marks("ＤＲＯＰ")).toHaveLength(1);
    expect(marks("DＲOP")).toHaveLength(1);
    expect(marks("a；b")).toHaveLength(1);
    expect(marks("a = \u2019x\u2019")).toHaveLength(2);
    expect(marks("\u2014\u2014 not a comment")).toHaveLength(2);
    expect(marks("a\u037e b")).toHaveLength(1);
  });

  it("shows gaps that push the rest out of sight", () => {
    expect(marks("SELECT 1" + " ".repeat(300) + "; DROP TABLE t")).toEqual(["run:300 spaces"]);
    expect(marks("SELECT 1" + "\n".repeat(100) + "; DROP TABLE t")).toEqual(["run:99 empty lines"]);
    expect(marks("SELECT 1" + "\r\n  ".repeat(50) + "; DROP TABLE t")).toEqual(["run:49 empty lines"]);
  });

  it("counts the same character in a row", () => {
    expect(marks("a" + "\u200b".repeat(5) + "b")).toEqual(["invisible:ZWSP×5"]);
    expect(warnings("\u200b".repeat(5))[0]?.count).toBe(5);
  });

  it("bounds stacked marks", () => {
    expect(marks("e" + "\u0301".repeat(40))).toEqual(["invisible:40 combining marks"]);
  });

  it("never loses or adds a character", () => {
    const alphabet = ["a", "е", "'", " ", "\n", "\r", "\t", "\u202e", "\u200b", "\u0000", "\u001b", "\ud800", "\udc00", "😀", "é", "\u0301", "ｄ", "\u2028", "\u00a0", " ".repeat(50), "\n".repeat(7), "\u{e0020}", "_", "9"];
    let seed = 11;
    const next = () => (seed = (seed * 1103515245 + 12345) & 0x7fffffff);
    for (let i = 0; i < 3000; i++) {
      let s = "";
      for (let j = next() % 20; j > 0; j--) s += alphabet[next() % alphabet.length];
      expect(segments(s).map((x) => x.text).join("")).toBe(s);
    }
  });

  it("leaves nothing unmarked that has no shape", () => {
    for (let c = 0; c < 0x110000; c++) {
      if (c === 9 || c === 10 || c === 32) continue;
      const ch = String.fromCodePoint(c);
      if (!/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Zs}]/u.test(ch)) continue;
      // Signs that are drawn, although Unicode calls them format characters.
      if (/[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\u{110bd}\u{110cd}\u{13430}-\u{1345f}]/u.test(ch)) continue;
      expect(segments("x" + ch + "x").some((s) => s.mark), c.toString(16)).toBe(true);
    }
  });

  it("takes time that grows with the text and no faster", () => {
    const bad = ["\u202e", "\u202e\u202c", "a", "é", "\u0435", " ", "\n", "\n   ", "\r\n\t", "_1", "\u0301", "\ud800", "a\u200b"];
    for (const b of bad) {
      const text = b.repeat(100_000 / b.length);
      const start = performance.now();
      expect(segments(text).map((s) => s.text).join("")).toBe(text);
      expect(performance.now() - start, JSON.stringify(b)).toBeLessThan(15_000);
    }
  }, 120_000);
});

describe("warnings", () => {
  it("says the worst first", () => {
    expect(warnings("a\u00a0b\u202ec\u202ed\u001b").map((w) => w.text)).toEqual(["2 characters that change the order in which text is shown", "1 control character", "1 unusual space"]);
    expect(warnings("SELECT 1")).toEqual([]);
    expect(warnings("-- don\u2019t \u2014 yet")).toEqual([]);
  });
});

describe("oneLine", () => {
  it("is one line, bounded, and spells marks out", () => {
    expect(oneLine("SELECT 1\n  FROM\tt")).toBe("SELECT 1 FROM t");
    expect(oneLine("a\u202eb\u001bc")).toBe("a⟨RLO⟩b⟨ESC⟩c");
    expect(oneLine("-- ok\rDROP TABLE t")).toBe("-- ok⟨CR⟩ DROP TABLE t");
    expect(oneLine("x".repeat(1000), 10)).toBe("x".repeat(10) + "…");
  });
});
