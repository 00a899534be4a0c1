import { describe, expect, it } from "vitest";
import { tokenize } from "./sql";

const kinds = (s: string) => tokenize(s).filter((t) => t.kind !== "space").map((t) => `${t.kind}:${t.text}`);

describe("tokenize", () => {
  it("tells the parts of a statement apart", () => {
    expect(kinds("UPDATE public.t SET a = a + 1.5e3 WHERE id = $1")).toEqual([
      "write:UPDATE", "name:public", "punct:.", "name:t", "keyword:SET", "name:a", "operator:=", "name:a", "operator:+", "number:1.5e3", "keyword:WHERE", "name:id", "operator:=", "param:$1",
    ]);
  });

  it.each([
    ["'a''b' x", "string:'a''b'"],
    ["'a\\' x", "string:'a\\'"], // standard strings know no backslash
    ["E'a\\'b' x", "string:E'a\\'b'"],
    ["e'\\\\' x", "string:e'\\\\'"],
    ["U&'\\0441' x", "string:U&'\\0441'"],
    ['U&"d\\0061t" x', 'quoted:U&"d\\0061t"'],
    ['"a""b" x', 'quoted:"a""b"'],
    ["$$ ' -- $$ x", "string:$$ ' -- $$"],
    ["$a$ $b$ $$ $a$ x", "string:$a$ $b$ $$ $a$"],
    ["/* a /* b */ c */ x", "comment:/* a /* b */ c */"],
    ["-- a\nx", "comment:-- a"],
    ["-- a\rx", "comment:-- a"], // a lone carriage return ends it, as in PostgreSQL
  ])("knows where %j ends", (text, first) => {
    const got = kinds(text);
    expect(got[0]).toBe(first);
    expect(got[1]).toBe("name:x");
    expect(got).toHaveLength(2);
  });

  it("ends an operator where a comment begins", () => {
    expect(kinds("1+--x")).toEqual(["number:1", "operator:+", "comment:--x"]);
    expect(kinds("1*/*x*/2")).toEqual(["number:1", "operator:*", "comment:/*x*/", "number:2"]);
  });

  it("marks what never ends", () => {
    for (const s of ["'a", '"a', "/* a", "$x$ a", "E'a\\'"]) expect(tokenize(s).at(-1)?.open).toBe(true);
    expect(tokenize("'a' -- x").every((t) => !t.open)).toBe(true);
  });

  it("does not take a $ inside a name for a string", () => {
    expect(kinds("a$b$c")).toEqual(["name:a$b$c"]);
  });

  it("never loses or adds a character", () => {
    const alphabet = ["'", '"', "$", "$$", "$a$", "-", "--", "/", "/*", "*/", "*", "\\", "E'", "U&'", "a", "DROP", "1", ".", "e", "\n", "\r", " ", ";", "(", "\u202e", "é", "😀", "\ud800", "\0"];
    let seed = 7;
    const next = () => (seed = (seed * 1103515245 + 12345) & 0x7fffffff);
    for (let i = 0; i < 3000; i++) {
      let s = "";
      for (let j = next() % 24; j > 0; j--) s += alphabet[next() % alphabet.length];
      const tokens = tokenize(s);
      expect(tokens.map((t) => t.text).join("")).toBe(s);
      expect(tokens.every((t) => t.text !== "")).toBe(true);
    }
  });

  it("takes a megabyte in one go", () => {
    const s = "SELECT 1, 'x' FROM t; ".repeat(50_000);
    const start = performance.now();
    expect(tokenize(s).length).toBeGreaterThan(100_000);
    expect(performance.now() - start).toBeLessThan(15_000);
  }, 30_000);
});
