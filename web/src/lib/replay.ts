// The arithmetic of a replay: which entries are there at a time, and what the
// time is next. Long waits are shortened, so that nobody watches an agent
// think; the clock still shows the real time.

import type { Entry } from "../api/types";

/** All that belongs to one request, in order. */
export interface Step {
  key: string;
  request: number;
  at: number; // when it began
  end: number; // when its last entry was written
  head?: Entry; // the request itself; missing for notes outside of requests
  parts: Entry[]; // what followed
}

/** Groups a timeline by request. What belongs to none stands alone. */
export function steps(entries: Entry[]): Step[] {
  const out: Step[] = [];
  const byRequest = new Map<number, Step>();
  entries.forEach((e, i) => {
    const s = e.request > 0 ? byRequest.get(e.request) : undefined;
    if (s) {
      if (e.kind === "request" && !s.head) s.head = e;
      else s.parts.push(e);
      s.at = Math.min(s.at, e.at);
      s.end = Math.max(s.end, e.at);
      return;
    }
    const fresh: Step = { key: `${e.request}.${i}`, request: e.request, at: e.at, end: e.at, head: e.kind === "request" ? e : undefined, parts: e.kind === "request" ? [] : [e] };
    if (e.request > 0) byRequest.set(e.request, fresh);
    out.push(fresh);
  });
  return out.sort((a, b) => a.at - b.at);
}

/** How many of the entries, sorted by time, are there at a time. */
export function upTo(entries: Entry[], at: number): number {
  let lo = 0;
  let hi = entries.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if ((entries[mid] as Entry).at <= at) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

/** When the last thing happened. */
export const length = (entries: Entry[]): number => entries.reduce((m, e) => Math.max(m, e.at), 0);

/** The longest wait that a replay keeps, in milliseconds. */
export const longestWait = 1500;

/** Sorted distinct times at which something happens. */
export function times(entries: Entry[]): number[] {
  return [...new Set(entries.map((e) => e.at))].sort((a, b) => a - b);
}

/**
 * The time after `elapsed` milliseconds of watching at `speed`, from `at`.
 * Inside a wait that is too long, time jumps so that it takes longestWait.
 */
export function advance(ts: number[], at: number, elapsed: number, speed: number): number {
  let left = elapsed * speed;
  let t = at;
  const end = ts[ts.length - 1] ?? 0;
  while (left > 0 && t < end) {
    const next = ts.find((x) => x > t);
    if (next === undefined) break;
    // A gap longer than longestWait is watched at a rate that fits it.
    const before = ts.filter((x) => x <= t).pop() ?? 0;
    const gap = next - before;
    const rate = gap > longestWait ? gap / longestWait : 1;
    const need = (next - t) / rate;
    if (left < need) return t + left * rate;
    left -= need;
    t = next;
  }
  return Math.min(t, end);
}

/** The next time at which something happens. */
export const stepForward = (ts: number[], at: number): number => ts.find((x) => x > at + 0.5) ?? ts[ts.length - 1] ?? 0;

/** The time before, or just before everything. */
export const stepBack = (ts: number[], at: number): number => ts.filter((x) => x < at - 0.5).pop() ?? -1;
