import { describe, expect, it } from "vitest";
import * as decode from "./decode";

describe("decode", () => {
  it("survives anything", () => {
    const junk: unknown[] = [null, undefined, 0, "x", true, [], [[]], { votes: 1, effect: [], identity: "me", entries: {}, rows: null }, { params: [null, {}, 1], entries: [null, 5, { rows: [1, [null, 2, {}]] }] }];
    for (const f of [decode.me, decode.review, decode.session, decode.timeline, decode.run, decode.audit, decode.target, decode.provider]) for (const j of junk) expect(() => f(j)).not.toThrow();
    for (const j of junk) expect(Array.isArray(decode.list(j, ["reviews"], decode.review))).toBe(true);
  });

  it("bounds lists and texts", () => {
    expect(decode.review({ rule: "x".repeat(1e6) }).rule.length).toBeLessThan(2000);
    expect(decode.timeline({ entries: Array.from({ length: 19_000 }, () => ({})) }).truncated).toBe(true);
    expect(decode.timeline({ entries: [{}] }).truncated).toBe(false);
  });

  it("never says verified unless the server does", () => {
    expect(decode.timeline({}).verified.ok).toBe(false);
    expect(decode.timeline({ verified: { ok: "true" } }).verified.ok).toBe(false);
    expect(decode.audit({ ok: 1 }).ok).toBe(false);
    expect(decode.timeline({ verified: { ok: true } }).verified.ok).toBe(true);
  });

  it("keeps null and the empty text apart", () => {
    expect(decode.timeline({ entries: [{ rows: [[null, ""]] }] }).entries[0]?.rows).toEqual([[null, ""]]);
  });

  it("takes Go's zero time for none", () => {
    expect(decode.session({ started: "2026-01-02T03:04:05Z", ended: "0001-01-01T00:00:00Z" })).toMatchObject({ ended: "", live: true });
  });

  it("finds lists, bare or wrapped", () => {
    expect(decode.list([{ name: "a" }], ["targets"], decode.target)).toHaveLength(1);
    expect(decode.list({ targets: [{ name: "a" }] }, ["targets"], decode.target)).toHaveLength(1);
    expect(decode.list({ items: [{ name: "a" }] }, ["targets"], decode.target)).toHaveLength(1);
  });
});
