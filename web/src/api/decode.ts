// From JSON to types.ts. Nothing that comes over the wire is trusted to have
// the right shape or a sane size: a missing field becomes its zero value, a
// wrong one is dropped, lists and texts are bounded.

import type { Audit, Effect, Entry, Identity, Me, Provider, Quorum, Review, Run, Session, Target, Timeline, Vote } from "./types";

type Obj = Record<string, unknown>;

const maxList = 10_000;
const maxName = 1000;
const maxText = 4 << 20;

const obj = (v: unknown): Obj => (typeof v === "object" && v !== null && !Array.isArray(v) ? (v as Obj) : {});
const str = (v: unknown, max = maxName): string => (typeof v === "string" ? (v.length > max ? v.slice(0, max) + "…" : v) : typeof v === "number" ? String(v) : "");
const num = (v: unknown): number => (typeof v === "number" && Number.isFinite(v) ? v : 0);
const bool = (v: unknown): boolean => v === true;
const arr = (v: unknown): unknown[] => (Array.isArray(v) ? v.slice(0, maxList) : []);
const strs = (v: unknown, max = maxName): string[] => arr(v).map((x) => str(x, max));
// Go's zero time is no time.
const time = (v: unknown): string => {
  const s = str(v, 64);
  return s.startsWith("0001-") ? "" : s;
};

/** A list, bare or inside an object under one of the keys. */
export function list<T>(v: unknown, keys: string[], each: (v: unknown) => T): T[] {
  if (Array.isArray(v)) return arr(v).map(each);
  const o = obj(v);
  for (const k of [...keys, "items"]) if (Array.isArray(o[k])) return arr(o[k]).map(each);
  return [];
}

export function identity(v: unknown): Identity {
  const o = obj(v);
  return {
    subject: str(o.subject),
    name: str(o.name) || str(o.subject),
    provider: str(o.provider),
    groups: strs(o.groups),
    agent: str(o.agent),
    run: str(o.run),
    chain: strs(o.chain),
    workload: bool(o.workload),
    expires: time(o.expires),
  };
}

export function me(v: unknown): Me {
  const o = obj(v);
  return { ...identity(o.identity ?? o), admin: bool(o.admin), csrf: str(o.csrf) };
}

export const provider = (v: unknown): Provider => {
  const o = obj(v);
  return { name: str(o.name), kind: str(o.kind), url: str(o.url) };
};

const quorum = (v: unknown): Quorum => {
  const o = obj(v);
  return { groups: strs(o.groups), users: strs(o.users), count: Math.max(1, num(o.count)), selfApproval: bool(o.self_approval) };
};

const vote = (v: unknown): Vote => {
  const o = obj(v);
  return { by: str(o.by), approve: bool(o.approve), comment: str(o.comment, 4000), maxRows: num(o.max_rows), self: bool(o.self), at: time(o.at) };
};

function effect(v: unknown): Effect {
  const o = obj(v);
  return {
    verbs: strs(o.verbs),
    kinds: strs(o.kinds),
    traits: strs(o.traits),
    objects: arr(o.objects).map((x) => {
      const p = obj(x);
      return { kind: str(p.kind), name: str(p.name), verbs: strs(p.verbs) };
    }),
    complete: bool(o.complete),
    readOnly: bool(o.read_only),
    refuse: str(o.refuse, 4000),
    bound: typeof o.bound === "number" ? o.bound : -1,
    masked: strs(o.masked),
  };
}

export function review(v: unknown): Review {
  const o = obj(v);
  return {
    id: num(o.id),
    digest: str(o.digest),
    state: str(o.state),
    identity: identity(o.identity),
    target: str(o.target),
    protocol: str(o.protocol),
    session: str(o.session),
    statement: str(o.statement, maxText),
    params: strs(o.params, 1 << 20),
    preview: str(o.preview, maxText),
    effect: effect(o.effect),
    why: str(o.why, 4000),
    rule: str(o.rule),
    reason: str(o.reason, 4000),
    reviewers: arr(o.reviewers).map(quorum),
    maxRows: num(o.max_rows),
    policy: str(o.policy),
    fingerprint: str(o.fingerprint),
    votes: arr(o.votes).map(vote),
    created: time(o.created),
    decided: time(o.decided),
    expires: time(o.expires),
    mine: bool(o.mine),
    // Without the field the server decides when the vote arrives.
    canVote: o.can_vote === undefined ? true : bool(o.can_vote),
    whyNot: str(o.why_not, 4000),
  };
}

export function session(v: unknown): Session {
  const o = obj(v);
  const ended = time(o.ended);
  return {
    id: str(o.id) || str(o.session),
    identity: identity(o.identity),
    target: str(o.target),
    protocol: str(o.protocol),
    remote: str(o.remote),
    started: time(o.started),
    ended,
    why: str(o.why),
    live: o.live === undefined ? !ended : bool(o.live),
    requests: num(o.requests),
    rows: num(o.rows),
    bytes: num(o.bytes),
    stopped: num(o.denied),
  };
}

function entry(v: unknown): Entry {
  const o = obj(v);
  return {
    at: Math.max(0, num(o.at_ms)),
    request: num(o.request),
    kind: str(o.kind),
    statement: str(o.statement, maxText),
    params: strs(o.params, 1 << 20),
    decision: str(o.decision),
    rule: str(o.rule),
    reason: str(o.reason, 4000),
    review: num(o.review),
    masked: strs(o.masked),
    columns: strs(o.columns),
    rows: arr(o.rows).map((r) => arr(r).map((c) => (c === null ? null : str(c, 1 << 20)))),
    truncated: bool(o.truncated),
    text: str(o.text, 1 << 20),
    error: str(o.error, 1 << 16),
    rowCount: num(o.row_count),
    tookMs: num(o.took_ms),
    stream: str(o.stream),
    screen: str(o.screen ?? o.text, 1 << 20),
    dropped: num(o.dropped),
    size: str(o.size, 32),
  };
}

export function timeline(v: unknown): Timeline {
  const o = obj(v);
  const h = obj(o.header);
  const ver = obj(o.verified);
  const entries = arr(o.entries).map(entry);
  return {
    header: { session: str(h.session), identity: identity(h.identity), target: str(h.target), protocol: str(h.protocol), remote: str(h.remote), started: time(h.started) },
    entries,
    truncated: bool(o.truncated) || (Array.isArray(o.entries) && o.entries.length > entries.length),
    seal: str(obj(o.seal).hash),
    verified: { ok: bool(ver.ok), problems: strs(ver.problems, 4000) },
  };
}

export function run(v: unknown): Run {
  const o = obj(v);
  const id = identity(o.identity);
  const ended = time(o.ended);
  return {
    id: str(o.run) || str(o.id),
    agent: str(o.agent) || id.agent,
    name: str(o.name) || id.name,
    task: str(o.task, 4000),
    targets: strs(o.targets),
    started: time(o.started),
    expires: time(o.expires),
    ended,
    live: o.live === undefined ? !ended : bool(o.live),
  };
}

export function audit(v: unknown): Audit {
  const o = obj(v);
  return { size: num(o.size), root: str(o.root), checkpoint: str(o.checkpoint, 8000), ok: bool(o.ok), problems: strs(o.problems, 4000), checkedAt: time(o.checked_at) };
}

export const target = (v: unknown): Target => {
  const o = obj(v);
  return { name: str(o.name), protocol: str(o.protocol), database: str(o.database) };
};
