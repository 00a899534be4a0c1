import { describe, expect, it } from "vitest";
import { timeline } from "../api/decode";
import { advance, length, longestWait, stepBack, stepForward, steps, times } from "./replay";

const { entries } = timeline({
  entries: [
    { at_ms: 0, request: 0, kind: "note", text: "opened" },
    { at_ms: 100, request: 1, kind: "request", statement: "SELECT 1", decision: "allow" },
    { at_ms: 110, request: 1, kind: "reply", columns: ["a"], rows: [["1"], [null]] },
    { at_ms: 111, request: 1, kind: "outcome", row_count: 2, took_ms: 11 },
    { at_ms: 60_000, request: 2, kind: "request", statement: "DROP TABLE t", decision: "deny" },
  ],
});

describe("steps", () => {
  it("gathers what belongs to one request", () => {
    const s = steps(entries);
    expect(s.map((x) => [x.request, x.at, x.end, x.parts.length])).toEqual([
      [0, 0, 0, 1],
      [1, 100, 111, 2],
      [2, 60_000, 60_000, 0],
    ]);
    expect(s[1]?.head?.statement).toBe("SELECT 1");
  });
  it("keeps replies whose request is missing", () => {
    const s = steps(timeline({ entries: [{ at_ms: 5, request: 9, kind: "outcome" }] }).entries);
    expect(s).toHaveLength(1);
    expect(s[0]?.head).toBeUndefined();
  });
});

describe("time", () => {
  const ts = times(entries);
  it("steps from one event to the next and back", () => {
    expect(length(entries)).toBe(60_000);
    expect(stepForward(ts, -1)).toBe(0);
    expect(stepForward(ts, 100)).toBe(110);
    expect(stepForward(ts, 60_000)).toBe(60_000);
    expect(stepBack(ts, 60_000)).toBe(111);
    expect(stepBack(ts, 0)).toBe(-1);
  });
  it("runs at the chosen speed and shortens long waits", () => {
    expect(advance(ts, 0, 50, 1)).toBe(50);
    expect(advance(ts, 0, 25, 2)).toBe(50);
    expect(advance(ts, 111, longestWait, 1)).toBeCloseTo(60_000);
    expect(advance(ts, 111, longestWait / 2, 1)).toBeCloseTo(111 + 59_889 / 2);
    expect(advance(ts, 0, 1e9, 1)).toBe(60_000);
    expect(advance([], 0, 16, 1)).toBe(0);
  });
});
