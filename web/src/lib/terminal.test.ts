import { describe, expect, it } from "vitest";
import { parseSize, plain, Screen } from "./terminal";

const rowsOf = (s: Screen) => s.lines().map((l) => l.cells.map((c) => c.ch).join("").trimEnd());
const shown = (text: string, columns = 20, rows = 4, returns = false) => {
  const s = new Screen(columns, rows);
  s.write(text, returns);
  return rowsOf(s);
};

describe("drawing", () => {
  it("writes, wraps and scrolls", () => {
    expect(shown("one\r\ntwo\nthree")).toEqual(["one", "two", "   three", ""]);
    expect(shown("one\ntwo", 20, 2, true)).toEqual(["one", "two"]);
    expect(shown("abcdefgh", 3, 2)).toEqual(["abc", "def", "gh"]);
    expect(shown("10%\r20%")[0]).toBe("20%");
    expect(shown("abc\b\bX\tY")[0]).toBe("aXc     Y");
    expect(shown("日本x", 5, 1)).toEqual(["日本x"]);
    expect(shown("e\u0301x")[0]).toBe("e\u0301x");
  });
  it("moves, erases, inserts and deletes", () => {
    expect(shown("abc\x1b[2;3Hx\x1b[1;1HY")).toEqual(["Ybc", "  x", "", ""]);
    expect(shown("abcdef\x1b[3G\x1b[K")[0]).toBe("ab");
    expect(shown("abcdef\x1b[3G\x1b[2P")[0]).toBe("abef");
    expect(shown("abcdef\x1b[3G\x1b[2@XY")[0]).toBe("abXYcdef");
    expect(shown("abcdef\x1b[3G\x1b[4hX")[0]).toBe("abXcdef");
    expect(shown("a\r\nb\r\nc\x1b[2;1H\x1b[L")).toEqual(["a", "", "b", "c"]);
    expect(shown("a\r\nb\r\nc\x1b[1;1H\x1b[M")).toEqual(["b", "c", "", ""]);
    expect(shown("x\x1b[3b")[0]).toBe("xxxx");
    expect(shown("\x1b(0lqk\x1b(Bq")[0]).toBe("┌─┐q");
  });
  it("scrolls a part of the screen, and keeps it out of what was scrolled away", () => {
    expect(shown("a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[3;1H\ne")).toEqual(["a", "c", "e", "d"]);
    expect(shown("a\x1bMb")).toEqual([" b", "a", "", ""]);
  });
  it("switches to the other screen and back", () => {
    const s = new Screen(20, 2);
    s.write("shell\x1b[?1049h\x1b[Htop", false);
    expect(rowsOf(s)).toEqual(["top", ""]);
    s.write("\x1b[?1049l$", false);
    expect(rowsOf(s)).toEqual(["shell$", ""]);
  });
  it("keeps what a program wipes away", () => {
    expect(shown("secret\x1b[2J\x1b[Hnothing")).toEqual(["secret", "nothing", "", "", ""]);
  });
  it("colours by classes", () => {
    const s = new Screen();
    s.write("\x1b[1;31mr\x1b[0m.\x1b[38;5;196mx\x1b[48;2;0;0;250my\x1b[7mz\x1b[8mh\x1b[38:2::0:255:0mg", false);
    expect(s.lines()[0]?.cells.map((c) => c.look.cls)).toEqual(["tm-bold tm-fg1", "", "tm-fg9", "tm-fg9 tm-bg4", "tm-fg4 tm-bg9", "tm-fg4 tm-bg9", "tm-fg4 tm-bg10"]);
  });
  it("takes a new size", () => {
    const s = new Screen(10, 4);
    s.write("a\r\nb\r\nc\r\nd", false);
    s.resize(5, 2);
    expect(rowsOf(s)).toEqual(["a", "b", "c", "d"]);
    s.write("\x1b[1;1HX", false);
    expect(rowsOf(s)).toEqual(["a", "b", "X", "d"]);
    s.resize(5, 6);
    expect(s.lines()).toHaveLength(8);
  });
});

describe("what it does not know", () => {
  it("drops it", () => {
    expect(shown("a\x1b]0;x\x07b\x1b[6nc\x1b[?2004hd\x1b[5ie\x1b[3Jf\x1b\u009bg\x1b[!ph\x00", 30)[0]).toBe("a]0;xbcdefg[!ph");
  });
  it("stays within bounds, whatever comes", () => {
    let seed = 7;
    const next = (n: number) => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % n;
    const bits = ["\x1b[", "\x1b", "?", ";", "9999", "0", "1", "38", "5", "1049", "h", "l", "m", "H", "J", "K", "L", "M", "P", "@", "X", "S", "T", "r", "b", "d", "A", "B", "8", "7", "\n", "\r", "\t", "\b", "x", "日", "\u0301", "\x1b[?1049h", "\x1b[?1049l", "\x1b[2;3r", "\x1b[?6h"];
    for (let round = 0; round < 300; round++) {
      const s = new Screen(1 + next(12), 1 + next(6));
      for (let i = 0; i < 120; i++) {
        s.write(bits[next(bits.length)] + (next(3) ? "" : `\x1b[${next(12)};${next(12)}${"HrABCDLMP@XSTJKbd"[next(17)]}`), next(2) === 0);
        if (next(40) === 0) s.resize(1 + next(12), 1 + next(6));
      }
      expect(s.x >= 0 && s.x < s.columns && s.y >= 0 && s.y < s.rows).toBe(true);
      expect(s.lines().length).toBeGreaterThanOrEqual(s.rows);
      expect(s.lines().length).toBeLessThanOrEqual(2000 + s.rows);
      for (const l of s.lines().slice(-s.rows)) expect(l.cells.length).toBeLessThanOrEqual(s.columns);
      expect(new Set(s.lines().map((l) => l.id)).size).toBe(s.lines().length);
    }
  });
});

describe("work", () => {
  it("is bounded for each write", () => {
    for (const evil of ["\x1b[44m\x1b[2J", "x\x1b[9999b", "\x1b[4hx", "\x1b[9999L", "\x1b[?1049h\x1b[?1049l", "\x1b[9999S\x1b[1000@"]) {
      const s = new Screen(1000, 500);
      const began = performance.now();
      s.write(evil.repeat((1 << 18) / evil.length), false);
      for (let i = 0; i < 20; i++) s.write(evil.repeat(1000), false);
      expect(performance.now() - began, evil).toBeLessThan(10_000);
      s.write("\x1b[0m\x1b[?1049l\x1b[H", false);
      expect(s.skipped).toBe(true);
    }
  }, 60_000);
  it("does not touch lines that were given out", () => {
    const s = new Screen(10, 2);
    s.write("one", false);
    const before = s.lines();
    s.write("two\r\n\r\nthree", false);
    expect(before[0]?.cells.map((c) => c.ch).join("")).toBe("one");
    const again = s.lines();
    s.write("x", false);
    expect(s.lines()[0]).toBe(again[0]);
    expect(s.lines().at(-1)).not.toBe(again.at(-1));
  });
});

describe("plain", () => {
  it("gives the text, and nothing overwrites anything", () => {
    expect(plain("\x1b[1;31mred\x1b[0m\r\n")).toBe("red\n");
    expect(plain("10%\r\x1b[K20%\r\n")).toBe("10%\n20%\n");
    expect(plain("one\x1b[5;1Htwo")).toBe("one\ntwo");
    expect(plain("secret\b\b\b\b\b\bpublic\x1b[?25l\x00")).toBe("secretpublic");
  });
});

describe("parseSize", () => {
  it("takes sizes within bounds only", () => {
    expect(parseSize("80x24")).toEqual([80, 24]);
    expect(parseSize("99999x0")).toEqual([1000, 1]);
    expect(parseSize("")).toBeUndefined();
    expect(parseSize("80x24x1")).toBeUndefined();
  });
});
